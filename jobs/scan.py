"""A batch of scans: read what is asked, let go of the database, look, and record what comes as it comes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.exc import OperationalError

from core.actions.claim_scans import Claimed, put_off, scans_in_hand
from core.actions.record_scan import Result, record_scans
from core.net.guard import Network
from core.perspective import LOCAL
from core.scanner.facts import Failure, FailureKind, Observation, Scan, Stage, Target
from core.scanner.path import Roots
from core.scanner.scan import Outlook, scan_all
from core.scanner.verdict import Verdict, judge
from core.store.accounts import account_refs, accounts_allowed
from jobs.context import Context

CHUNK = 100
CHUNK_S = 2.0
"""A transaction holds at most this many results, and no result waits longer than this to be seen."""
SPREAD = (0.9, 1.1)
TRIES = 3
PUT_OFF = timedelta(hours=1)
log = logging.getLogger("keychest.scan")


def scan_batch(context: Context, *pairs: int) -> None:
    """Scan the endpoints in `pairs`: row number, claim, row number, claim … Those no longer in hand are left alone."""
    claims = [Claimed(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)]
    todo = _read(context, claims)
    if todo:
        roots = Roots.load(context.extra_roots)
        asyncio.run(_scan(context, todo, roots))


def tell_unread(context: Context, endpoint_id: int, claim: int) -> None:
    """Record of an endpoint that its scan ended the process that made it, each time it was tried. Nothing that was sent is read here."""
    for claimed, target, _ in _read(context, [Claimed(endpoint_id, claim)]):
        words = "What this server sent ended the process that read it, also when it was tried alone. Other names are not affected."
        failure = Failure(FailureKind.PROTOCOL_ERROR, Stage.HANDSHAKE, words)
        scan = Scan(target, context.now(), (), (Observation(target.address, LOCAL, failure),))
        log.error("the horse died of %s port %d", target.name, target.port)
        verdict = judge(scan, Roots.load(context.extra_roots), context.now())
        _record_together(context, [Result(claimed.endpoint_id, claimed.claim, verdict)])


def _read(context: Context, claims: Sequence[Claimed]) -> list[tuple[Claimed, Target, Sequence[Network]]]:
    with context.sessions.reading() as session:
        allowed = account_refs(session, sorted(accounts_allowed(session, context.scan_allow_accounts))).values()
        return [
            (each.claimed, each.target, context.scan_allow if each.scope in allowed else ())
            for each in scans_in_hand(session, LOCAL, claims)
        ]


async def _scan(context: Context, todo: list[tuple[Claimed, Target, Sequence[Network]]], roots: Roots) -> None:
    """Scans run on while a chunk is being recorded: recording has a thread of its own."""
    results: asyncio.Queue[Result | None] = asyncio.Queue(CHUNK * 4)
    outlook = Outlook(resolvers=context.resolvers, opted_out=context.opted_out)
    async with asyncio.TaskGroup() as group:  # when recording fails, scanning ends too, and the other way round
        group.create_task(_record(context, results))
        async for claimed, scan in scan_all(todo, outlook, now=context.now):
            await results.put(Result(claimed.endpoint_id, claimed.claim, _judged(scan, roots, context)))
        await results.put(None)


async def _record(context: Context, results: asyncio.Queue[Result | None]) -> None:
    clock = asyncio.get_running_loop().time
    more = True
    while more:
        chunk: list[Result] = []
        until = clock() + CHUNK_S
        while more and len(chunk) < CHUNK and (not chunk or clock() < until):
            try:
                result = await asyncio.wait_for(results.get(), max(until - clock(), 0.01) if chunk else None)
            except TimeoutError:
                break
            more = result is not None
            if result is not None:
                chunk.append(result)
                until = min(until, clock() + CHUNK_S)
        if chunk:
            await asyncio.to_thread(_record_chunk, context, chunk)


def _judged(scan: Scan, roots: Roots, context: Context) -> Verdict:
    """The verdict; where judging itself fails, that is what is recorded, so that one odd answer does not hold up the others.

    Raises MemoryError, which says nothing of the answer: the job ends, the leases run out, and all is scanned again.
    """
    try:
        return judge(scan, roots, context.now())
    except MemoryError:
        raise
    except Exception:
        log.exception("the scan of %s port %d could not be judged", scan.target.name, scan.target.port)
        return judge(_without_what_was_seen(scan, "judged"), roots, context.now())


def _without_what_was_seen(scan: Scan, verb: str) -> Scan:
    words = f"What this server sent could not be {verb}. KeyChest's own log says why; other names are not affected."
    failure = Failure(FailureKind.PROTOCOL_ERROR, Stage.HANDSHAKE, words)
    seen = tuple(Observation(each.address, each.perspective, failure) for each in scan.observations)
    return replace(scan, cname_chain=(), observations=seen)


def _record_chunk(context: Context, chunk: list[Result]) -> None:
    """Record a chunk; where something in it cannot be, one by one, and the one that cannot without what was seen.

    A database that is away, or a process without memory, is another matter: the job ends, the leases run out, and all is scanned again.
    """
    try:
        _record_together(context, chunk)
    except (OperationalError, MemoryError):
        raise
    except Exception:
        if len(chunk) > 1:
            log.exception("a chunk of %d could not be recorded at once; one by one now", len(chunk))
            for result in chunk:
                _record_chunk(context, [result])
            return
        log.exception("endpoint %d could not be recorded", chunk[0].endpoint_id)
        _record_bare(context, chunk[0])


def _record_bare(context: Context, result: Result) -> None:
    """Record that an endpoint could not be recorded; where even that fails, put it off, so that it is not in line for ever."""
    bare = _without_what_was_seen(result.verdict.scan, "recorded")
    try:
        _record_together(context, [replace(result, verdict=judge(bare, Roots.load(context.extra_roots), context.now()))])
    except (OperationalError, MemoryError):
        raise
    except Exception:
        log.exception("endpoint %d is put off", result.endpoint_id)
        claimed = Claimed(result.endpoint_id, result.claim)
        with context.sessions.writing() as session:
            put_off(session, perspective=result.perspective, claimed=claimed, until=context.now() + PUT_OFF)


def _record_together(context: Context, chunk: list[Result]) -> None:
    """One transaction; begun anew when it lost a deadlock or waited too long for a lock."""
    for left in reversed(range(TRIES)):
        try:
            with context.sessions.writing() as session:
                recorded = record_scans(
                    session,
                    chunk,
                    interval=timedelta(seconds=context.scan_interval_s),
                    spread=lambda: random.uniform(*SPREAD),  # noqa: S311 - spreads load, keeps no secret
                    now=context.now(),
                )
        except OperationalError as error:
            if not left:
                raise
            log.warning("a chunk is recorded anew: %s", error)
        else:
            log.info("recorded %d, late %d", recorded.recorded, recorded.late)
            return
