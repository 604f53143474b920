"""Checks a log from its files alone: signatures, every leaf, every file, what was seen before, and the logs that it was continued by.

`verified` raises Unreadable only where nothing at all could be looked at. All that is wrong is a sentence in `Report.faults`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from audit.entry import read_entry
from audit.held import Head
from audit.leaves import Leaves, Shelf
from audit.note import Checkpoint, Note, NoteError
from audit.reading import Lying, Missing, Place, Unreadable
from audit.tiles import CHECKPOINT, CONTINUED, ENTRIES, WIDTH, Tile, TileError, entry_at
from audit.told import Report, Told
from audit.vouched import Asked, Log, continues, extends, handed, named_size, quorum, signed, trusted

_MOST_LOGS: Final = 1_000
_NUMBER: Final = re.compile(r"([2-9]|[1-9][0-9]+)(/.*)?", re.DOTALL)


@dataclass(slots=True)
class Verified:
    """The outcome, and the heads to keep: those that were there before, and those of now."""

    report: Report
    logs: list[Log] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether all of it was read, and nothing is wrong."""
        return not self.report.faults and not self.report.unreadable


def verified(place: Place, asked: Asked) -> Verified:
    """All logs at a place, from the first one on. Raises Unreadable where there is no log."""
    done = Verified(Report(), heads=dict(asked.heads))
    lying = place.listed()
    try:
        _chain(place, asked, done, lying)
    except Unreadable as error:
        done.report.unreadable = str(error)
    else:
        _seen_all(asked, done)
    if not done.logs and not done.report.faults:
        raise Unreadable(done.report.unreadable or "There is no log: the file `checkpoint` is missing.")
    for log in done.logs:
        if done.holds:
            keys = tuple(each.vkey for each in log.told.keys)
            done.heads[log.origin] = Head(log.checkpoint.size, log.checkpoint.root, keys, log.note.raw.decode(), asked.place)
    return done


def _chain(place: Place, asked: Asked, done: Verified, lying: list[Lying] | None) -> None:
    """Log after log."""
    report, before = done.report, None
    for number in range(1, _MOST_LOGS):
        shelf = Shelf(place, "" if number == 1 else f"{number}/")
        files = None if lying is None else _files_of(lying, number)
        follows = _follows(shelf, number, report)
        log = _log(shelf, number, asked, done, (files, _peeked(place, number + 1) if follows else {}))
        if log is None:
            return
        done.logs.append(log)
        if before is not None:
            continues(before, log, report)
            handed(log, before, asked, report)
        before = log
        if not follows:
            break
    if lying is not None and before is not None:
        _outside(lying, before.number, report)
    if before is not None:
        trusted(done.logs, asked, report)
        quorum(before, asked, report)


def _log(shelf: Shelf, number: int, asked: Asked, done: Verified, beside: tuple[list[Lying] | None, dict[str, Any]]) -> Log | None:
    """One log by itself; None where nothing follows from it."""
    report, (files, after) = done.report, beside
    try:
        note, checkpoint = _promise(shelf.plain(CHECKPOINT))
    except Missing:
        if number > 1 or files:
            report.wrong(f"{shelf.prefix}{CHECKPOINT} is missing: nobody can say what was promised.")
        return None
    except NoteError as error:
        report.wrong(f"{shelf.prefix}{CHECKPOINT} is none: {error}")
        return None
    held, promised = asked.heads.get(checkpoint.origin), named_size(after)
    log = Log(number, checkpoint, note, Told(checkpoint.origin, report), Leaves(shelf, report, _wanted(checkpoint, held, promised)))
    at, known = len(report.checked), len(report.faults)
    whole = log.leaves.read(checkpoint.size, log.told.take)
    signed(log, asked, report)
    if not whole:
        return None
    if log.leaves.roots[checkpoint.size] != checkpoint.root:
        report.wrong(f"The {checkpoint.size:,} entries of {log.origin} have another root than its checkpoint: they are not those.")
    log.told.finish()
    _rest(log, files, promised, report)
    if held is not None and log.whole:
        extends(log, held, max(checkpoint.size, promised if promised in log.leaves.roots else 0), report)
    if len(report.faults) == known:
        entries = f"{log.origin}: {checkpoint.size:,} {'entry' if checkpoint.size == 1 else 'entries'}"
        report.checked.insert(at, f"{entries}, each hashed and read, in {log.leaves.tiles:,} files that agree with each other.")
    return log


def _promise(raw: bytes) -> tuple[Note, Checkpoint]:
    """A checkpoint as a log of ours signs it, and no other spelling. Raises NoteError."""
    note = Note.read(raw)
    checkpoint = Checkpoint.read(note.text)
    if checkpoint.text != note.text or note.raw != raw:
        raise NoteError("It says more than origin, size and root, or says it another way.")
    if not checkpoint.size:
        raise NoteError("It is of a log without entries, and a log begins with one.")
    return note, checkpoint


def _wanted(checkpoint: Checkpoint, held: Head | None, promised: int) -> frozenset[int]:
    return frozenset({checkpoint.size, promised, held.size if held else 0})


def _rest(log: Log, files: list[Lying] | None, promised: int, report: Report) -> None:
    """What lies there beside what the checkpoint promises."""
    bundles = [tile for each in files or () if (tile := Tile.read(each.path)) and tile.kind == ENTRIES]
    most = max((each.number * WIDTH + each.width for each in bundles), default=0)
    if max(most, promised) > log.checkpoint.size:
        log.leaves.beyond(max(most, promised))
    if files is not None:
        known = len(report.faults)
        log.leaves.account(files)
        if len(report.faults) == known:
            report.checked.append(f"Every file in the folder of {log.origin} is one of its own.")
    more = log.leaves.size - log.checkpoint.size
    if more > 0 and not promised:
        report.notes.append(f"{more:,} newer entries lie there already, which the checkpoint does not promise yet.")


def _seen_all(asked: Asked, done: Verified) -> None:
    """Whether every log that was seen here before is here still."""
    here = {log.origin for log in done.logs}
    if not done.logs or done.report.faults:
        return  # what is not here may only not have been reached
    first = done.logs[0].origin
    for origin, held in asked.heads.items():
        follower = origin.startswith(f"{first}/") and bool(_NUMBER.fullmatch(origin.removeprefix(f"{first}/")))
        if origin not in here and follower:
            done.report.wrong(f"{origin} is not here any more, and you have seen {held.size:,} entries of it.")
        elif origin not in here and held.place == asked.place:
            done.report.wrong(f"Here was {origin} when you looked last, and now it is {first}.")
    if asked.heads and first not in asked.heads:
        done.report.notes.append(f"Your file knew nothing of {first} until now: nothing was compared.")


def _follows(shelf: Shelf, number: int, report: Report) -> bool:
    """Whether another log goes on after this one. Raises Unreadable."""
    try:
        said = shelf.plain(CONTINUED)
    except Missing:
        return False
    if said != f"{number + 1}\n".encode():
        report.wrong(f"{shelf.prefix}{CONTINUED} is not {number + 1} and a line's end.")
        return False
    return True


def _peeked(place: Place, number: int) -> dict[str, Any]:
    """What entry 0 of a log says, before anything of it was checked: so that the log before is hashed up to where it points."""
    shelf = Shelf(place, f"{number}/")
    try:
        size = Checkpoint.read(Note.read(shelf.plain(CHECKPOINT)).text).size
        found = read_entry(entry_at(shelf.by_path, 0, size))["said"] if size else {}
    except (Missing, NoteError, TileError, ValueError, RecursionError):
        return {}
    return dict(found)


def _files_of(lying: list[Lying], number: int) -> list[Lying]:
    """What lies in the folder of one log, by its path there."""
    if number == 1:
        return [each for each in lying if not _NUMBER.fullmatch(each.path)]
    return [Lying(each.path.removeprefix(f"{number}/"), each.what) for each in lying if each.path.startswith(f"{number}/")]


def _outside(lying: list[Lying], last: int, report: Report) -> None:
    """Sub-folders that no log leads to. The next log's may be there before it has a checkpoint."""
    for each in lying:
        found = _NUMBER.fullmatch(each.path)
        if found is None or (int(found[1]) <= last and (found[2] or each.what == "folder")):
            continue
        inside = (found[2] or "/")[1:]
        begun = int(found[1]) == last + 1 and f"{last + 1}/{CHECKPOINT}" not in {other.path for other in lying}
        if begun and (Tile.read(inside) if each.what == "file" else each.what == "folder"):
            continue
        report.wrong(f"{each.path} belongs to no log that this one is continued by.")
