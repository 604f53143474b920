"""What the database tells of how the installation does: questions, and what each answer says of a component. Nothing of any account's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.asked import newest_log, waiting
from core.status.measuring import Probe
from core.status.told import SeenBackups, SeenExports, SeenScans
from core.store.backups import Backup, Drill, backups, newest_drill
from core.store.endpoints import ScanGap, ScanTally
from core.store.exports import exports_since
from core.store.heartbeats import heartbeats
from core.store.workload import Workload, mail_waits_since, workload

SILENT: Final = timedelta(minutes=2)
SCANS_LATE, SCANS_DOWN = timedelta(minutes=15), timedelta(hours=1)
MAIL_LATE, MAIL_DOWN = timedelta(minutes=5), timedelta(minutes=30)
LOG_LATE, LOG_SILENT = timedelta(minutes=10), timedelta(hours=2)
BY_BOOK: Final = "by the book of what is due, asked by a process that does none of it"
BY_WRITING: Final = "by writing and reading a line, from a process of its own"
BY_FILES: Final = "by its published files, and by what waits for it"
_MINUTE: Final = 60
_HOUR: Final = 3_600


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found at one moment. `made`: scans so far, all told; `missed`: those of the last 24 hours.

    `log_trouble`: why the log signs nothing, "" where it does; `mail_since`: since when the oldest mail waits, but those about incidents.
    `exports`: how many in 30 days, and when the newest became whole.
    """

    at: datetime
    beats: dict[str, datetime]
    work: Workload
    made: int
    missed: int
    newest: Backup | None
    oldest_at: datetime | None
    drill: Drill | None
    log_trouble: str
    log_waits_since: datetime | None
    mail_since: datetime | None
    exports: tuple[int, datetime | None] = (0, None)


def look(session: Session, now: datetime) -> Looked:
    """Ask everything, in a session that only reads."""
    there = backups(session)
    log = newest_log(session)
    return Looked(
        now,
        heartbeats(session),
        workload(session, now),
        session.scalar(sa.select(sa.func.coalesce(sa.func.sum(ScanTally.made), 0))) or 0,
        session.scalar(sa.select(sa.func.count()).select_from(ScanGap).where(ScanGap.noticed_at >= now - timedelta(days=1))) or 0,
        there[0] if there else None,
        min((backup.at for backup in there if backup.at is not None), default=None),
        newest_drill(session),
        log.trouble if log is not None else "",
        waiting(session).oldest,
        mail_waits_since(session, now, but="status_told"),  # thousands of them may wait, and an incident about that would mail again
        exports_since(session, now - timedelta(days=30)),
    )


def scanning(found: Looked, began: datetime) -> Probe:
    """Whether checks are made, and in time. `began`: when looking did."""
    quiet = _quiet(found, began, "No checks are made: what makes them", "clock", "worker.scan", "worker.now")
    return quiet or _waited(found.work.scans.oldest, found.at, (SCANS_LATE, SCANS_DOWN), "Checks are made in time.", "Checks are late")


def notifications(found: Looked, began: datetime) -> Probe:
    """Whether mail leaves, and in time. `began`: when looking did."""
    if quiet := _quiet(found, began, "No mail leaves: what sends it", "worker.ops"):
        return quiet
    return _waited(found.mail_since, found.at, (MAIL_LATE, MAIL_DOWN), "Mail leaves in time.", "Mail is late")


def proofs(found: Looked, longest_age: timedelta) -> Probe:
    """What backups are worth: the newest is young enough, and the newest drill brought it back whole."""
    if found.newest is None:
        return Probe("unmeasured", "There is no backup yet.", BY_BOOK)
    age = found.at - (found.newest.at or found.newest.began_at)
    if found.drill is None:
        return Probe("unmeasured", "No backup is proven yet.", BY_BOOK)
    if not whole(found.drill):
        return Probe("down", "The newest drill did not bring its backup back whole.", BY_BOOK)
    if age > longest_age:
        return Probe("late", f"The newest backup is {span(age)} old; the goal is {span(longest_age)}.", BY_BOOK)
    return Probe("ok", "The newest backup is young enough, and the newest drill brought one back whole.", BY_BOOK)


def the_log(found: Looked, logged_at: datetime | None) -> Probe:
    """Whether what happens is sealed, and published. `logged_at`: the newest published entry's."""
    if found.log_trouble:
        return Probe("down", "The log signs nothing: what it should go on from is not what was signed.", BY_FILES)
    if logged_at is None:
        return Probe("unmeasured", "Nothing of the log is published yet.", BY_FILES)
    if found.at - logged_at > LOG_SILENT:
        return Probe("down", f"Nothing was published for {span(found.at - logged_at)}; there is a line each hour.", BY_FILES)
    if found.log_waits_since is not None and found.at - found.log_waits_since > LOG_LATE:
        return Probe("late", f"What happened waits for {span(found.at - found.log_waits_since)} to be sealed.", BY_FILES)
    return Probe("ok", "What happens is sealed and published within seconds.", BY_FILES)


def seen_backups(found: Looked) -> SeenBackups | None:
    """The public number: the newest drilled backup's coverage, passed or not."""
    if found.newest is None:
        return None
    drill = found.drill
    return SeenBackups(
        accounts=drill.accounts_alive if drill else None,
        restorable=drill.accounts_held if drill else None,
        proven_at=drill.ended_at if drill else None,
        fidelity=f"{drill.fidelity:.3f}" if drill is not None and drill.fidelity is not None else "",
        newest_at=found.newest.at,
        oldest_at=found.oldest_at,
        targets=len(found.newest.targets),
    )


def seen_scans(found: Looked, made_a_day_ago: int) -> SeenScans:
    """Made and missed in 24 hours."""
    return SeenScans(max(0, found.made - made_a_day_ago), found.missed)


def seen_exports(found: Looked) -> SeenExports | None:
    """How many accounts' exports, never whose."""
    made, newest_at = found.exports
    return SeenExports(made, newest_at) if newest_at is not None else None


def whole(drill: Drill) -> bool:
    """Whether a drill passed."""
    return drill.state == "passed"


def span(length: timedelta) -> str:
    """9 min, 3 h, 2 days."""
    seconds = int(length.total_seconds())
    if seconds < _HOUR:
        return f"{max(1, seconds // _MINUTE)} min"
    return f"{seconds // _HOUR} h" if seconds < 2 * 86_400 else f"{seconds // 86_400} days"


def _quiet(found: Looked, began: datetime, what: str, *names: str) -> Probe | None:
    """Down where one of these gave no sign of life lately, None where all did. While all of it may still be starting, nobody knows."""
    if all((beat := found.beats.get(name)) is not None and found.at - beat <= SILENT for name in names):
        return None
    if timedelta() <= found.at - began < SILENT:
        return Probe("unmeasured", "Not all that does it has begun yet.", BY_BOOK)
    return Probe("down", f"{what} gives no sign of life.", BY_BOOK)


def _waited(since: datetime | None, now: datetime, bounds: tuple[timedelta, timedelta], well: str, late: str) -> Probe:
    """How it stands where the oldest waits since then. `bounds`: from when on it is late, and down."""
    waited = now - since if since is not None else timedelta()
    if waited <= bounds[0]:
        return Probe("ok", well, BY_BOOK)
    return Probe("down" if waited > bounds[1] else "late", f"{late}: the oldest waits for {span(waited)}.", BY_BOOK)
