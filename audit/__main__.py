"""`python -m audit`: checks a log, or an activity that was downloaded, with this folder and `cryptography` alone.

Exit codes: 0 all holds, 1 something is wrong (it says how), 2 it could not be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from audit.held import keep_heads, read_heads
from audit.note import COSIGNATURE, ED25519, NoteError, Verifier
from audit.opened import opened, read_activity
from audit.reading import Missing, Unreadable, place_of
from audit.tiles import TileError
from audit.told import Report
from audit.verify import Verified, verified
from audit.vouched import Asked
from audit.words import HOLDS, UNREADABLE, WRONG, listed, printable, proof_told


def main(words: Sequence[str]) -> int:
    """One verb. The exit code."""
    asked = _parser().parse_args(words)
    try:
        code: int = asked.verb(asked)
    except (Unreadable, NoteError) as error:
        _print("It could not be read, and nothing is known.", "", str(error))
        return UNREADABLE
    return code


def verify(asked: argparse.Namespace) -> int:
    """A log, and those it is continued by."""
    witnesses = tuple(_key(each, COSIGNATURE) for each in asked.witness)
    if asked.quorum > len({each.key for each in witnesses}):
        raise Unreadable(f"--quorum {asked.quorum} needs so many witnesses of different keys: name them by --witness.")
    heads = read_heads(asked.since) if asked.since else {}
    where = asked.place if "://" in asked.place else str(Path(asked.place).absolute())
    keys = tuple(_key(each, ED25519) for each in asked.key)
    with place_of(asked.place) as place:
        done = verified(place, Asked(keys, witnesses, asked.quorum, heads, where))
        entry = ["", *_entry(done, asked.log, asked.entry)] if asked.entry is not None and done.holds else []
    report = done.report
    if report.faults:
        _say("Something is wrong with this log.", report)
        if asked.since:
            _print("", f"{asked.since} stays as it was: what you saw before is the proof of what was promised then.")
        return WRONG
    if report.unreadable:
        _say("Not all of it could be read. What was read holds.", report)
        return UNREADABLE
    if asked.since:
        try:
            keep_heads(asked.since, done.heads)
        except Unreadable as error:
            report.unreadable = str(error)
            _say("All holds, and it could not be kept for the next time.", report)
            return UNREADABLE
        report.checked.append(f"{asked.since} has this as what you saw last.")
    newest = done.logs[-1]
    many = "1 entry" if newest.checkpoint.size == 1 else f"{newest.checkpoint.size:,} entries"
    _say(f"All holds: {newest.origin} has {many}, and each stands where it was signed.", report)
    _print(*entry)
    return HOLDS


def open_(asked: argparse.Namespace) -> int:
    """An activity that was downloaded."""
    found = opened(read_activity(asked.file), [_key(each, ED25519) for each in asked.key])
    if found.report.faults:
        _say("Something is wrong with this file.", found.report)
        return WRONG
    _print(*found.lines, "")
    _say("All holds: each of these entries is in the log that was signed, and says what this file says.", found.report)
    return HOLDS


def _entry(done: Verified, number: int | None, index: int) -> list[str]:
    """One entry. Raises Unreadable for one that is not there."""
    log = next((each for each in done.logs if each.number == (number or done.logs[-1].number)), None)
    if log is None:
        raise Unreadable(f"There is no log {number} here: they are 1 to {len(done.logs)}.")
    if not 0 <= index < log.checkpoint.size:
        raise Unreadable(f"{log.origin} has no entry {index}: they are 0 to {log.checkpoint.size - 1:,}.")
    try:
        return list(proof_told(log, index))
    except (Missing, TileError) as error:
        raise Unreadable(f"It changed while it was read: {error}.") from None


def _key(vkey: str, kind: int) -> Verifier:
    """Raises NoteError."""
    found = Verifier.read(vkey)
    if found.kind != kind:
        raise NoteError(f"{vkey} is a key of a {'log' if kind == COSIGNATURE else 'witness'}, which is not what is asked for here.")
    return found


def _say(verdict: str, report: Report) -> None:
    _print(verdict, *listed("What is wrong", report.faults), *([f"  - {report.unreadable}"] if report.unreadable else []))
    _print(*listed("Checked, and found to hold", report.checked), *listed("To know", report.notes))


def _print(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{printable(line)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audit", description="Checks a KeyChest log. docs/verify-the-log.md leads through it.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    check = verbs.add_parser("verify", help="a log: every entry, every file, every signature")
    check.set_defaults(verb=verify)
    check.add_argument("place", metavar="URL-or-folder")
    check.add_argument("--key", action="append", default=[], metavar="VKEY", help="the log's key, as you know it by another way")
    check.add_argument("--since", type=Path, metavar="FILE", help="what you saw last; written when all holds")
    check.add_argument("--entry", type=int, metavar="N", help="show this entry, and its proof")
    check.add_argument("--log", type=int, metavar="N", help="of which log, where there are several; the newest unless said")
    check.add_argument("--witness", action="append", default=[], metavar="VKEY", help="the key of a witness whose cosignature counts")
    check.add_argument("--quorum", type=int, default=0, metavar="N", help="so many of these witnesses must have signed")
    show = verbs.add_parser("open", help="an activity that was downloaded from an account")
    show.set_defaults(verb=open_)
    show.add_argument("file", type=Path, metavar="FILE")
    show.add_argument("--key", action="append", default=[], metavar="VKEY", help="the log's key, as you know it by another way")
    return parser


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
