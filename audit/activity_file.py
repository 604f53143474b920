"""An account's activity as a file that proves itself: entries, what opens their commitments, and the way of each to a signed tree head.

`python -m audit open FILE` checks it, and needs nothing else. docs/verify-the-log.md says how it is read.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from audit.asked import Told
from audit.published import PublishedLog
from audit.tiles import TileError
from audit.tree import HashOf, included, inclusion_proof, leaf_hash

FORM: Final = "keychest-activity/1"
MOST: Final = 5_000
"""So many entries, the newest, are in one file."""
KeysOf = Callable[[int], Sequence[str]]
"""Every key that a log signed with, by its number."""


@dataclass(slots=True)
class _Kept:
    """Hashes of one log that were asked for once: proofs of neighbours share nearly all of theirs."""

    hash_of: HashOf
    _known: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def __call__(self, level: int, index: int) -> bytes:
        """As `audit.tree.HashOf`."""
        if (level, index) not in self._known:
            self._known[level, index] = self.hash_of(level, index)
        return self._known[level, index]


def activity_file(told: Iterable[Told], logs: Sequence[PublishedLog], keys_of: KeysOf) -> dict[str, Any]:
    """The file's content. An entry that no published tree head proves is left out, and counted as `left_out`."""
    known = {log.number: (log, _Kept(log.hashes())) for log in logs}
    entries, numbers, left_out = [], set(), 0
    for each in told:
        proof = _proof(each, *known[each.log]) if each.log in known else None
        if proof is None:
            left_out += 1
            continue
        numbers.add(each.log)
        shown = {"log": known[each.log][0].checkpoint.origin, "index": each.index, "entry": each.body.decode()}
        entries.append(shown | {"proof": [base64.b64encode(hash_).decode() for hash_ in proof], "sealed": each.sealed})
    told_of = {
        log.checkpoint.origin: {"checkpoint": log.note.raw.decode(), "keys": list(keys_of(log.number))}
        for log in logs
        if log.number in numbers
    }
    return {"format": FORM, "logs": told_of, "entries": entries, "left_out": left_out}


def _proof(told: Told, log: PublishedLog, hash_of: HashOf) -> list[bytes] | None:
    """The proof; None where the entry is not published, a file is missing, or what the database holds is not what was signed."""
    if told.index >= log.checkpoint.size:
        return None
    try:
        proof = inclusion_proof(hash_of, told.index, log.checkpoint.size)
    except (OSError, TileError):
        return None
    holds = included(leaf_hash(told.body), told.index, log.checkpoint.size, proof, log.checkpoint.root)
    return proof if holds else None
