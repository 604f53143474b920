"""Streams that a bundle is written through: lines put together into blocks, tables, and a sink that counts and digests."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from core.exports.tables import cell

_BLOCK: Final = 1 << 20


class _Given:
    """What `csv` writes to: it gives back what it was given."""

    def write(self, text: str) -> str:
        return text


_row = csv.writer(_Given(), lineterminator="\r\n").writerow


def table_line(row: Iterable[str]) -> str:
    """A line of a table as CSV (RFC 4180), whose cells no spreadsheet takes for a formula."""
    return f"{','.join([_quoted(each) if _SPECIAL(each) else each for each in map(cell, row)])}\r\n"


_SPECIAL: Final = re.compile('[,"\r\n]').search


def _quoted(text: str) -> str:
    """A cell that has to be. `csv` looks at each character of all others too, which takes longer than all else that is done with a row."""
    line: Any = _row((text,))  # it gives back what `write` does (documentation of csv.writer)
    return str(line)[:-2]


def once(lines: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Each line once, of lines in order, each behind what it is sorted by."""
    before = ""
    for each in lines:
        line = each[-1]
        if line != before:
            yield line
            before = line


def blocks(texts: Iterable[str]) -> Iterator[bytes]:
    """Texts put together, about a MiB at a time."""
    held, size = [], 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield "".join(held).encode()
            held, size = [], 0
    if held:
        yield "".join(held).encode()


class Aside:
    """Text that is written now and read once later: a file without a name, which is gone when it is closed, whoever dies meanwhile."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`, which contextlib.closing calls
        self._held: list[str] = []
        self._size = 0
        self.count = 0

    def add(self, text: str) -> None:
        """Put it behind what is there."""
        self._held.append(text)
        self._size += len(text)
        self.count += 1
        if self._size >= _BLOCK:
            self._put()

    def blocks(self) -> Iterator[bytes]:
        """All of it, a MiB at a time."""
        self._put()
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            yield block

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    def _put(self) -> None:
        self._file.write("".join(self._held).encode())
        self._held.clear()
        self._size = 0


class Counted(io.RawIOBase):
    """Counts and digests what goes through; it cannot go back."""

    def __init__(self, into: IO[bytes]) -> None:
        super().__init__()
        self._into = into
        self.bytes = 0
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, block: Any) -> int:
        """All of it."""
        self.digest.update(block)
        self._into.write(block)
        self.bytes += len(block)
        return len(block)
