"""All that the feed says at this moment, put together from what was asked and measured; what cannot be asked is as it was known last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from core.status.entries import Entry
from core.status.looking import Looked, seen_backups, seen_scans
from core.status.measuring import Tally, components
from core.status.promises import Circumstances, promises
from core.status.told import Incident, SeenAccess, SeenHost, SeenLog, Told
from core.store.access import AccessLine, HostLine, accesses_since, hosts_there

SHOWN: Final = timedelta(days=90)
MOST_ACCESSES: Final = 1_000
OWN: Final = "the portal"
"""How the installation itself is called among hosts."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose feed it is: the portal's address, the published copy's, the program's version, and how the installation is set up."""

    address: str
    feed: str
    version: str
    ways: Circumstances


@dataclass(frozen=True, slots=True)
class Asked:
    """What the database said. `made_a_day_ago`: scans made until then, all told."""

    looked: Looked
    accesses: tuple[AccessLine, ...]
    hosts: tuple[HostLine, ...]
    incidents: tuple[Incident, ...]


def ask(session: Session, looked: Looked, incidents: Callable[[Session, datetime], tuple[Incident, ...]]) -> Asked:
    """Everything that a page of 90 days shows."""
    since = looked.at - SHOWN
    lines = accesses_since(session, since, looked.at, most=MOST_ACCESSES)
    return Asked(looked, lines, hosts_there(session), incidents(session, since))


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
        accesses=tuple(_access(line, accesses.get(line.ref, ())) for line in asked.accesses),
        hosts=tuple(_host(line) for line in asked.hosts),
        backups=backups,
        scans=seen_scans(looked, made_before),
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


def _access(line: AccessLine, entries: Sequence[Entry]) -> SeenAccess:
    return SeenAccess(
        line.ref, line.host or OWN, line.kind, line.role, line.started_at, line.ended_at, line.ending, line.reason, line.skewed_s,
        tuple(entries),
    )  # fmt: skip


def _host(line: HostLine) -> SeenHost:
    return SeenHost(line.name, line.heard_at, line.silent_at is not None, line.lost, line.refused)
