"""What the watchdog takes for a disturbance, read from what the feed says. Its sentences name no account, and no name of one's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.status.told import COMPONENTS, SeenBackups, Told

LATE_AFTER: Final = timedelta(minutes=15)
"""What is late for less is no disturbance."""
PROVEN_WITHIN: Final = timedelta(hours=36)
"""A drill is silent when no backup was proven for so long: one is due each day."""
LOGGED_WITHIN: Final = timedelta(minutes=90)
"""The log has an entry each hour, whatever happens; without one for so long it has stopped."""
_WHOLE: Final = "100.000"
_EFFECT: Final[dict[str, str]] = {
    "portal": "People and programs may not reach their pages and the API. Checks go on by themselves.",
    "scanning": "Certificates are looked at later than they should be. What was seen before stays as it was.",
    "notifications": "Mails wait, and are sent when this is over. Pages show what was found.",
    "database": "Pages and checks may not work. What was stored is kept.",
    "backups": "What was typed in lately may be in no backup yet. Nothing else is affected.",
    "log": "What happens is kept, and becomes entries of the log when this is over.",
}
"""What a disturbance of each component means for those who use it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong since then. `key`: "down:portal"; one incident for each is open at most. The public reads the rest."""

    key: str
    since: datetime
    title: str
    words: str
    components: tuple[str, ...]
    impact: str
    holds: bool = False
    """Not enough to open an incident, and enough that an open one is not over: late for a moment, or not measured."""


def faults_of(told: Told) -> tuple[Fault, ...]:
    """Components that are down or late, a drill that failed or is silent, hosts that report no more, a log that stopped."""
    parts = tuple(_components(told))
    told_already = {fault.components for fault in parts if not fault.holds}
    apart = (*_drill(told.backups, told.made_at), *_log(told))
    others = (_holding(fault.key, fault.since) if fault.components in told_already else fault for fault in apart)
    return (*parts, *_hosts(told), *others)


def _holding(key: str, since: datetime) -> Fault:
    return Fault(key, since, "", "", (), "none", holds=True)


def _components(told: Told) -> Iterator[Fault]:
    for each in told.components:
        since = each.since or each.measured_at or told.made_at
        late = each.state == "late" and told.made_at - since >= LATE_AFTER
        if each.key not in COMPONENTS or each.state == "ok":
            continue
        if not late and each.state != "down":
            yield _holding(f"down:{each.key}", since)
            continue
        name = COMPONENTS[each.key]
        grave = "critical" if each.key in {"portal", "database"} else "major"
        yield Fault(
            f"down:{each.key}",
            since,
            f"{name}: {'late' if late else 'not working'}",
            f"Our own measuring finds that this part {'is late' if late else 'does not work'}. {_EFFECT[each.key]} "
            f"This was written by the watchdog; a person looks at it.",
            (each.key,),
            "minor" if late else grave,
        )


def _hosts(told: Told) -> Iterator[Fault]:
    for host in told.hosts:
        if host.silent:
            yield Fault(
                f"host:{host.name}"[:96],
                host.heard_at or told.made_at,
                "A production host does not report",
                f"The host {host.name} reports no more who has access to it. While it is silent nobody can say whether somebody has.",
                (),
                "minor",
            )


def _drill(backups: SeenBackups | None, now: datetime) -> Iterator[Fault]:
    if backups is None:
        yield from (_holding(key, now) for key in ("drill:failed", "drill:silent"))
        return
    proven = backups.proven_at or backups.oldest_at
    if backups.proven_at is not None and backups.fidelity and backups.fidelity != _WHOLE:
        yield Fault(
            "drill:failed",
            backups.proven_at,
            "A backup was not proven",
            "A drill restored a backup, and what came back was not all that had gone in. Older backups stay. The next drill is tried "
            "by itself.",
            ("backups",),
            "minor",
        )
    elif proven is not None and now - proven > PROVEN_WITHIN:
        yield Fault(
            "drill:silent",
            proven,
            "No backup was proven lately",
            "A drill is due each day, and none has proven a backup for longer. Backups may be whole; nobody has shown it.",
            ("backups",),
            "minor",
        )


def _log(told: Told) -> Iterator[Fault]:
    at = told.log.logged_at if told.log is not None else None
    if at is None:
        yield _holding("log:stopped", told.made_at)
    elif told.made_at - at > LOGGED_WITHIN:
        yield Fault(
            "log:stopped",
            at,
            "The log has stopped",
            f"The log has no new entry, though one is due each hour. {_EFFECT['log']}",
            ("log",),
            "minor",
        )
