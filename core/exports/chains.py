"""The chains and certificates that an export has written of: kept in a file beside, since there may be as many as observations."""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Self

_AT_ONCE: Final = 2_000
_REMEMBERED: Final = 16 << 20
"""So many characters of chains are remembered with their names, which takes some 50 MB: the same chain comes again and again."""
_TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -8192;
CREATE TABLE chains (name BLOB PRIMARY KEY, certificates BLOB NOT NULL, named INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE certificates (sha256 BLOB PRIMARY KEY) WITHOUT ROWID;
BEGIN;
"""
_DIGEST: Final = 32


class Chains(AbstractContextManager["Chains"]):
    """Every chain that was written of, once, and every certificate in one, in a file of SQLite's own that is gone when this is left.

    Leaving it raises OSError where the file could not be written.
    """

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.executescript(_TABLES)
        self.names: dict[str, str] = {}
        """What `add` said lately."""
        self._remembered = 0
        self._new: list[tuple[bytes, bytes, int]] = []
        self._called: set[tuple[bytes]] = set()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if isinstance(error, sqlite3.Error):
            raise OSError(errno.EIO, f"what is put aside meanwhile cannot be kept ({error})") from error

    def __enter__(self) -> Self:
        return self

    def add(self, served: str) -> str:
        """The name of a chain, as JSON, given its digests as JSON; "null" where there is none."""
        known = self.names.get(served)
        if known is None:
            known = self.names[served] = self._keep(",".join(json.loads(served)), named=1)
            self._remembered += len(served)
            if self._remembered > _REMEMBERED:
                self.names.clear()
                self._remembered = 0
        return known

    def bring(self, joined: str) -> None:
        """Keep a chain ready that an imported line may name; it counts from then on."""
        self._keep(joined, named=0)

    def name(self, chain: str | None) -> None:
        """Count a chain that an imported line names, where it was brought."""
        if chain is not None:
            self._called.add((bytes.fromhex(chain),))
            if len(self._called) >= _AT_ONCE:
                self._flush()

    def lines(self) -> Iterator[str]:
        """Lines of `chains.jsonl`."""
        self._flush()
        rows = self._file.execute("SELECT name, certificates FROM chains WHERE named ORDER BY name")
        while some := rows.fetchmany(_AT_ONCE):
            digests = [_digests(raw) for _, raw in some]
            found = {(each,) for chain in digests for each in chain}
            self._file.executemany("INSERT INTO certificates VALUES (?) ON CONFLICT DO NOTHING", sorted(found))
            for (name, _), chain in zip(some, digests, strict=True):
                certificates = '","'.join(each.hex() for each in chain)
                yield f'{{"certificates":["{certificates}"],"chain":"{name.hex()}"}}'

    def certificates(self) -> Iterator[str]:
        """The digests of all certificates in the chains whose lines were given, sorted."""
        return (sha256.hex() for (sha256,) in self._file.execute("SELECT sha256 FROM certificates ORDER BY sha256"))

    def _keep(self, joined: str, *, named: int) -> str:
        if not joined:
            return "null"
        name = hashlib.sha256(joined.encode()).digest()
        self._new.append((name, bytes.fromhex(joined.replace(",", "")), named))
        if len(self._new) >= _AT_ONCE:
            self._flush()
        return f'"{name.hex()}"'

    def _flush(self) -> None:
        kept = "INSERT INTO chains VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET named = max(named, excluded.named)"
        self._file.executemany(kept, sorted(self._new))
        self._new.clear()
        self._file.executemany("UPDATE chains SET named = 1 WHERE name = ?", sorted(self._called))
        self._called.clear()


def _digests(raw: bytes) -> list[bytes]:
    return [raw[at : at + _DIGEST] for at in range(0, len(raw), _DIGEST)]
