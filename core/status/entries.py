"""Where the published log tells of accesses and drills: its own files are read, and nothing else, so that what is linked can be proved."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from audit.published import PublishedLog, published_logs, told_in
from core.status.told import SeenLog, SeenWitness

Entry = tuple[int, int]
"""A log's number, and an entry's index in it."""
_AT_ONCE: Final = 4_096


@dataclass
class Index:
    """What was read so far of the logs that are published in `folder`. `read_on` reads what came since; the rest is in memory.

    `witnesses`: who is asked to cosign, as vkey and address. `accesses`: the entries that tell of an access, by its reference; `drills`:
    of a drill; `reasoned`: the first that commits to an access's reason. `logs`: as they were published when they were read last.
    """

    folder: Path
    witnesses: tuple[tuple[str, str], ...] = ()
    accesses: dict[str, list[Entry]] = field(default_factory=dict)
    drills: dict[str, list[Entry]] = field(default_factory=dict)
    reasoned: dict[str, Entry] = field(default_factory=dict)
    logged_at: datetime | None = None
    logs: list[PublishedLog] = field(default_factory=list)
    _done: dict[int, int] = field(default_factory=dict)
    _first: dict[int, bytes] = field(default_factory=dict)

    def read_on(self) -> SeenLog | None:
        """The newest log's head as it is published; None where none is. Raises UnreadableError for what is missing or damaged."""
        self.logs = published_logs(self.folder)
        for log in self.logs:
            self._read(log)
        return self._head(self.logs[-1]) if self.logs else None

    def _head(self, log: PublishedLog) -> SeenLog:
        signed = [each for each in log.cosigned(self.witnesses) if each.state != "other"]
        witnesses = tuple(SeenWitness(each.name, each.at if each.state == "signed" else None) for each in signed)
        return SeenLog(log.number, log.checkpoint.origin, log.checkpoint.size, log.checkpoint.root.hex(), self.logged_at, witnesses)

    def _read(self, log: PublishedLog) -> None:
        done = self._done.get(log.number, 0)
        first = log.body(0) if log.checkpoint.size else b""
        if log.checkpoint.size < done or self._first.setdefault(log.number, first) != first:
            self._first[log.number] = first
            self._forget(log.number)
            done = 0
        while done < log.checkpoint.size:
            until = min(done + _AT_ONCE, log.checkpoint.size)
            for index, body in reversed(log.before(until, until - done)):
                self._take((log.number, index), told_in(body) or {})
            done = self._done[log.number] = until

    def _take(self, entry: Entry, told: dict[str, Any]) -> None:
        for name, kept in (("access", self.accesses), ("drill", self.drills)):
            if isinstance(ref := told.get("said", {}).get(name), str):
                kept.setdefault(ref, []).append(entry)
        if "reason" in told.get("c", {}) and isinstance(ref := told["said"].get("access"), str):
            self.reasoned.setdefault(ref, entry)
        if isinstance(logged := told.get("logged"), str):
            self.logged_at = datetime.strptime(logged, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)

    def _forget(self, number: int) -> None:
        for kept in (self.accesses, self.drills):
            for entries in kept.values():
                entries[:] = [each for each in entries if each[0] != number]
        self.reasoned = {ref: entry for ref, entry in self.reasoned.items() if entry[0] != number}
