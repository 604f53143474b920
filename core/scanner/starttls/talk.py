"""What goes to and fro before TLS: lines and counted bytes, bounded, and the one way to give up."""

from __future__ import annotations

from typing import Final

from core.net.dial import Stream
from core.scanner.facts import FailureKind

MOST_LINE_BYTES: Final = 4096
MOST_LINES: Final = 200
MOST_BYTES: Final = 64 * 1024
"""All that a server may say before TLS. Long lists of capabilities have some hundred lines at most."""


class NotUpgraded(Exception):  # noqa: N818 - reads as what happened
    """There will be no TLS on this connection."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


def not_spoken(protocol: str) -> NotUpgraded:
    """What answers is something else."""
    return NotUpgraded(FailureKind.NOT_TLS, f"The server does not speak {protocol} on this port.")


def not_offered(protocol: str) -> NotUpgraded:
    """It says by itself that it has no TLS."""
    return NotUpgraded(FailureKind.NO_UPGRADE, f"The server speaks {protocol} and does not offer STARTTLS.")


def refused(protocol: str, code: str = "") -> NotUpgraded:
    """It was asked, and said no. `code`: digits or a word of the protocol's own, checked by the caller."""
    return NotUpgraded(FailureKind.NO_UPGRADE, f"The server speaks {protocol} and refused STARTTLS{f' ({code})' if code else ''}.")


def sent_away(protocol: str, code: str = "") -> NotUpgraded:
    """It greets with a refusal: it is busy, or wants nobody from here."""
    return NotUpgraded(FailureKind.NO_UPGRADE, f"The server speaks {protocol} and sent us away at once{f' ({code})' if code else ''}.")


class Talk:
    """A stream that is read by lines or by counted bytes. Raises NotUpgraded at its end and beyond its bounds."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._unread = b""
        self._lines = 0

    @property
    def early(self) -> bool:
        """Whether more has arrived than was read."""
        return bool(self._unread)

    async def say(self, words: bytes) -> None:
        """Send all of it."""
        await self._stream.write(words)

    async def line(self) -> str:
        """The next line without its end, each byte one character."""
        self._lines += 1
        if self._lines > MOST_LINES:
            raise _too_much()
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > MOST_LINE_BYTES:
                raise _too_much()
            await self._more()
        line, self._unread = self._unread[:end], self._unread[end + 1 :]
        if len(line) > MOST_LINE_BYTES:
            raise _too_much()
        return line.removesuffix(b"\r").decode("latin-1")

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > MOST_BYTES:
            raise _too_much()
        while len(self._unread) < count:
            await self._more()
        some, self._unread = self._unread[:count], self._unread[count:]
        return some

    async def until(self, *ends: bytes) -> bytes:
        """What comes up to and with the first of these that appears."""
        while True:
            found = [(at, end) for end in ends if (at := self._unread.find(end)) >= 0]
            if found:
                at, end = min(found)
                some, self._unread = self._unread[: at + len(end)], self._unread[at + len(end) :]
                return some
            await self._more()

    async def _more(self) -> None:
        if self._stream.received_bytes > MOST_BYTES:
            raise _too_much()
        part = await self._stream.read()
        if not part:
            raise NotUpgraded(FailureKind.RESET, "The server closed the connection before TLS began.")
        self._unread += part


def _too_much() -> NotUpgraded:
    return NotUpgraded(
        FailureKind.PROTOCOL_ERROR, f"The server said more before TLS than we read ({MOST_BYTES // 1024} KB in short lines)."
    )
