"""Checks an activity file that somebody downloaded from their account: each entry is in the signed log, and says what the file says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from audit.entry import opens, read_entry
from audit.kinds import KINDS, UNKNOWN
from audit.note import ED25519, Checkpoint, NoteError, Verifier, checkpoint_signed_by, read_base64
from audit.reading import Unreadable
from audit.told import Report
from audit.tree import included, leaf_hash

FORM: Final = "keychest-activity/1"
_MOST_BYTES: Final = 512 * 1024 * 1024
_MALFORMED = (KeyError, TypeError, AttributeError, ValueError, RecursionError)


@dataclass(slots=True)
class Opened:
    """The outcome, and each entry that holds in words."""

    report: Report = field(default_factory=Report)
    lines: list[str] = field(default_factory=list)
    closed: int = 0
    """Private fields that the file does not open."""


def read_activity(path: Path) -> dict[str, Any]:
    """The file. Raises Unreadable for one that is no download of an activity."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"{path} could not be read: {error.strerror}.") from None
    try:
        told = json.loads(raw) if len(raw) <= _MOST_BYTES else {}
    except (ValueError, RecursionError):
        told = {}
    if not isinstance(told, dict) or told.get("format") != FORM:
        raise Unreadable(f"{path} is no download of an activity: it does not say that it is {FORM}.")
    return told


def opened(told: dict[str, Any], keys: Sequence[Verifier]) -> Opened:
    """Every checkpoint and every entry of a file."""
    found = Opened()
    try:
        checkpoints = {origin: _checkpoint(origin, each, keys, found.report) for origin, each in told["logs"].items()}
        entries = list(told["entries"])
    except _MALFORMED as error:
        found.report.wrong(f"A checkpoint in the file does not hold: {error}")
        return found
    places = set()
    for number, each in enumerate(entries, 1):
        try:
            place = (each["log"], each["index"])
            if place in places or type(place[1]) is not int:
                raise ValueError("it stands there twice, or has no index")
            places.add(place)
            _entry(each, checkpoints[each["log"]], found)
        except _MALFORMED as error:
            told_why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            found.report.wrong(f"Entry {number:,} of the file does not hold: {told_why}.")
    signed = len(places)
    found.report.checked.append(f"{signed:,} {'entry is' if signed == 1 else 'entries are'} in the log that was signed, byte for byte.")
    if found.closed:
        found.report.notes.append(f"{found.closed:,} private fields are not in the file: erased meanwhile, or not for whom it was made.")
    if type(told.get("left_out")) is int and told["left_out"] > 0:
        found.report.notes.append(f"{told['left_out']:,} entries were left out when it was made: no published checkpoint proved them yet.")
    found.report.notes.append("That an entry is missing from the file cannot be seen from the file.")
    return found


def _checkpoint(origin: str, told: dict[str, Any], keys: Sequence[Verifier], report: Report) -> Checkpoint:
    """Raises NoteError, and what a malformed file raises."""
    named = [Verifier.read(each) for each in told["keys"]]
    given = [each for each in named if not keys or each.key in {key.key for key in keys}]
    if any(each.name != origin or each.kind != ED25519 for each in named):
        raise NoteError(f"a key there is not one of {origin}.")
    if not given:
        raise NoteError(f"the key that you gave is none of {origin}'s.")
    checkpoint, note = checkpoint_signed_by(told["checkpoint"].encode(), origin, named)
    if keys and not note.signed_by(given):
        raise NoteError(f"{origin}'s is signed by another key than yours. `python -m audit verify` tells whether yours handed over to it.")
    signer = note.signed_by(named)[0][0].vkey
    report.checked.append(f"The checkpoint of {origin}, of {checkpoint.size:,} entries, is signed by {signer}.")
    if not keys:
        report.notes.append(f"The key was trusted on first use, since you gave none: {signer}")
    return checkpoint


def _entry(told: dict[str, Any], checkpoint: Checkpoint, found: Opened) -> None:
    """Raises ValueError with what does not hold, and what a malformed file raises."""
    body, sealed = told["entry"].encode(), told["sealed"]
    said = read_entry(body)
    proof = [read_base64(each) for each in told["proof"]]
    if not included(leaf_hash(body), told["index"], checkpoint.size, proof, checkpoint.root):
        raise ValueError(f"its proof does not lead to the root of {checkpoint.origin}")
    wrong = opens(body, {name: [salt, value] for name, (salt, value) in sealed.items()})
    if wrong:
        raise ValueError(f"the log commits to another {', '.join(wrong)}")
    found.closed += len(said["c"].keys() - sealed.keys())
    shown = {**said["said"], **{name: value for name, (_, value) in sealed.items()}}
    fields = ", ".join(f"{name} {value}" for name, value in sorted(shown.items()) if name != "at")
    when = sealed["at"][1] if "at" in sealed else said["at"]
    found.lines.append(f"{when}  {KINDS.get(said['kind'], UNKNOWN).says} ({checkpoint.origin} {told['index']}: {said['kind']}; {fields})")
