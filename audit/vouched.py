"""Who vouches for a log: its key, witnesses, what was seen of it before, and the log that goes on after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from audit.held import Head
from audit.leaves import Leaves
from audit.note import Checkpoint, Note, NoteError, Signature, Verifier, checkpoint_signed_by, read_base64, time_of
from audit.told import Report, Told


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to have checked: by which keys, against what was seen before (by origin), and how many of which witnesses."""

    keys: tuple[Verifier, ...] = ()
    witnesses: tuple[Verifier, ...] = ()
    quorum: int = 0
    heads: Mapping[str, Head] = field(default_factory=dict)
    place: str = ""


@dataclass(slots=True)
class Log:
    """One log that was read."""

    number: int
    checkpoint: Checkpoint
    note: Note
    told: Told
    leaves: Leaves

    @property
    def origin(self) -> str:
        """What it is called."""
        return self.checkpoint.origin

    @property
    def whole(self) -> bool:
        """Whether the entries are those that the checkpoint promises, and each of them was read."""
        return self.leaves.roots.get(self.checkpoint.size) == self.checkpoint.root and self.told.count == self.checkpoint.size


def signed(log: Log, asked: Asked, report: Report) -> None:
    """The checkpoint's signature by the key of now, and those of witnesses."""
    if log.told.keys and log.told.count == log.checkpoint.size:
        key = log.told.keys[-1]
        try:
            checkpoint_signed_by(log.note.raw, log.origin, [key])
            turned = len(log.told.keys) - 1
            rotated = f", after {turned} {'rotation' if turned == 1 else 'rotations'} signed by both keys" if turned else ""
            report.checked.append(f"The checkpoint is signed by {key.vkey}{rotated}.")
        except NoteError as error:
            report.wrong(f"The checkpoint of {log.origin} does not hold. {error}")
    for key, line in _cosigned(log, asked, report):
        at = datetime.fromtimestamp(time_of(line.bytes), UTC) if time_of(line.bytes) < 1 << 37 else None
        report.checked.append(f"{key.name} has seen this checkpoint{f' at {at:%Y-%m-%d %H:%M:%S} UTC' if at else ''}.")
    own = {(key.name, key.id) for key in (*log.told.keys, *asked.witnesses)}
    others = sorted({each.name for each in log.note.signatures if (each.name, each.key_id) not in own})
    if others and log.told.keys:
        report.notes.append(f"Signed as well in the name of {', '.join(others)}, which was not checked: --witness takes their keys.")


def _cosigned(log: Log, asked: Asked, report: Report) -> list[tuple[Verifier, Signature]]:
    try:
        return list(log.note.signed_by(asked.witnesses))
    except NoteError as error:
        report.wrong(f"A witness's cosignature under the checkpoint of {log.origin} does not hold. {error}")
        return []


def quorum(log: Log, asked: Asked, report: Report) -> None:
    """Whether enough of them have seen the newest checkpoint."""
    try:
        seen = {key.key for key, _ in log.note.signed_by(asked.witnesses)}
    except NoteError:
        return  # told already
    if len(seen) < asked.quorum:
        report.wrong(f"{len(seen)} of the witnesses that you named signed the checkpoint of {log.origin}, and you want {asked.quorum}.")


def handed(log: Log, before: Log, asked: Asked, report: Report) -> None:
    """Why the key with which a log goes on after another one is believed: it is that one's, or was given, or seen before."""
    if report.faults or (before.told.keys and log.told.keys[0].key == before.told.keys[-1].key):
        return
    if not set(asked.keys) & set(log.told.keys) and log.origin not in asked.heads:
        report.wrong(
            f"{log.origin} begins with a key that nobody vouches for: it is not that of {before.origin}. If the operator gave "
            f"it to you by another way, name it by --key as well: {log.told.keys[0].vkey}"
        )


def trusted(logs: Sequence[Log], asked: Asked, report: Report) -> None:
    """Why the key of the first log is believed. A key of a later one is as good: each log names the one before it with its root."""
    own = {each for log in logs for each in log.told.keys}
    for key in asked.keys:
        if key not in own and not report.faults:
            report.wrong(f"{key.vkey} is the key that you gave, and {logs[0].origin} is not signed by it, nor did it ever hand over.")
    if not asked.keys and not any(log.origin in asked.heads for log in logs) and logs[0].told.keys:
        report.notes.append(f"The key was trusted on first use, since you gave none: {logs[0].told.keys[-1].vkey}")


def extends(log: Log, held: Head, size: int, report: Report) -> None:
    """Whether the log goes on from what was seen of it."""
    root = log.leaves.roots.get(held.size)
    if held.size > size:
        report.wrong(
            f"You have seen {held.size:,} entries of {log.origin}, and now it promises {size:,}: an old checkpoint was put back, or "
            "entries were taken away."
        )
    elif root != held.root and held.size == log.checkpoint.size:
        report.wrong(
            f"You have seen another tree of {held.size:,} entries of {log.origin}. Both are signed, and together they prove that "
            "the log was forked: keep your file and a copy of this log."
        )
    elif root != held.root:
        report.wrong(
            f"The first {held.size:,} entries of {log.origin} are not those that you have seen: the log was rewritten. "
            "Both checkpoints are signed, and together they prove it: keep your file and a copy of this log."
        )
    else:
        report.checked.append(f"The first {held.size:,} entries of {log.origin} are those that you saw last.")


def continues(before: Log, log: Log, report: Report) -> None:
    """Whether a log's entry 0 names the one before it as it was."""
    said, size = log.told.first, named_size(log.told.first)
    if not said:
        return  # told already
    root = before.leaves.roots.get(size)
    first = before.origin if before.number == 1 else before.origin.rpartition("/")[0]
    if log.origin != f"{first}/{log.number}":
        report.wrong(f"Log {log.number} is called {log.origin}, and not {first}/{log.number}.")
    if said.get("previous_origin") != before.origin:
        report.wrong(f"Entry 0 of {log.origin} says that it goes on after {said.get('previous_origin')!r}, and not after {before.origin}.")
    elif size < before.checkpoint.size:
        report.wrong(f"Entry 0 of {log.origin} names {size:,} entries of {before.origin}, which promises {before.checkpoint.size:,}.")
    elif root is None:
        report.wrong(f"Of {size:,} entries that {before.origin} promised, {before.leaves.size:,} are here.")
    elif not _same_root(said.get("previous_root"), root):
        report.wrong(f"Entry 0 of {log.origin} names another root of {before.origin} than its {size:,} entries have.")
    else:
        report.checked.append(f"{log.origin} goes on after {before.origin}: it names its {size:,} entries and their root.")
    kept, reason = said.get("previous_kept"), said.get("reason")
    report.notes.append(
        f"{log.origin} began since {before.origin} could not go on. The reason given: {reason!r}. Its database held {kept} entries then."
    )


def _same_root(said: object, root: bytes) -> bool:
    try:
        return read_base64(str(said)) == root
    except NoteError:
        return False


def named_size(said: Mapping[str, Any]) -> int:
    """How many entries of the log before an entry 0 names; 0 for none."""
    found = said.get("previous_size")
    return found if type(found) is int and found > 0 else 0
