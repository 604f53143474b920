"""Logs as KeyChest publishes them, made from the pure modules with keys of their own, in memory or as a folder; and places to read them."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.entry import Value, canonical, make_entry
from audit.kinds import ROTATED, ROTATION, STARTED
from audit.note import Checkpoint, Note, Signature, cosign, public_of, sign
from audit.reading import Lying, Missing
from audit.tiles import ENTRIES, Tile, bundle, tiles_of
from audit.tree import HashOf, hashes_of, leaf_hash, subtree

ORIGIN: Final = "keychest.example/log"
NOW: Final = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
KEY, NEXT_KEY, WITNESS_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([each]) * 32) for each in (7, 8, 9))
WITNESS: Final = "witness.example/w1"
Files = dict[str, bytes]
_NEWEST: dict[str, Any] = {}
_leaf = functools.cache(leaf_hash)


class Lies(Files):
    """A place in memory; `others` lie there beside the files."""

    def __init__(self, files: Mapping[str, bytes] = {}, others: Sequence[Lying] = ()) -> None:
        super().__init__(files)
        self.others = others

    def read(self, path: str) -> bytes:
        if path not in self:
            raise Missing(path)
        return self[path]

    def listed(self) -> list[Lying]:
        folders = {path[:at] for path in self for at, char in enumerate(path) if char == "/"}
        return [*self.others, *(Lying(each, "file") for each in self), *(Lying(each, "folder") for each in folders)]


class Served(Lies):
    """The same at a web address: there is no list."""

    def listed(self) -> None:  # type: ignore[override]
        return


def entry(
    kind: str,
    number: int = 0,
    *,
    at: datetime = NOW,
    late: timedelta = timedelta(),
    back_s: int = 0,
    public: Mapping[str, Value] = {"added": 1, "restored": 0},
) -> bytes:
    """An entry; `number` makes its salts another one's."""
    salts = iter(range(99))
    made = make_entry(
        kind,
        at=at - late,
        logged=at,
        actor="user:zyxwvutsrqpnmkjh",
        account="abcdefghjkmnpqrs",
        public=public,
        private={"names": f"canary-{number}.example.org"},
        back_s=back_s,
        salt=lambda: hashlib.sha256(f"{number} {next(salts)}".encode()).digest(),
    )
    return made.body


def started(key: Ed25519PrivateKey = KEY, origin: str = ORIGIN, **said: Value) -> bytes:
    """Entry 0."""
    return entry(STARTED, public={"origin": origin, "vkey": public_of(key, origin).vkey, **said})


def after(files: Files, *, origin: str = ORIGIN, number: int = 2, key: Ed25519PrivateKey = KEY, **other: Value) -> bytes:
    """Entry 0 of a log that goes on after the one in these files."""
    before = Checkpoint.read(Note.read(files["checkpoint"]).text)
    said: dict[str, Value] = {
        "previous_origin": before.origin,
        "previous_size": before.size,
        "previous_root": base64.b64encode(before.root).decode(),
        "previous_kept": before.size - 10,
        "reason": "a backup was restored",
    }
    return started(key, f"{origin}/{number}", **(said | other))


def rotated(old: Ed25519PrivateKey, new: Ed25519PrivateKey, /, index: int = 0, origin: str = ORIGIN, **other: Value) -> bytes:
    """The entry by which a key hands over, after so many others."""
    text = ROTATION.format(origin, public_of(old, origin).vkey, public_of(new, origin).vkey).encode()
    said: dict[str, Value] = {"origin": origin, "old": public_of(old, origin).vkey, "new": public_of(new, origin).vkey}
    said |= {f"by_{name}": base64.b64encode(key.sign(text)).decode() for name, key in (("old", old), ("new", new))}
    return entry(ROTATED, at=NOW + timedelta(seconds=30 * index), public=said | {name.rstrip("_"): value for name, value in other.items()})


def bodies(count: int, *, key: Ed25519PrivateKey = KEY, origin: str = ORIGIN) -> list[bytes]:
    """So many entries, two of them a minute."""
    return [started(key, origin), *_events(count)]


@functools.cache
def _events(count: int) -> tuple[bytes, ...]:
    return tuple(entry("domains.added.v1", each, at=NOW + timedelta(seconds=30 * each)) for each in range(1, count))


def checkpoint_of(
    entries: Sequence[bytes],
    key: Ed25519PrivateKey | None = KEY,
    origin: str = ORIGIN,
    *,
    witnesses: Mapping[str, Ed25519PrivateKey] = {},
    signatures: Iterable[Signature] = (),
) -> bytes:
    """The checkpoint over these entries; signed by the key, else with these signatures, whatever they are."""
    text = Checkpoint(origin, len(entries), subtree(_hash_of(entries), 0, len(entries))).text
    own = [sign(text, origin, key)] if key else list(signatures)
    return Note(text, (*own, *(cosign(text, name, each, 1_790_000_000) for name, each in witnesses.items()))).raw


def tiles(entries: Sequence[bytes], *, begin: int = 0) -> Files:
    """Every tile and bundle of a log, beyond those of `begin` entries."""
    hash_of = _hash_of(entries)
    found = {}
    for tile in tiles_of(len(entries), begin):
        first, end = tile.number * 256, tile.number * 256 + tile.width
        if tile.kind == ENTRIES:
            found[tile.path] = bundle(entries[first:end])
        else:
            found[tile.path] = b"".join(hash_of(8 * int(tile.kind), each) for each in range(first, end))
    return found


def log_of(entries: Sequence[bytes], key: Ed25519PrivateKey = KEY, origin: str = ORIGIN, *, before: int = 0) -> Lies:
    """A whole log; published once before, with so many entries, if that is said."""
    older = tiles(entries[:before])
    older = {path: raw for path, raw in older.items() if ".p/" not in path or not _full(path, len(entries))}
    return Lies(older | tiles(entries) | {"checkpoint": checkpoint_of(entries, key, origin)})


def put(files: Mapping[str, bytes], folder: Path) -> Path:
    """The same as a folder."""
    for path, raw in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(raw)
    return folder


def changed(body: bytes, **fields: Any) -> bytes:
    """An entry with other fields, as canonical as it was."""
    return canonical(json.loads(body) | fields)


def _hash_of(entries: Sequence[bytes]) -> HashOf:
    """The newest one is kept: a log's tiles and its checkpoint are of the same entries."""
    if _NEWEST.get("of") is not entries:
        _NEWEST.update({"of": entries, "is": hashes_of([_leaf(each) for each in entries])})
    found: HashOf = _NEWEST["is"]
    return found


def _full(path: str, size: int) -> bool:
    tile = Tile.read(path)
    return tile is not None and tile.kind in {ENTRIES, "0"} and (tile.number + 1) * 256 <= size
