"""What was found, in plain words for a terminal. Text from a log is shown with whatever could steer a terminal made visible."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from audit.entry import read_entry
from audit.kinds import KINDS, UNKNOWN
from audit.tiles import TileHashes, entry_at
from audit.tree import inclusion_proof, leaf_hash, node_hash
from audit.vouched import Log

HOLDS, WRONG, UNREADABLE = 0, 1, 2
_BY: Final[Mapping[str, str]] = {
    "person": "a person",
    "terminal": "somebody at the machine's terminal",
    "worker": "the installation by itself",
    "log": "the log itself",
    "nobody": "nobody who was signed in",
}


def printable(text: str) -> str:
    """Without anything that a terminal would act on."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def listed(title: str, sentences: Sequence[str]) -> Iterator[str]:
    """A heading and its sentences; nothing for none."""
    if sentences:
        yield ""
        yield title
        yield from (f"  - {each}" for each in sentences)


def entry_told(body: bytes) -> Iterator[str]:
    """What an entry says."""
    told = read_entry(body)
    yield KINDS.get(told["kind"], UNKNOWN).says
    yield f"  kind     {told['kind']}"
    yield f"  happened {told['at']}, to the minute; logged {told['logged']}"
    yield f"  by       {_BY.get(told['by'], told['by'])}"
    yield from (f"  {name:<8} {_value(value)}" for name, value in sorted(told["said"].items()))
    if "back_s" in told:
        yield f"  clock    set back by {told['back_s']} s just before"
    if told["c"]:
        yield f"  hidden   {', '.join(sorted(told['c']))}: committed to, and readable by who has salt and value"


def proof_told(log: Log, index: int) -> Iterator[str]:
    """An entry, the hash of its bytes, and its way up to the root that was signed. Raises what reading raises."""
    size = log.checkpoint.size
    fetch = log.leaves.shelf.by_path
    body = entry_at(fetch, index, size)
    proof = inclusion_proof(TileHashes(fetch, size), index, size)
    yield f"Entry {index:,} of {log.origin}"
    yield from entry_told(body)
    yield f"  bytes    {len(body):,}, SHA-256 {hashlib.sha256(body).hexdigest()}"
    yield ""
    yield body.decode()
    yield ""
    found = leaf_hash(body)
    yield f"Its way up the tree, {len(proof)} steps"
    yield f"  leaf  SHA-256(00 || bytes)    = {found.hex()}"
    for right, each in zip(sides(index, size), proof, strict=True):
        found = node_hash(found, each) if right else node_hash(each, found)
        yield f"  with {each.hex()} on the {'right' if right else 'left'}"
        yield f"                                = {found.hex()}"
    same = "the root that the checkpoint signs" if found == log.checkpoint.root else "NOT the root that the checkpoint signs"
    yield f"  which is {same}: {base64.b64encode(log.checkpoint.root).decode()}"
    yield ""
    yield (
        f"This proves that these very bytes stand at place {index:,} of the {size:,} that were signed: nobody can change, move or "
        "remove them without another root. It does not prove that what they tell is true."
    )


def sides(index: int, size: int) -> list[bool]:
    """For each step of a proof whether the other hash stands on the right. RFC 9162, section 2.1.3.2."""
    found, last = [], size - 1
    while last:
        if index & 1 or index == last:
            found.append(False)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            found.append(True)
        index, last = index >> 1, last >> 1
    return found


def _value(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower()
