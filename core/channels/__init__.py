"""Ways to tell people: mail first; each later one is a file here, a line in `CHANNELS`, and the shared tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

Hand = Callable[[], bool]
"""Called just before content leaves us; False means that somebody else has the message in hand and nothing may be sent."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One thing to tell: `kind` is expiring, ended, bad or well; `at` are the names that it concerns, like "www.example.org:8443".

    `how`: how the name is reached where that is not plainly TLS at all its addresses, like "smtp at 192.0.2.1".
    """

    kind: str
    name: str
    port: int
    how: str
    message: str
    fix: str
    url: str
    at: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """What one person is told: one topic, or several that fell due at once. `ref` stays the same however often it is tried."""

    ref: str
    recipient: str
    account: str
    topics: Sequence[Topic]
    portal_url: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that is composed already: plain text, and HTML where there is any. `ref` as in Message."""

    ref: str
    recipient: str
    subject: str
    text: str
    portal_url: str
    written_at: datetime
    html: str = ""
    leave: str = ""
    """An address by which who gets it leaves with one click (RFC 8058), "" where there is nothing to leave."""
    file: tuple[str, bytes] | None = None
    """What is attached: its name and content."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message.

    `outcome` is "sent"; "kept" (no server is set, it lies in the outbox folder); "failed" (may be tried again); "unsure" (must not be
    tried again by itself); "elsewhere" (not ours to send any more); or "gone" (the person left: nobody is to be told).
    """

    outcome: str
    error: str = ""
    subject: str = ""
    body: str = field(default="")


class Channel(Protocol):
    """A way to tell people. `deliver` never raises for a server's sake: what went wrong is a Delivery."""

    def deliver(self, message: Message, hand: Hand) -> Delivery:
        """Tell it, calling `hand` once, just before the content leaves."""
        ...
