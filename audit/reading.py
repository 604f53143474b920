"""Files of a log, for whoever checks it: from a folder, or from a web address. The standard library alone.

A file that is not there (`Missing`) is told apart from one that could not be read (`Unreadable`): the first is the log's fault, the second
may be anybody's. Bounded in bytes and time; no redirect is followed, and no link.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

MOST_BYTES: Final = 17 * 1024 * 1024
"""Of one file: a bundle of 256 entries, each as long as can be, is a little less."""
MOST_BYTES_AT_ALL: Final = 4 * 1024**3
MOST_S: Final = 3_600.0
ANSWER_S: Final = 20.0
_CHUNK = 65_536
_GONE = (404, 410)


class Missing(Exception):  # noqa: N818 - it is a finding
    """There is no such file."""


class Unreadable(Exception):  # noqa: N818 - as above
    """Whether there is such a file cannot be said. The message is a sentence."""


class Lying(NamedTuple):
    """What lies in a folder: "file", "folder", or "other" (a link, a pipe)."""

    path: str
    what: str


class Place(Protocol):
    """Where a log's files are."""

    def read(self, path: str) -> bytes:
        """A file's content. Raises Missing, Unreadable."""

    def listed(self) -> list[Lying] | None:
        """All that lies there; None where nobody can say. Raises Unreadable."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A copied folder."""

    root: Path

    def read(self, path: str) -> bytes:
        """A file's content; a link, a pipe or a folder in its place is no file. Raises Missing, Unreadable."""
        try:
            opened = os.open(self.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}:
                raise Missing(path) from None
            raise Unreadable(f"{self.root / path} could not be read: {error.strerror}.") from None
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise Missing(path)
        with os.fdopen(opened, "rb") as file:
            try:
                found = file.read(MOST_BYTES + 1)
            except OSError as error:
                raise Unreadable(f"{self.root / path} could not be read: {error.strerror}.") from None
        return _bounded(found, str(self.root / path))

    def listed(self) -> list[Lying]:
        """Everything under it, links not followed. Raises Unreadable."""
        return sorted(_walk(self.root, ""))


@dataclass(slots=True)
class Web:
    """A log at an http(s) address. One connection, asked file by file; nothing is sent but paths.

    `tls`: whose certificates are trusted, where it is not the system's choice. After `within_s` (MOST_S), counted from the beginning,
    nothing more is read, whatever the other side sends meanwhile.
    """

    address: str
    tls: ssl.SSLContext | None = None
    within_s: float | None = None
    read_bytes: int = 0
    _since: float = field(default_factory=time.monotonic)
    _line: http.client.HTTPConnection | None = None
    _end: threading.Timer | None = None

    def read(self, path: str) -> bytes:
        """A file's content. Raises Missing, Unreadable."""
        where = f"{self.address.rstrip('/')}/{path}"
        try:
            found = self._asked(where)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.hang_up()
            raise Unreadable(f"{where} could not be read: {str(error) or type(error).__name__}.") from None
        self.read_bytes += len(found)
        if self.read_bytes > MOST_BYTES_AT_ALL:
            raise Unreadable(f"More than {MOST_BYTES_AT_ALL:,} bytes were read from {self.address}. Copy the folder and check the copy.")
        return _bounded(found, where)

    def listed(self) -> None:
        """The web tells no list."""
        return

    def _asked(self, where: str) -> bytes:
        try:
            return self._answer(where)
        except (http.client.BadStatusLine, ConnectionError):
            self.hang_up()  # a connection that was kept may have been closed meanwhile: once more, on a fresh one
            return self._answer(where)

    def _answer(self, where: str) -> bytes:
        line = self._connected()
        line.request("GET", quote(urlsplit(where).path, safe="/%"), headers={"Accept-Encoding": "identity", "User-Agent": "keychest-audit"})
        answer = line.getresponse()
        found, promised = bytearray(), answer.length
        while len(found) <= MOST_BYTES and len(found) != promised and (some := answer.read1(_CHUNK)):
            found += some
            self._in_time()
        self._in_time()
        if len(found) == promised:
            answer.close()
        elif not answer.isclosed():
            self.hang_up()
        if answer.status in _GONE:
            raise Missing(where)
        if answer.status != http.client.OK:
            to = answer.headers.get("Location", "")
            told = f", which points to {to[:200]}. Redirects are not followed: give that address if you trust it" if to else ""
            raise Unreadable(f"{where} answered {answer.status}{told}.")
        if promised is not None and len(found) < min(promised, MOST_BYTES):
            raise Unreadable(f"{where} ended early.")
        return bytes(found)

    def _connected(self) -> http.client.HTTPConnection:
        left = self._in_time()
        if self._line is None or self._line.sock is None:
            self.hang_up()
            self._line = _connection(self.address, self.tls, min(ANSWER_S, left))
            self._line.connect()
            self._end = threading.Timer(self._in_time(), _cut, (self._line.sock,))
            self._end.daemon = True
            self._end.start()
        return self._line

    def _in_time(self) -> float:
        """How many seconds are left. Raises Unreadable."""
        most_s = MOST_S if self.within_s is None else self.within_s
        left = most_s - (time.monotonic() - self._since)
        if left <= 0:
            self.hang_up()
            raise Unreadable(f"Reading {self.address} takes longer than {most_s:,.0f} s. Copy the folder and check the copy.")
        return left

    def hang_up(self) -> None:
        """No connection is kept."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._line is not None:
            self._line.close()
            self._line = None


@contextmanager
def place_of(words: str, *, tls: ssl.SSLContext | None = None, within_s: float | None = None) -> Iterator[Place]:
    """The place that somebody named: a web address, read with this trust and for so long, or a folder. Raises Unreadable."""
    if words.startswith(("http://", "https://")):
        web = Web(words, tls, within_s)
        try:
            yield web
        finally:
            web.hang_up()
    elif Path(words).is_dir():
        yield Folder(Path(words))
    else:
        raise Unreadable(f"{words} is neither a folder nor a web address.")


def _cut(line: socket.socket) -> None:
    """Whoever reads from the line gets its end. Below TLS, which would ask the other side for a farewell."""
    with suppress(OSError):
        socket.socket.shutdown(line, socket.SHUT_RDWR)


def _connection(address: str, tls: ssl.SSLContext | None, within_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    if parts.hostname is None or parts.username is not None or parts.query or parts.fragment:
        raise ValueError("this is no address of a log, which is scheme, host and path")
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=within_s, context=tls or ssl.create_default_context())
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=within_s)


def _walk(root: Path, under: str) -> Iterator[Lying]:
    try:
        with os.scandir(root / under) as found:
            lying = list(found)
    except OSError as error:
        raise Unreadable(f"{root / under} could not be read: {error.strerror}.") from None
    for each in lying:
        path = f"{under}{each.name}"
        if each.is_symlink() or not (each.is_dir() or each.is_file()):
            yield Lying(path, "other")
        elif each.is_file():
            yield Lying(path, "file")
        else:
            yield Lying(path, "folder")
            yield from _walk(root, f"{path}/")


def _bounded(found: bytes, where: str) -> bytes:
    if len(found) > MOST_BYTES:
        raise Unreadable(f"{where} is longer than {MOST_BYTES:,} bytes, which no file of a log is.")
    return found
