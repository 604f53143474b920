"""How the installation runs: what works and waits, mails that did not arrive, and what is set. To look at alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from core.actions.policy import Actor, Permission, require_installation
from core.broker import queued
from core.store.heartbeats import heartbeats
from core.store.undelivered import undelivered
from core.store.workload import Waiting, workload
from portal.cursors import place_after, read_place
from portal.frame import SILENT_FOR
from portal.gate import gate
from portal.html import page
from portal.parts import now, parts, reading

views = Blueprint("operations", __name__, url_prefix="/operations")
_ROWS: Final = 30
_PATIENCE_S: Final = 0.5
_LATE_S: Final = 900
"""A scan that waits longer than this is a gap, and mail that does is slow."""
PROCESSES: Final[Mapping[str, tuple[str, str]]] = {
    "clock": ("Clock", "hands out what is due"),
    "worker.now": ("Worker for what people wait for", "first scans, “Check now” and spot checks"),
    "worker.scan": ("Worker for scans", "everything that is scanned by schedule"),
    "worker.ops": ("Worker for mail and looks at backups", "letters, notices, alarms"),
    "worker.backup": ("Worker for backups", "backups and drills"),
    "sequencer": ("Sequencer", "makes entries of what happens, and signs the log"),
}
"""What gives signs of life, in words."""
_ELSEWHERE: Final = frozenset({"worker.backup", "sequencer"})
"""What may run as another user, with another login to the database: one that never gave a sign is not missed there."""
QUEUES: Final[Mapping[str, str]] = {
    "now": "What people wait for", "scan": "Scans by schedule", "ops": "Mail and looks at backups", "backup": "Backups and drills",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Process:
    """One that should be there. `at` is its last sign of life, None where it never gave one."""

    name: str
    words: str
    does: str
    at: datetime | None
    alive: bool


@dataclass(frozen=True, slots=True)
class Line:
    """Something that waits: how many, since when the oldest one does, and whether that is late."""

    words: str
    count: int
    oldest: datetime | None
    late: bool
    to_do: str


@views.get("/workers")
@gate(Permission.SEE_OPERATIONS)
def workers(actor: Actor) -> ResponseReturnValue:
    """Processes, queues, and what is due."""
    require_installation(actor, Permission.SEE_OPERATIONS)
    load = workload(reading(), now())
    queues = queued(parts().redis_url, list(QUEUES), _PATIENCE_S)
    waits = (
        _line("Scans that are due", load.scans, "Look whether the clock and the workers for scans give signs of life, and at their logs."),
        _line(
            "Letters to people",
            load.letters,
            "Look whether the worker for mail gives signs of life, then under Lost mail for what the server says.",
        ),
        _line("Notices about certificates", load.notices, "As with letters. Each is looked at again before it is sent."),
    )
    return page(
        "operations/workers.html",
        tab="operations",
        at="workers",
        processes=_processes(),
        waits=waits,
        load=load,
        queues=queues,
        words=QUEUES,
    )


@views.get("/mails")
@gate(Permission.SEE_OPERATIONS)
def mails(actor: Actor) -> ResponseReturnValue:
    """Mails that did not arrive, newest first."""
    require_installation(actor, Permission.SEE_OPERATIONS)
    until, skip = read_place(request.args.get("before", ""))
    rows = undelivered(reading(), until=until, skip=skip, most=_ROWS + 1)
    shown = rows[:_ROWS]
    older = place_after([row.at for row in shown], until, skip) if len(rows) > _ROWS else ""
    return page("operations/mails.html", tab="operations", at="mails", rows=shown, older=older, first=until is None)


@views.get("/settings")
@gate(Permission.SEE_OPERATIONS)
def settings(actor: Actor) -> ResponseReturnValue:
    """What is set, in words. It is changed where the processes are started."""
    require_installation(actor, Permission.SEE_OPERATIONS)
    given = [each for each in parts().settings if each.given]
    usual = [each for each in parts().settings if not each.given]
    return page("operations/settings.html", tab="operations", at="settings", given=given, usual=usual)


def _processes() -> list[Process]:
    beats = heartbeats(reading())
    return [
        Process(name, words, does, at := beats.get(name), at is not None and now() - at <= SILENT_FOR)
        for name, (words, does) in PROCESSES.items()
        if name in beats or name not in _ELSEWHERE or parts().database_url.startswith("sqlite")
    ]


def _line(words: str, waiting: Waiting, to_do: str) -> Line:
    late = waiting.oldest is not None and (now() - waiting.oldest).total_seconds() > _LATE_S
    return Line(words, waiting.count, waiting.oldest, late, to_do)
