"""What lay in the bin for 30 days goes for good: once a day, so much at a time, and only while a young backup is proven to hold it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from audit.erasing import private_of_account
from audit.log import Event, append
from core.actions.logs import forget_accounts
from core.actions.policy import Actor, require_worker
from core.store.backups import newest_proven, open_holds
from core.store.base import IN_BIN_FOR
from core.store.erase import account_refs, binned_accounts_left, binned_domains, binned_memberships, binned_watches, erase

PROVEN_WITHIN: Final = timedelta(hours=24)
A_DAY: Final = 5_000
"""So many names go in a day. If the bin was ever filled by mistake, most of it is still there when somebody looks."""
ACCOUNTS_A_DAY: Final = 10


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows of each kind went for good."""

    names: int = 0
    domains: int = 0
    members: int = 0
    accounts: int = 0


def may_purge(session: Session, now: datetime) -> str:
    """Why nothing may be purged now, as a sentence; "" when it may."""
    if open_holds(session):
        return "A hold keeps everything: nothing is purged before it is lifted."
    backup = newest_proven(session)
    if backup is None or backup.at is None or not now - PROVEN_WITHIN <= backup.at <= now:
        return "No backup of the last 24 hours is proven: nothing is purged before there is one."
    return ""


def purge_bin(session: Session, actor: Actor, *, now: datetime, most: int = A_DAY) -> Purged:
    """Erase what has lain in the bin for 30 days: names, then domains, places and accounts of which nothing is left.

    Nothing at all while `may_purge` has a reason. At most `most` names and ACCOUNTS_A_DAY accounts.
    """
    require_worker(actor)
    if may_purge(session, now):
        return Purged()
    before = now - IN_BIN_FOR
    names = erase(session, "watches", binned_watches(session, before, most))
    domains = erase(session, "domains", binned_domains(session, before, most))
    members = erase(session, "memberships", binned_memberships(session, before, most))
    accounts = binned_accounts_left(session, before, ACCOUNTS_A_DAY)
    known = [place for ref in account_refs(session, accounts) for place in private_of_account(session, ref)]
    purged = Purged(names, domains, members, erase(session, "accounts", accounts))
    forget_accounts(session, actor, places=known, now=now)
    if purged != Purged():
        about = {"names": purged.names, "domains": purged.domains, "members": purged.members, "accounts": purged.accounts}
        append(session, Event("bin.purged.v1", now, actor.name, public=about))
    return purged
