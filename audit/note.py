"""Signed notes and checkpoints, as C2SP specifies them: signed-note, tlog-checkpoint, tlog-cosignature (v1, Ed25519).

A note is text and signature lines; a checkpoint is a note whose text is origin, tree size and root hash. A log signs by Ed25519 (type
0x01); a witness by a timestamped cosignature (type 0x04). What cannot be read raises NoteError with a sentence.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519, COSIGNATURE = 0x01, 0x04
MOST_SIGNATURES: Final = 64
MOST_BYTES: Final = 1_000_000
_KEY_BYTES, _ID_BYTES, _TIME_BYTES, _SIGNATURE_BYTES = 32, 4, 8, 64
_DASH = "\u2014"
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteError(ValueError):
    """A note, checkpoint or key cannot be read, or is not signed by whom it should be. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and its name: `NAME+ID+BASE64`, a "vkey". `kind` is ED25519 for logs, COSIGNATURE for witnesses."""

    name: str
    kind: int
    key: bytes

    @classmethod
    def read(cls, vkey: str) -> Verifier:
        """The key in a vkey. Raises NoteError."""
        name, _, rest = vkey.partition("+")
        said, _, coded = rest.partition("+")
        raw = read_base64(coded)
        found = cls(name, raw[0] if raw else 0, raw[1:])
        if not proper_name(name) or found.kind not in {ED25519, COSIGNATURE} or len(found.key) != _KEY_BYTES or said != found.id.hex():
            raise NoteError(f"{vkey!r} is no key of a log or a witness: it has the form NAME+ID+BASE64.")
        return found

    @property
    def id(self) -> bytes:
        """The four bytes by which signatures name their key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.key).digest()[:_ID_BYTES]

    @property
    def vkey(self) -> str:
        """As `read` takes it."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.key).decode()}"

    def holds(self, text: str, signature: bytes) -> bool:
        """Whether a signature (without the key's id) is this key's over the text."""
        message = text.encode()
        if self.kind == COSIGNATURE:
            if len(signature) != _TIME_BYTES + _SIGNATURE_BYTES or time_of(signature) >= 1 << 63:
                return False
            message, signature = _cosigned(text, time_of(signature)), signature[_TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature line: whose it says it is, by which key, and the bytes after the key's id."""

    name: str
    key_id: bytes
    bytes: bytes

    @property
    def line(self) -> str:
        """As it stands in a note."""
        return f"{_DASH} {self.name} {base64.b64encode(self.key_id + self.bytes).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends with a newline, and the signatures under it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def read(cls, raw: bytes) -> Note:
        """A note, byte for byte as the specification has it. Raises NoteError."""
        if len(raw) > MOST_BYTES:
            raise NoteError(f"A note of {len(raw):,} bytes is too long.")
        try:
            said = raw.decode()
        except UnicodeDecodeError:
            raise NoteError("The note is not UTF-8.") from None
        if any(char < " " and char != "\n" for char in said):
            raise NoteError("The note has a control character in it.")
        text, blank, lines = said.rpartition("\n\n")
        if not blank or not text or not lines.endswith("\n"):
            raise NoteError("The note has no text, no blank line, or no signature under it.")
        return cls(f"{text}\n", read_signatures(lines))

    @property
    def raw(self) -> bytes:
        """As `read` takes it."""
        return f"{self.text}\n{''.join(each.line for each in self.signatures)}".encode()

    def signed_by(self, keys: Iterable[Verifier]) -> tuple[tuple[Verifier, Signature], ...]:
        """The signatures of these keys. Others are ignored; one that names a key of these and is not its own raises NoteError."""
        known = {(key.name, key.id): key for key in keys}
        found = []
        for each in self.signatures:
            key = known.get((each.name, each.key_id))
            if key is None:
                continue
            if not key.holds(self.text, each.bytes):
                raise NoteError(f"The signature of {each.name} does not hold: the text or the signature was changed.")
            found.append((key, each))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log promises: these many entries, with this root hash."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        """The first three lines of a checkpoint's text. Raises NoteError."""
        lines = text.split("\n")
        if len(lines) < 4 or not all(lines[:-1]) or lines[-1]:  # noqa: PLR2004 - three lines, each with its end
            raise NoteError("The checkpoint lacks a line, or has an empty one.")
        origin, size, root = lines[:3]
        if not _SIZE.fullmatch(size):
            raise NoteError(f"The checkpoint's size is {size!r}, which is no number.")
        hash_ = read_base64(root)
        if len(hash_) != hashlib.sha256().digest_size:
            raise NoteError("The checkpoint's root hash is not 32 bytes long.")
        return cls(origin, int(size), hash_)

    @property
    def text(self) -> str:
        """As a log signs it: three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def proper_name(name: str) -> bool:
    """Whether a key may be called this: not empty, no space of any kind, no plus."""
    return bool(name) and "+" not in name and not any(char.isspace() or char < " " for char in name)


def public_of(key: Ed25519PrivateKey, name: str, kind: int = ED25519) -> Verifier:
    """The public half under a name."""
    return Verifier(name, kind, key.public_key().public_bytes_raw())


def sign(text: str, name: str, key: Ed25519PrivateKey) -> Signature:
    """A log's signature under a text."""
    return Signature(name, public_of(key, name).id, key.sign(text.encode()))


def cosign(text: str, name: str, key: Ed25519PrivateKey, at_s: int) -> Signature:
    """A witness's cosignature, with the POSIX time at which it was given."""
    stamp = at_s.to_bytes(_TIME_BYTES)
    return Signature(name, public_of(key, name, COSIGNATURE).id, stamp + key.sign(_cosigned(text, at_s)))


def time_of(cosignature: bytes) -> int:
    """The POSIX time in a cosignature, which is what it begins with."""
    return int.from_bytes(cosignature[:_TIME_BYTES])


def read_signatures(lines: str) -> tuple[Signature, ...]:
    """Signature lines. Raises NoteError for one that is none, for none at all, and for too many."""
    found = tuple(_signature(line) for line in lines.split("\n")[:-1])
    if not found or not lines.endswith("\n"):
        raise NoteError("There is no signature line, or the last one has no end.")
    if len(found) > MOST_SIGNATURES:
        raise NoteError(f"{len(found)} signatures are too many.")
    return found


def read_base64(text: str) -> bytes:
    """Standard base64 in its one canonical form: another spelling of the same bytes would be another file. Raises NoteError."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{text[:80]!r} is not base64.") from None
    if base64.b64encode(found).decode() != text:
        raise NoteError(f"{text[:80]!r} is not canonical base64.")
    return found


def checkpoint_signed_by(raw: bytes, origin: str, keys: Sequence[Verifier]) -> tuple[Checkpoint, Note]:
    """A checkpoint of this origin that one of these keys signed. Raises NoteError."""
    note = Note.read(raw)
    found = Checkpoint.read(note.text)
    if found.origin != origin:
        raise NoteError(f"The checkpoint is of {found.origin!r}, and not of {origin!r}.")
    if not note.signed_by(keys):
        raise NoteError(f"The checkpoint is not signed by {' or '.join(key.vkey for key in keys)}.")
    return found, note


def _signature(line: str) -> Signature:
    words = line.split(" ")
    if len(words) != 3 or words[0] != _DASH or not proper_name(words[1]):  # noqa: PLR2004 - dash, name, signature
        raise NoteError(f"{line[:80]!r} is no signature line.")
    raw = read_base64(words[2])
    if len(raw) <= _ID_BYTES:
        raise NoteError(f"{line[:80]!r} has no signature in it.")
    return Signature(words[1], raw[:_ID_BYTES], raw[_ID_BYTES:])


def _cosigned(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()
