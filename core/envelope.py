"""Envelope encryption of secrets that must come back: each record has a key of its own, which is wrapped by a key outside the database.

A sealed record is `1.KEY.WRAPPED.CONTENT`: the number of its form, which wrapping key, the record's own key wrapped by that, and the
content under the record's own key; both by AES-256-GCM (NIST SP 800-38D) with random nonces of 96 bits. Where it lies (tenant, table,
record) is authenticated with both, so what was moved from one row to another does not open.

The wrapping keys lie in a file, one a line, `NAME KEY`, the newest first. Older ones stay: what lies in older backups opens by them.
"""

from __future__ import annotations

import base64
import fcntl
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE: Final = "wrapping-keys"
_FORM, _NONCE, _PARTS = "1", 12, 4


class NotOpenedError(Exception):
    """A sealed record does not open. The message is for people, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies. A tenant's record opens at its own place and at no other; `tenant` is "" for what is no account's."""

    tenant: str
    table: str
    record: str

    @property
    def words(self) -> bytes:
        """The three, none of which can run into the next."""
        return b"".join(len(each.encode()).to_bytes(4) + each.encode() for each in (self.tenant, self.table, self.record))


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The wrapping keys of an installation. Read anew for each record: a rotation holds at once, in every process."""

    path: Path

    def seal(self, secret: bytes, place: Place) -> str:
        """The record. Raises OSError and NotOpenedError where the keys cannot be read or made."""
        own = AESGCM.generate_key(256)
        return _joined(*self._wrapped(own, place), _closed(own, secret, place))

    def open(self, sealed: str, place: Place) -> bytes:
        """What was sealed at this place. Raises NotOpenedError for anything else."""
        return open_sealed(self._keys(), sealed, place)

    def rewrapped(self, sealed: str, place: Place) -> str:
        """The record, its own key wrapped by the newest key; its content stays as it is. Raises NotOpenedError."""
        name, wrapped, content = _split(sealed)
        return _joined(*self._wrapped(_unwrapped(self._keys(), name, wrapped, place), place), content)

    def rotate(self) -> None:
        """A new wrapping key for what is sealed from now on; the others stay, to open by. Raises OSError.

        One at a time: of two that read the file at once, the second would write the first one's key away.
        """
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            _write(self.path, {_name(): AESGCM.generate_key(256)} | self._keys())
        finally:
            os.close(folder)

    def wrapped_by_newest(self, sealed: str) -> bool:
        """Whether a record needs no new wrapping."""
        return _split(sealed)[0] == next(iter(self._keys()))

    def _wrapped(self, own: bytes, place: Place) -> tuple[str, bytes]:
        name, key = next(iter(self._keys().items()))
        return name, _closed(key, own, place)

    def mark(self, words: str) -> str:
        """A mark that nobody can make without the keys: HMAC-SHA256 of these words, 32 characters of it, by the newest key."""
        return _mark(next(iter(self._keys().values())), words)

    def marked(self, words: str, mark: str) -> bool:
        """Whether this is the mark of these words, by the newest key or by one before."""
        return any(hmac.compare_digest(_mark(key, words).encode(), mark.encode()) for key in self._keys().values())

    def make(self) -> None:
        """The file is there from now on. Raises OSError."""
        if not self.path.exists():
            _write(self.path, {_name(): AESGCM.generate_key(256)}, anew=True)

    def _keys(self) -> dict[str, bytes]:
        """Newest first. The file is made by whoever needs it first."""
        self.make()
        return read_keys(self.path.read_bytes())


def _mark(key: bytes, words: str) -> str:
    """By a key of its own, derived from the wrapping key (RFC 5869): what wraps marks nothing."""
    own = HKDF(hashes.SHA256(), 32, None, b"keychest marks").derive(key)
    return hmac.new(own, words.encode(), "sha256").hexdigest()[:32]


def read_keys(content: bytes) -> dict[str, bytes]:
    """The wrapping keys in a file's content, newest first. Raises NotOpenedError."""
    keys = {}
    for line in content.decode("ascii", "replace").splitlines():
        name, _, key = line.partition(" ")
        with suppress(ValueError):
            keys[name] = base64.b64decode(key, validate=True)
    if not keys or any(len(key) != 32 for key in keys.values()):  # noqa: PLR2004 - AES-256
        raise NotOpenedError("The file of wrapping keys is damaged. The recovery kit has it whole: docs/runbook.md says how.")
    return keys


def open_sealed(keys: Mapping[str, bytes], sealed: str, place: Place) -> bytes:
    """What was sealed at this place by one of these wrapping keys. Raises NotOpenedError."""
    name, wrapped, content = _split(sealed)
    return _opened(_unwrapped(keys, name, wrapped, place), content, place)


def _unwrapped(keys: Mapping[str, bytes], name: str, wrapped: bytes, place: Place) -> bytes:
    key = keys.get(name)
    if key is None:
        raise NotOpenedError(f"The wrapping key {name!r} is not there. The recovery kit has it: docs/runbook.md says how.")
    return _opened(key, wrapped, place)


def _name() -> str:
    return secrets.token_hex(4)


def _write(path: Path, keys: Mapping[str, bytes], *, anew: bool = False) -> None:
    put_secret(path, "".join(f"{name} {base64.b64encode(key).decode()}\n" for name, key in keys.items()), anew=anew)


def kept_key(path: Path) -> str:
    """The key in this file, made by whoever comes first. Raises OSError."""
    if not path.exists():
        put_secret(path, secrets.token_urlsafe(48), anew=True)
    return path.read_text().strip()


def put_secret(path: Path, content: str, *, anew: bool) -> None:
    """The file appears whole or not at all, readable by its owner alone. `anew`: one that somebody else made meanwhile stays."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if not anew:
        fresh.replace(path)
        return
    with suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()


def _closed(key: bytes, secret: bytes, place: Place) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, secret, place.words)


def _opened(key: bytes, content: bytes, place: Place) -> bytes:
    try:
        return AESGCM(key).decrypt(content[:_NONCE], content[_NONCE:], place.words)
    except (InvalidTag, ValueError) as error:
        raise NotOpenedError(f"A secret in {place.table} does not open: it was changed, or moved from another row.") from error


def _joined(name: str, wrapped: bytes, content: bytes) -> str:
    return ".".join((_FORM, name, base64.b64encode(wrapped).decode(), base64.b64encode(content).decode()))


def _split(sealed: str) -> tuple[str, bytes, bytes]:
    parts = sealed.split(".")
    if len(parts) != _PARTS or parts[0] != _FORM:
        raise NotOpenedError("A sealed secret has a form that this version does not know. Nothing was changed.")
    try:
        return parts[1], base64.b64decode(parts[2], validate=True), base64.b64decode(parts[3], validate=True)
    except ValueError as error:
        raise NotOpenedError("A sealed secret is damaged. Nothing was changed.") from error
