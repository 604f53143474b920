"""All that the status feed says at one moment: what pages, feeds, the API and badges are made of, and nothing else is.

It is public to the letter: it travels as `api/v2/keychest.json`, from which a watcher on another host makes the same pages again.
Times are aware UTC; in JSON they are ISO 8601.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal

ComponentState = Literal["ok", "late", "down", "unmeasured"]
COMPONENTS: Final[dict[str, str]] = {
    "portal": "Web and API",
    "scanning": "Checks",
    "notifications": "Notifications",
    "database": "Database",
    "backups": "Backups",
    "log": "The log",
}
"""Each component's key and the name that people read, in the order of the page."""
NO_REASON_AFTER_S: Final = 86_400
"""So long a reason may come later; then the page says in red that there is none."""


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day of a component, in measured seconds: `late_s` late or partly down, `down_s` down. In its other seconds nobody measured."""

    day: date
    measured_s: int
    late_s: int
    down_s: int


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the installation. `says`: a sentence, what is wrong now or that it works; `by`: which probe found it.

    `days`: 90, oldest first.
    """

    key: str
    state: ComponentState
    says: str
    by: str
    since: datetime | None
    measured_at: datetime | None
    days: tuple[Day, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """A word about an incident, newest first in it. `state` as in `core.store.public_incidents.PublicIncident`."""

    state: str
    words: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Incident:
    """A disturbance that is public, or planned work (`planned_from` set). `account`: the post-mortem, "" while none is written."""

    ref: str
    title: str
    impact: str
    state: str
    components: tuple[str, ...]
    automatic: bool
    opened_at: datetime
    published_at: datetime
    changed_at: datetime
    ended_at: datetime | None
    planned_from: datetime | None
    planned_until: datetime | None
    account: str
    updates: tuple[Update, ...]


@dataclass(frozen=True, slots=True)
class SeenAccess:
    """One access to production as strangers see it. `ending` is "" while it is open, else "closed" or "lost" (the host stopped before).

    `entries`: where the log tells of it, as (log's number, entry's index); () while the sequencer has not come to it.
    """

    ref: str
    host: str
    kind: str
    role: str
    started_at: datetime
    ended_at: datetime | None
    ending: str
    reason: str
    skewed_s: int | None
    entries: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SeenHost:
    """A host that reports. `missing`: how many numbered reports never came or were lost there; `refused`: how many did not hold."""

    name: str
    heard_at: datetime | None
    silent: bool
    missing: int
    refused: int


@dataclass(frozen=True, slots=True)
class SeenBackups:
    """What backups are worth. `restorable` of `accounts` are in the newest drilled backup's restored copy; None while nothing is proven.

    `fidelity`: restored rows and hashes against those taken, as a percentage in text, "100.000". `drill`: its entries in the log.
    """

    accounts: int | None
    restorable: int | None
    proven_at: datetime | None
    fidelity: str
    newest_at: datetime | None
    oldest_at: datetime | None
    targets: int
    drill: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SeenScans:
    """Checks made and missed in the last 24 hours."""

    made: int
    missed: int


@dataclass(frozen=True, slots=True)
class SeenExports:
    """Exports of accounts that are whole: how many in 30 days, and when the newest was."""

    made: int
    newest_at: datetime


@dataclass(frozen=True, slots=True)
class SeenWitness:
    """Who cosigned the log's head, and when; None: not this one."""

    name: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class SeenLog:
    """The newest log's head, as it is published. `root`: hex."""

    number: int
    origin: str
    size: int
    root: str
    logged_at: datetime | None
    witnesses: tuple[SeenWitness, ...] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """A promise made after the accident. `state`: "kept", "partly" or "not yet"; `newest`: its newest evidence, in words, seen at `at`.

    `link`: where that evidence is, relative to the feed's root ("log/", "access/"), "" where there is none.
    """

    key: str
    promise: str
    state: str
    says: str
    newest: str
    at: datetime | None
    link: str


@dataclass(frozen=True, slots=True)
class Told:
    """Everything at `made_at`.

    `more_accesses`: how many of 90 days are left out; open ones are not.
    `address`: the portal's, as "https://keychest.example"; `feed`: the published copy's own, without a slash at its end.
    `unreachable_since`: set by a watcher that cannot reach the portal; then `known_at` is when the portal last said the rest, and `how` is
    a sentence that says how the watcher knows.
    """

    made_at: datetime
    address: str
    feed: str
    version: str
    components: tuple[Component, ...]
    incidents: tuple[Incident, ...] = ()
    accesses: tuple[SeenAccess, ...] = ()
    more_accesses: int = 0
    hosts: tuple[SeenHost, ...] = ()
    backups: SeenBackups | None = None
    scans: SeenScans | None = None
    exports: SeenExports | None = None
    log: SeenLog | None = None
    measures: tuple[Measure, ...] = ()
    known_at: datetime | None = None
    unreachable_since: datetime | None = None
    how: str = ""
