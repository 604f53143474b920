"""What every target promises, and the one error it raises. A target knows names and bytes, and nothing of what they mean."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final, Literal, Protocol

Kind = Literal["unreachable", "refused", "full", "missing", "damaged", "exists", "cut"]

_AGAIN: Final = frozenset({"unreachable", "cut", "damaged"})
_PART: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_PARTIAL: Final = re.compile(r"\.[A-Za-z0-9_-][A-Za-z0-9._-]*\.[0-9a-f]{16}\.partial")
# A part leaves room for the partial's dot, random word and ending within the 255 octets of a file name; a name fits an S3 key of 1,024.
_PART_MOST: Final = 200
_NAME_MOST: Final = 800

BLOCK: Final = 256 * 1024
"""Octets read and written at a time."""


class TargetError(Exception):
    """A target did not do what was asked. The message says what happened, what was kept and what to do; it never holds a secret.

    `kind`: unreachable (no answer); refused (credentials or permission); full (no space, or over a quota); missing (no such name);
    damaged (what is read back differs from what was put); exists (the name is taken by other content); cut (ended on the way).
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Final = kind

    @property
    def again(self) -> bool:
        """Whether the same call may go well a little later, with nobody doing anything about it."""
        return self.kind in _AGAIN


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as it lies in the target: its size in octets, and its SHA-256 in hexadecimal, computed from what was read from there."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole file in a target."""

    name: str
    bytes: int


class Target(Protocol):
    """A place for files. All methods raise TargetError, and ValueError for a name that no target takes."""

    @property
    def shown(self) -> str:
        """The address without its secrets, for people."""
        ...

    def put(self, name: str, content: BinaryIO) -> Stored:
        """Store `content` under `name`, whole or not at all, and read it back before it counts.

        A name that holds the same content already is left as it is; one that holds other content is never overwritten ("exists").
        It needs no permission to delete: what is left of an upload that ended stays hidden. An error of `content` itself is raised as
        it is. Memory does not grow with the content.
        """
        ...

    def get(self, name: str, into: BinaryIO) -> Stored:
        """Write the file into `into`. When this raises, `into` may hold a part of it."""
        ...

    def names(self, under: str = "") -> list[Entry]:
        """The whole files whose names begin with `under`, like "backups/", sorted by name."""
        ...

    def remove(self, name: str) -> None:
        """Remove the file for retention's sake; a missing one is fine."""
        ...

    def sweep(self, before: datetime) -> int:
        """Remove what uploads left hidden that were last written to before this time, by the target's clock; how many there were."""
        ...


def checked(name: str) -> str:
    """`name`, when every target can bear it: parts of letters, digits, ".", "_" and "-" joined by "/". Raises ValueError."""
    parts = name.split("/")
    if len(name) > _NAME_MOST or not all(len(part) <= _PART_MOST and _PART.fullmatch(part) for part in parts):
        raise ValueError(
            f'{name!r} is no name for a file in a target. A right one looks like "backups/2026-01-31.age": parts of letters, digits, '
            f'".", "_" and "-", none of them empty, beginning with a dot or over {_PART_MOST} characters.'
        )
    return name


def is_name(name: str) -> bool:
    """Whether something found in a target can be one of our files; partials and what others keep there are not."""
    try:
        checked(name)
    except ValueError:
        return False
    return True


def checked_prefix(under: str) -> str:
    """`under`, when it is "" or the beginning of a name. Raises ValueError."""
    if under:
        checked(under.removesuffix("/"))
    return under


def partial_of(leaf: str) -> str:
    """A hidden name of one upload's own for the last part of a name."""
    return f".{leaf}.{secrets.token_hex(8)}.partial"


def is_partial(leaf: str) -> bool:
    """Whether the last part of a path is one that `partial_of` made."""
    return bool(_PARTIAL.fullmatch(leaf))


class Source:
    """What is put, measured as it is read. `broken`: its own read raised, so that no error on the way is the target's."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.broken = False

    def block(self, size: int = BLOCK) -> bytes:
        """The next `size` octets; fewer only at the end, where there are none."""
        try:
            block = self._content.read(size)
            if block and len(block) < size:  # a pipe gives what it has
                block = self._filled(block, size)
        except BaseException:
            self.broken = True
            raise
        self._digest.update(block)
        self.bytes += len(block)
        return block

    def _filled(self, begun: bytes, size: int) -> bytes:
        whole = bytearray(begun)
        while len(whole) < size and (more := self._content.read(size - len(whole))):
            whole += more
        return bytes(whole)

    def drain(self) -> None:
        """Read to the end, for the measure alone."""
        while self.block():
            continue

    def stored(self, name: str) -> Stored:
        """The measure of what was read so far."""
        return Stored(name, self.bytes, self._digest.hexdigest())


class Sink:
    """Where a file is read to, measured as it is written; without `into` only measured. `broken` as in Source."""

    def __init__(self, into: BinaryIO | None = None) -> None:
        self._into = into
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.broken = False

    def write(self, block: bytes) -> None:
        """Take the next octets."""
        self._digest.update(block)
        self.bytes += len(block)
        if self._into is None:
            return
        try:
            self._into.write(block)
        except BaseException:
            self.broken = True
            raise

    def stored(self, name: str) -> Stored:
        """The measure of what was written so far."""
        return Stored(name, self.bytes, self._digest.hexdigest())


def compared(shown: str, put: Stored, found: Stored) -> Stored:
    """`found`, when the name already holds what was to be put. Raises TargetError "exists"."""
    if put != found:
        raise TargetError(
            "exists",
            f"{shown} already holds other content under {put.name}: {found.bytes:,} bytes, where {put.bytes:,} were to be put. It was left "
            "as it is, and nothing was stored. Use another name, and look at what lies under this one.",
        )
    return found
