"""Sealing: a stream is compressed and encrypted to recipients, and comes back as it was or not at all.

The format is age's (age-encryption.org/v1: X25519 to each recipient, ChaCha20-Poly1305 over pieces of 64 KiB), and gzip inside of it
(RFC 1952). So whoever has a key and the `age` program opens it without KeyChest: `age --decrypt -i KEY FILE | gunzip`.
Memory stays flat however long the stream is. What is sealed tells nothing of who sealed it: anybody can who has a recipient.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal, NewType

import pyrage
from pyrage import x25519

Recipient = NewType("Recipient", str)
"""The public half of a key, "age1…": what is sealed to it opens with its identity."""
Identity = NewType("Identity", str)
"""The private half of a key, "AGE-SECRET-KEY-1…"."""
Trouble = Literal["wrong key", "damaged", "truncated"]

_PIECE: Final = 1 << 16
_MOST_AT_ONCE: Final = 1 << 20
"""How much is decompressed at once: 64 KiB of zeros may stand for 64 MiB."""
_GZIP: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 31
"""zlib's way of saying: with a gzip header and trailer, CRC-32 and length included."""
_FAST, _STORED = 1, 0
_EXAMPLE: Final = "age1 and 58 letters and digits, as ./keychest backup keygen prints it"
_CUT: Final = ("Incomplete header", "failed to fill whole buffer", "age file is truncated")
_SENTENCES: Final[dict[Trouble, str]] = {
    "wrong key": "None of the keys given opens it: it was sealed to others, or its first lines are damaged.",
    "damaged": "It is damaged: what it holds is not what was sealed.",
    "truncated": "It is cut short: its end is missing.",
}


class SealError(Exception):
    """What was sealed cannot be opened. `trouble` names why; the message is a sentence about "it".

    Damage in the first lines, where the recipients stand, may look like a wrong key.
    """

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(_SENTENCES[trouble])
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was written, and what was read for it. `bytes` and `sha256` are of the sealed stream."""

    bytes: int
    sha256: str
    plain_bytes: int
    plain_sha256: str


@dataclass(frozen=True, slots=True)
class Unsealed:
    """What was written when a stream was opened."""

    plain_bytes: int
    plain_sha256: str


def make_identity() -> Identity:
    """A fresh key."""
    return Identity(str(x25519.Identity.generate()))


def recipient_of(identity: Identity) -> Recipient:
    """The public half of a key."""
    return Recipient(str(x25519.Identity.from_str(identity).to_public()))


def read_recipient(text: str) -> Recipient:
    """A recipient as somebody wrote it. Raises ValueError, never with the text in it: it may be the private half."""
    written = text.strip()
    if written.upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError(f"this is the private half of a key, which nobody should see; write the public half, {_EXAMPLE}")
    try:
        return Recipient(str(x25519.Recipient.from_str(written)))
    except pyrage.RecipientError:
        raise ValueError(f"write the public half of a key, {_EXAMPLE}") from None


def read_identity(text: str) -> Identity:
    """An identity as somebody wrote it. Raises ValueError, never with the text in it."""
    written = text.strip()
    if written.startswith("age1"):
        raise ValueError("this is the public half of a key, which opens nothing; the private half begins with AGE-SECRET-KEY-1")
    try:
        return Identity(str(x25519.Identity.from_str(written)))
    except pyrage.IdentityError:
        raise ValueError("write the private half of a key, which begins with AGE-SECRET-KEY-1") from None


def fingerprint(what: bytes | str) -> str:
    """The first 16 hex digits of the SHA-256, for people to compare. Never of a secret that could be guessed."""
    return hashlib.sha256(what.encode() if isinstance(what, str) else what).hexdigest()[:16]


def seal(plain: BinaryIO, into: BinaryIO, recipients: Sequence[Recipient], *, compress: bool = True) -> Sealed:
    """Seal all of `plain`, so that each of the recipients can open it alone. Errors of the two streams come through as they are."""
    if not recipients:
        raise ValueError("nobody could open what is sealed to no recipient")
    read, written = _Tally(), _Tally()
    source = _Source(_packed(_pieces(plain, read), compress=compress))
    sink = _Sink(into, written)
    try:
        pyrage.encrypt_io(source, sink, [x25519.Recipient.from_str(each) for each in recipients])
    except (pyrage.EncryptError, OSError):
        _raise_own(source, sink)
        raise
    _raise_own(source, sink)
    return Sealed(written.bytes, written.sha256, read.bytes, read.sha256)


def unseal(sealed: BinaryIO, into: BinaryIO, identities: Sequence[Identity], *, sealed_bytes: int = 0) -> Unsealed:
    """Open what was sealed to one of these identities. Raises SealError; errors of the two streams come through as they are.

    After an error `into` holds a true beginning of what was sealed, to be thrown away. `sealed_bytes` is how long the stream was when
    it was sealed, 0 where nobody knows: without it a stream that was cut in the middle of a piece is told as damaged.
    """
    read, written = _Tally(), _Tally()
    source = _Source(_pieces(sealed, read))
    sink = _Unpacked(into, written)
    try:
        pyrage.decrypt_io(source, sink, [x25519.Identity.from_str(each) for each in identities])
    except (pyrage.DecryptError, OSError) as error:
        _raise_own(source, sink)
        raise SealError(_trouble(str(error), cut=source.ended and read.bytes < sealed_bytes)) from error
    _raise_own(source, sink)
    sink.finish()
    return Unsealed(written.bytes, written.sha256)


def seal_small(plain: bytes, recipient: Recipient) -> bytes:
    """Seal what fits in memory, without compression: `age --decrypt` alone shows it."""
    into = io.BytesIO()
    seal(io.BytesIO(plain), into, [recipient], compress=False)
    return into.getvalue()


def unseal_small(sealed: bytes, identities: Sequence[Identity]) -> bytes:
    """Open what fits in memory. Raises SealError."""
    into = io.BytesIO()
    unseal(io.BytesIO(sealed), into, identities)
    return into.getvalue()


def _trouble(words: str, *, cut: bool) -> Trouble:
    if cut or any(each in words for each in _CUT):
        return "truncated"
    return "wrong key" if "No matching keys" in words else "damaged"


def _raise_own(*streams: _Source | _Sink) -> None:
    """What pyrage makes words of, or drops: a write that fails on the last of a short stream ends like one that went well."""
    for stream in streams:
        if stream.failed is not None:
            raise stream.failed


class _Tally:
    """How many bytes went by, and their SHA-256."""

    def __init__(self) -> None:
        self.bytes = 0
        self._sha256 = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        self.bytes += len(piece)
        self._sha256.update(piece)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def _pieces(stream: BinaryIO, tally: _Tally) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        tally.add(piece)
        yield piece


def _packed(pieces: Iterator[bytes], *, compress: bool) -> Iterator[bytes]:
    """As gzip; as it is where that is asked for, unless it would then be taken for gzip of ours."""
    first = b""
    while len(first) < len(_GZIP) and (piece := next(pieces, b"")):
        first += piece
    pieces = itertools.chain([first] if first else [], pieces)
    if not compress and not first.startswith(_GZIP):
        yield from pieces
        return
    packer = zlib.compressobj(_FAST if compress else _STORED, wbits=_GZIP_WINDOW)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


class _Source:
    """What pyrage reads. `ended`: it was read to its end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._ahead = b""
        self.ended = False
        self.failed: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            if not self._ahead:
                self._ahead = next(self._pieces, b"")
                self.ended = not self._ahead
        except BaseException as error:
            self.failed = error
            raise
        piece, self._ahead = self._ahead[:size], self._ahead[size:]
        return piece


class _Sink:
    """What pyrage writes to. After an error it takes nothing more: pyrage writes the same piece again."""

    def __init__(self, into: BinaryIO, tally: _Tally) -> None:
        self._into = into
        self._tally = tally
        self.failed: BaseException | None = None

    def write(self, piece: bytes) -> int:
        if self.failed is not None:
            raise self.failed
        try:
            self._take(piece)
        except BaseException as error:
            self.failed = error
            raise
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back here."""

    def _take(self, piece: bytes) -> None:
        if self._into.write(piece) != len(piece):
            raise OSError(errno.EIO, "not everything was written")
        self._tally.add(piece)


class _Unpacked(_Sink):
    """Takes gzip, or what was not compressed, and writes what it was."""

    def __init__(self, into: BinaryIO, tally: _Tally) -> None:
        super().__init__(into, tally)
        self._head: bytes | None = b""
        self._unpacker: zlib._Decompress | None = None

    def _take(self, piece: bytes) -> None:
        if self._head is not None:
            piece = self._head + piece
            if len(piece) < len(_GZIP):
                self._head = piece
                return
            self._head = None
            self._unpacker = zlib.decompressobj(_GZIP_WINDOW) if piece.startswith(_GZIP) else None
        if self._unpacker is None:
            super()._take(piece)
        else:
            self._unpack(self._unpacker, piece)

    def _unpack(self, unpacker: zlib._Decompress, piece: bytes) -> None:
        try:
            while piece and not unpacker.eof:
                super()._take(unpacker.decompress(piece, _MOST_AT_ONCE))
                piece = unpacker.unconsumed_tail
        except zlib.error:
            raise SealError("damaged") from None
        if unpacker.unused_data or piece:
            raise SealError("damaged")

    def finish(self) -> None:
        """All was given. Raises SealError for a gzip stream without its end."""
        if self._head:
            super()._take(self._head)
        if self._unpacker is not None and not self._unpacker.eof:
            raise SealError("truncated")
