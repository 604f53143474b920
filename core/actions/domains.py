"""Adding names to what an account watches, putting them into the bin, and bringing them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.budget import over_budget
from core.actions.incidents import close_incidents
from core.actions.policy import Actor, Permission, require
from core.actions.settle_notices import cancel_notices
from core.actions.watches import soonest
from core.net.names import Listed
from core.perspective import LOCAL
from core.store.accounts import Account
from core.store.base import new_ref
from core.store.cards import recount_tags
from core.store.db import CHUNK, chunks, insert_many
from core.store.endpoints import Domain, ensure_endpoints, hold_schedules, lock_schedules, take_on
from core.store.leaves import keep_leaves
from core.store.sought import sought_of
from core.store.watches import NO_END, STATES, Key, Watch, binned_by_target, live_by_target, move_tallies, own_watches

_NAMED = 20


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one listed name: "added", "restored" (it was in the bin), "here" (it was watched already) or "refused"."""

    listed: Listed
    outcome: str
    ref: str = ""
    message: str = ""


def add_domains(session: Session, actor: Actor, *, listed: Sequence[Listed], private_ranges: bool, now: datetime) -> tuple[Added, ...]:
    """Watch these names, in their order. A name in the bin comes back with its history.

    `private_ranges`: the operator lets this account use the private ranges it allows; its endpoints are then its own.
    """
    account_id = require(actor, Permission.ADD_DOMAINS)
    _lock(session, account_id)
    scope = actor.account_ref if private_ranges else ""
    wanted = sorted(set(listed), key=lambda each: each.key)  # one order for everybody: nobody waits for each other
    refused = over_budget(session, account_id, wanted, now)
    wanted = [each for each in wanted if each not in refused]
    endpoints: dict[Listed, int] = {}
    for chunk in chunks(wanted):
        endpoints |= _endpoints(session, chunk, scope, now)
    hold_schedules(session, list(endpoints.values()))
    became = {each: Added(each, "refused", message=why) for each, why in refused.items()}
    became |= _add(session, actor, account_id, {each: endpoints[each] for each in wanted}, now)
    done = tuple(became[each] for each in listed)
    outcomes = Counter(item.outcome for item in became.values())
    if outcomes["added"] or outcomes["restored"]:
        public = {"added": outcomes["added"], "restored": outcomes["restored"]}
        private = {"names": _named(item.listed.name for item in became.values() if item.outcome in public)}
        append(session, Event("domains.added.v1", now, actor.name, actor.account_ref, public, private))
    return done


def remove_watches(session: Session, actor: Actor, *, refs: Sequence[str], now: datetime) -> int:
    """Put these watches into the bin, from where they come back whole for 30 days. How many were; strangers' are not touched."""
    account_id = require(actor, Permission.REMOVE_DOMAINS)
    _lock(session, account_id)
    found = own_watches(session, account_id, refs, binned=False)
    schedules = lock_schedules(session, [watch.endpoint_id for watch in found])
    watches = own_watches(session, account_id, refs, binned=False)  # again, as they are now that nobody records a scan of them
    moves: Counter[tuple[int, str]] = Counter()
    for watch in watches:
        watch.deleted_at, watch.deleted_by = now, actor.user_id
        moves[account_id, watch.state] -= 1
        for schedule in schedules.get(watch.endpoint_id, ()):
            schedule.watchers -= 1
    session.flush()
    _settle_domains(session, {watch.domain_id for watch in watches}, now)
    close_incidents(session, [watch.id for watch in watches], now)
    move_tallies(session, moves)
    cancel_notices(session, [watch.id for watch in watches], now)
    if watches:
        private = {"names": _named(watch.name for watch in watches)}
        append(session, Event("domains.removed.v1", now, actor.name, actor.account_ref, {"removed": len(watches)}, private))
    return len(watches)


def restore_watches(session: Session, actor: Actor, *, refs: Sequence[str], now: datetime) -> int:
    """Bring these watches back from the bin, and scan them. How many came; one that is watched again already stays in the bin."""
    account_id = require(actor, Permission.RESTORE_DOMAINS)
    _lock(session, account_id)
    watches = own_watches(session, account_id, refs, binned=True)
    taken = live_by_target(session, account_id, {watch.key for watch in watches})
    listed = {watch.key: Listed(*watch.key) for watch in watches}
    refused = over_budget(session, account_id, [listed[key] for key in sorted(listed)], now)
    back: dict[Key, Watch] = {}
    for watch in sorted(watches, key=lambda watch: -watch.id):
        if watch.key not in taken and listed[watch.key] not in refused:
            back.setdefault(watch.key, watch)
    _bring_back(session, account_id, list(back.values()), now)
    if back:
        private = {"names": _named(watch.name for watch in back.values())}
        append(session, Event("domains.restored.v1", now, actor.name, actor.account_ref, {"restored": len(back)}, private))
    return len(back)


def bring_back_removed(session: Session, actor: Actor, *, removed_at: datetime, now: datetime) -> int:
    """How many watches came back of those that went at this very moment: with the account itself, as its owner brings it back."""
    account_id = require(actor, Permission.RESTORE_DOMAINS)
    refs = session.scalars(sa.select(Watch.ref).where(Watch.account_id == account_id, Watch.deleted_at == removed_at)).all()
    return sum(restore_watches(session, actor, refs=refs[at : at + CHUNK], now=now) for at in range(0, len(refs), CHUNK))


def _named(names: Iterable[str]) -> str:
    """Names for the account's own record: some of them, and how many more."""
    found = sorted(set(names))
    more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    return f"{', '.join(found[:_NAMED])}{more}"


def _add(session: Session, actor: Actor, account_id: int, endpoints: dict[Listed, int], now: datetime) -> dict[Listed, Added]:
    targets = {each.key for each in endpoints}
    live = live_by_target(session, account_id, targets)
    binned = binned_by_target(session, account_id, targets - set(live))
    for listed, endpoint_id in endpoints.items():
        watch = binned.get(listed.key)
        if watch is not None and watch.endpoint_id != endpoint_id:  # private ranges were opened or closed meanwhile
            watch.endpoint_id, watch.since_at = endpoint_id, now
    _bring_back(session, account_id, list(binned.values()), now)
    fresh = {each: e for each, e in endpoints.items() if each.key not in live.keys() | binned.keys()}
    new = _watch(session, actor, account_id, fresh, now)
    became: dict[Listed, Added] = {}
    for listed in endpoints:
        target = listed.key
        if target in binned:
            became[listed] = Added(listed, "restored", binned[target].ref)
        elif target in live:
            became[listed] = Added(listed, "here", live[target].ref)
        else:
            became[listed] = Added(listed, "added", new[listed])
    return became


def _endpoints(session: Session, wanted: Sequence[Listed], scope: str, now: datetime) -> dict[Listed, int]:
    ids = ensure_endpoints(session, {listed.key for listed in wanted}, scope=scope, perspective=LOCAL, now=now)
    return {listed: ids[listed.key] for listed in wanted}


def _watch(session: Session, actor: Actor, account_id: int, fresh: dict[Listed, int], now: datetime) -> dict[Listed, str]:
    """The references of new watches. Past the ORM: there may be 100,000."""
    if not fresh:
        return {}
    domains = _domains(session, actor, account_id, {listed.name for listed in fresh}, now)
    refs = {listed: new_ref() for listed in fresh}
    own = {
        "account_id": account_id,
        "ends_at": NO_END,
        "since_at": now,
        "created_by": actor.user_id,
        "deleted_at": None,
        "deleted_by": None,
    }
    rows = [
        own | {
            "ref": refs[listed], "domain_id": domains[listed.name], "endpoint_id": endpoint_id, "name": listed.name, "port": listed.port,
            "starttls": listed.starttls, "address": listed.address, "sought": sought_of(listed.name),
        }
        for listed, endpoint_id in fresh.items()
    ]  # fmt: skip
    insert_many(session, Watch, rows)
    _ask_for_scans(session, list(fresh.values()), now)
    move_tallies(session, Counter({(account_id, "live"): len(rows)}))
    return dict(refs)


def _domains(session: Session, actor: Actor, account_id: int, names: set[str], now: datetime) -> dict[str, int]:
    """The domain of each name, back from the bin or new.

    Names are asked for before new ones are there: a server that does not know of these yet would read all of them for each question.
    """
    ids: dict[str, int] = {}
    for some in chunks(sorted(names)):
        found = sa.select(Domain.name, Domain.id).where(Domain.account_id == account_id, Domain.name.in_(some))
        ids |= session.execute(found.order_by(Domain.deleted_at.is_(None), Domain.id)).all()  # the live one last: it wins
    _restore_domains(session, set(ids.values()))
    own = {"account_id": account_id, "created_at": now, "created_by": actor.user_id}
    rows = [own | {"ref": new_ref(), "name": name} for name in sorted(names - ids.keys())]
    insert_many(session, Domain, rows)
    for new in chunks(rows):
        made = sa.select(Domain.name, Domain.id).where(Domain.ref.in_([row["ref"] for row in new]))
        ids |= session.execute(made).all()
    return ids


def _bring_back(session: Session, account_id: int, watches: Sequence[Watch], now: datetime) -> None:
    if not watches:
        return
    for watch in watches:
        watch.deleted_at = watch.deleted_by = None
        watch.state, watch.rank = "live", STATES.index("live")
    _restore_domains(session, {watch.domain_id for watch in watches})
    session.flush()
    _ask_for_scans(session, [watch.endpoint_id for watch in watches], now)
    move_tallies(session, Counter({(account_id, "live"): len(watches)}))


def _ask_for_scans(session: Session, endpoint_ids: Sequence[int], now: datetime) -> None:
    held = hold_schedules(session, endpoint_ids)
    take_on(session, {(endpoint_id, perspective): soonest(last, now) for endpoint_id, perspective, last in held}, now)
    keep_leaves(session, endpoint_ids)


def _restore_domains(session: Session, domain_ids: set[int]) -> None:
    """Names come back from the bin as they went: note, tags and responsible person with them."""
    if not domain_ids:
        return
    for some in chunks(sorted(domain_ids)):
        session.execute(sa.update(Domain).where(Domain.id.in_(some), Domain.deleted_at.is_not(None)).values(deleted_at=None))
    recount_tags(session, domain_ids)


def _settle_domains(session: Session, domain_ids: set[int], now: datetime) -> None:
    """A name of which nothing is watched any more goes into the bin with its last watch."""
    watched = sa.select(Watch.domain_id).where(Watch.domain_id.in_(domain_ids), Watch.deleted_at.is_(None))
    session.execute(
        sa.update(Domain)
        .where(Domain.id.in_(domain_ids), Domain.deleted_at.is_(None), Domain.id.not_in(watched))
        .values(deleted_at=now)
        .execution_options(synchronize_session=False)
    )
    recount_tags(session, domain_ids)


def _lock(session: Session, account_id: int) -> None:
    """Two people of one account change its list one after the other. Rows that only refer to the account are not held up."""
    session.execute(sa.select(Account.id).where(Account.id == account_id).with_for_update(key_share=True))
