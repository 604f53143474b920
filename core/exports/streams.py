"""Streams that a bundle is written through: lines put together into blocks, tables, and a sink that counts and digests."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from core.exports.tables import cell

_BLOCK: Final = 1 << 18


def table_lines(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table as CSV (RFC 4180), whose cells no spreadsheet takes for a formula."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(each) for each in row])
        yield written.getvalue()
        written.seek(0)
        written.truncate()
    yield written.getvalue()


def once(lines: Iterable[tuple[tuple[Any, ...], str]]) -> Iterator[str]:
    """Each line once, of lines in order."""
    before = ""
    for _, line in lines:
        if line != before:
            yield line
            before = line


def blocks(texts: Iterable[str]) -> Iterator[bytes]:
    """Texts put together, some hundred KiB at a time."""
    held, size = [], 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield "".join(held).encode()
            held, size = [], 0
    if held:
        yield "".join(held).encode()


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
