"""Logs for witnesses to look at, and witnesses as real processes on loopback.

log = make_log("log.example/one", 300)
log.request(old=5, size=7)          # a body for add-checkpoint
log.publish(folder, 300)            # the files of a log
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import Checkpoint, Note, public_of, sign
from audit.tiles import WIDTH, tiles_of
from audit.tree import HashOf, consistency_proof, hashes_of, leaf_hash, subtree
from audit.witness import Request, Witness, known_logs
from audit.witness_files import Memory, make_key, read_key
from tests.conftest import ROOT

ORIGIN = "log.example/one"
WITNESS = "witness.example/w1"


@dataclass(frozen=True)
class MadeLog:
    """A log in memory."""

    origin: str
    key: Ed25519PrivateKey
    hash_of: HashOf

    @property
    def vkey(self) -> str:
        return public_of(self.key, self.origin).vkey

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(self.origin, size, subtree(self.hash_of, 0, size))

    def note(self, size: int, keys: Sequence[Ed25519PrivateKey] = ()) -> Note:
        text = self.checkpoint(size).text
        return Note(text, tuple(sign(text, self.origin, key) for key in keys or (self.key,)))

    def proof(self, old: int, size: int) -> list[bytes]:
        return consistency_proof(self.hash_of, old, size) if old else []

    def request(self, old: int, size: int, keys: Sequence[Ed25519PrivateKey] = ()) -> bytes:
        return Request(old, tuple(self.proof(old, size)), self.note(size, keys), self.checkpoint(size)).raw

    def publish(self, folder: Path, size: int) -> None:
        for tile in tiles_of(size):
            if tile.kind.isdecimal():
                path = folder / tile.path
                path.parent.mkdir(parents=True, exist_ok=True)
                first, level = tile.number * WIDTH, 8 * int(tile.kind)
                path.write_bytes(b"".join(self.hash_of(level, each) for each in range(first, first + tile.width)))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint").write_bytes(self.note(size).raw)


def make_log(origin: str = ORIGIN, entries: int = 40, *, fork_at: int | None = None, key: bytes = bytes(32)) -> MadeLog:
    """A log of these many entries; one that is forked at an entry has other ones from there on, and the same key."""
    bodies = [f"{'other' if fork_at is not None and each >= fork_at else 'entry'} {each}".encode() for each in range(entries)]
    return MadeLog(origin, Ed25519PrivateKey.from_private_bytes(key), hashes_of([leaf_hash(body) for body in bodies]))


def make_witness(folder: Path, *logs: str, name: str = WITNESS) -> Witness:
    """A witness of these logs' keys, that has seen nothing; or the one whose files lie in the folder."""
    if not (folder / "key").exists():
        make_key(folder / "key", name)
    found = Witness(*read_key(folder / "key"), known_logs(logs), Memory(folder / "state"))
    found.memory.begin()
    return found


@contextmanager
def witness_process(folder: Path, *logs: str) -> Iterator[str]:
    """`./keychest witness serve` on the files in the folder, as a process of its own; its address."""
    words = ["--key", str(folder / "key"), "--state", str(folder / "state"), "--listen", "127.0.0.1:0"]
    given = [word for vkey in logs for word in ("--log", vkey)]
    started = subprocess.Popen(
        [sys.executable, "-m", "cli", "witness", "serve", *words, *given],
        cwd=ROOT,
        env=dict(os.environ) | {"PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    try:
        line = next((line for line in started.stderr if " listens on " in line), "")
        assert line, "the witness did not start"
        yield line.partition(" listens on ")[2].partition(". Its key")[0]
    finally:
        started.terminate()
        assert started.wait(10) == 0
        (folder / "said").write_text(started.stderr.read())
        started.stderr.close()
