"""All that the feed says at this moment, put together from what was asked and measured; what cannot be asked is as it was known last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from audit.asked import Told as LogTold
from audit.asked import keys_of, told_at
from core.status.entries import Entry, Index
from core.status.incidents import told_incidents
from core.status.looking import Looked, seen_backups, seen_exports, seen_scans
from core.status.measuring import Tally, components
from core.status.promises import Circumstances, promises
from core.status.told import Incident, SeenAccess, SeenHost, SeenLog, Told
from core.store.access import AccessLine, HostLine, accesses_counted, accesses_since, hosts_there

SHOWN: Final = timedelta(days=90)
MOST_ACCESSES: Final = 1_000
OWN: Final = "the portal"
"""How the installation itself is called among hosts."""
TO_OWNERS: Final = "An operator looked at an account as its viewer; its owners were told why."
NOT_FOR_STRANGERS: Final = "A reason was given. It names what is somebody's, so it is not told here."
ERASED: Final = "A reason was given, and was erased since."
"""What strangers read instead of a reason that is not for them."""
_MOST_REASONS: Final = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Whose feed it is: the portal's address, the published copy's, the program's version, and how the installation is set up."""

    address: str
    feed: str
    version: str
    ways: Circumstances


@dataclass(frozen=True, slots=True)
class Asked:
    """What the database said. `erased`: accesses whose reason was erased from the log.

    `reasons`: entries that open others; `keys`: every key that each log signed with.
    """

    looked: Looked
    accesses: tuple[AccessLine, ...]
    more: int
    hosts: tuple[HostLine, ...]
    incidents: tuple[Incident, ...]
    erased: frozenset[str] = frozenset()
    reasons: tuple[LogTold, ...] = ()
    keys: Mapping[int, Sequence[str]] = field(default_factory=dict)


def ask(session: Session, looked: Looked, index: Index) -> Asked:
    """Everything that a page of 90 days shows. `index`: of what is published."""
    since = looked.at - SHOWN
    lines = accesses_since(session, since, looked.at, most=MOST_ACCESSES)
    keys = {log.number: keys_of(session, log.number) for log in index.logs}
    said = reasons(session, lines, index)
    opened = {(each.log, each.index) for each in said}
    erased = frozenset(line.ref for line in lines if line.ref in index.reasoned and index.reasoned[line.ref] not in opened)
    incidents, more = told_incidents(session, since), max(0, accesses_counted(session, since) - len(lines))
    return Asked(looked, lines, more, hosts_there(session), incidents, erased, said[-_MOST_REASONS:], keys)


def reasons(session: Session, lines: Sequence[AccessLine], index: Index) -> tuple[LogTold, ...]:
    """The entries that commit to reasons which strangers read, each with what opens the reason and nothing else; none that was erased."""
    places = [index.reasoned[line.ref] for line in lines if line.reason and not line.hidden and line.ref in index.reasoned]
    found = told_at(session, places)
    return tuple(replace(each, sealed={"reason": each.sealed["reason"]}) for each in found if "reason" in each.sealed)


def told_now(asked: Asked, tally: Tally, log: SeenLog | None, entries: tuple[Mapping[str, list[Entry]], ...], made_before: int) -> Told:
    """What is told where the database answers. `entries`: of accesses and of drills, by reference; `place` and measures come after."""
    looked = asked.looked
    accesses, drills = entries
    backups = seen_backups(looked)
    if backups is not None and looked.drill is not None:
        backups = replace(backups, drill=tuple(drills.get(looked.drill.ref, ())))
    return Told(
        made_at=looked.at,
        address="",
        feed="",
        version="",
        components=components(tally, looked.at),
        incidents=asked.incidents,
        accesses=tuple(_access(line, accesses.get(line.ref, ()), erased=line.ref in asked.erased) for line in asked.accesses),
        more_accesses=asked.more,
        hosts=tuple(_host(line) for line in asked.hosts),
        backups=backups,
        scans=seen_scans(looked, made_before),
        exports=seen_exports(looked),
        log=log,
        known_at=looked.at,
    )


def told_without(last: Told | None, tally: Tally, log: SeenLog | None, now: datetime) -> Told:
    """What is told where the database does not answer: what was known last, and what is measured now."""
    known = last or Told(now, "", "", "", ())
    return replace(known, made_at=now, components=components(tally, now), log=log or known.log)


def placed(told: Told, place: Place) -> Told:
    """With whose it is, and how far the promises are kept."""
    whole = replace(told, address=place.address, feed=place.feed, version=place.version)
    return replace(whole, measures=promises(whole, place.ways))


def _access(line: AccessLine, entries: Sequence[Entry], *, erased: bool) -> SeenAccess:
    kept = TO_OWNERS if line.account else NOT_FOR_STRANGERS
    reason = kept if line.hidden else ERASED if erased else line.reason
    times = (line.started_at, line.ended_at, line.ending)
    return SeenAccess(line.ref, line.host or OWN, line.kind, line.role, *times, reason, line.skewed_s, tuple(entries))


def _host(line: HostLine) -> SeenHost:
    return SeenHost(line.name, line.heard_at, line.silent_at is not None, line.lost, line.refused)
