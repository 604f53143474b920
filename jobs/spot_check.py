"""Spot checks: the same engine as for watched names, with a smaller budget, told as strangers may be told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.actions.spot_checks import claim_spot_check, record_spot_check, spot_check_may_dial
from core.scanner.facts import OtherKey, Target
from core.scanner.path import Roots
from core.scanner.publicly import BUDGET, answer_of, shown_after_s
from core.scanner.scan import Outlook, scan_target
from core.scanner.verdict import judge
from core.store.spot_checks import SpotCheck
from jobs.context import Context

log = logging.getLogger("keychest.spot")


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question in hand."""

    check_id: int
    claim: int
    target: Target
    began_at: datetime


def spot_checks(context: Context, *check_ids: int) -> None:
    """Answer the questions with these row numbers, all at once. Those in another's hand or answered already are left alone."""
    asked = [one for check_id in check_ids if (one := _take(context, check_id)) is not None]
    if asked:
        roots = Roots.load(context.extra_roots)
        asyncio.run(_answer_all(context, asked, roots))


def _take(context: Context, check_id: int) -> _Asked | None:
    with context.sessions.writing() as session:
        claim = claim_spot_check(session, check_id, context.now())
        row = session.get(SpotCheck, check_id) if claim is not None else None
        if claim is None or row is None:
            return None
        return _Asked(check_id, claim, Target(row.name, row.port, row.starttls, other_key=OtherKey.ASKED), context.now())


async def _answer_all(context: Context, asked: Sequence[_Asked], roots: Roots) -> None:
    """One that fails is logged and tried again when its lease is over; the others are answered all the same."""
    ended = await asyncio.gather(*(_answer(context, one, roots) for one in asked), return_exceptions=True)
    for one, error in zip(asked, ended, strict=True):
        if error is not None:
            log.error("spot check %d was not answered", one.check_id, exc_info=error)


async def _answer(context: Context, one: _Asked, roots: Roots) -> None:
    def before_dial(addresses: Sequence[str]) -> str:
        with context.sessions.writing() as session:
            return spot_check_may_dial(session, one.check_id, addresses, context.now())

    outlook = Outlook(context.resolvers, budget=BUDGET, opted_out=context.opted_out, before_dial=before_dial)
    scan = await scan_target(one.target, outlook, allow=context.public_scan_allow, now=context.now)
    verdict = judge(scan, roots, context.now())
    shown_at = max(one.began_at + timedelta(seconds=shown_after_s(verdict)), context.now())
    with context.sessions.writing() as session:
        kept = record_spot_check(session, one.check_id, one.claim, answer=answer_of(verdict), shown_at=shown_at)
    log.info("spot check %d %s", one.check_id, "answered" if kept else "came late")
