"""The key that bundles are signed with: a file outside the database, in the recovery kit. So what was exported stays genuine after a loss.

One key a line, `NAME SEED`, the newest first. Older ones stay: bundles that they signed are this installation's own.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import Note, proper_name, public_of, sign
from core.envelope import put_secret
from core.exports.form import FORMAT, VERSION

FILE: Final = "bundle-keys"
SIGNS: Final = f"{FORMAT}/v{VERSION}\n{{}}\n"
"""What is signed of a bundle: its form and the digest of its manifest."""


_DAMAGED: Final = "The file of keys that sign exports is damaged. The recovery kit has it whole: docs/runbook.md says how."


class BundleKeyError(Exception):
    """The file of keys is damaged. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class BundleKey:
    """A key under the name that its signatures bear."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def vkey(self) -> str:
        """The public half, as signed notes write it."""
        return public_of(self.key, self.name).vkey

    def sign(self, manifest_sha256: str) -> bytes:
        """The content of `manifest.sig`."""
        text = SIGNS.format(manifest_sha256)
        return Note(text, (sign(text, self.name, self.key),)).raw


def key_name(public_url: str) -> str:
    """What keys of the installation at this address are called: the address without its scheme."""
    parts = urlsplit(public_url)
    name = f"{parts.netloc}{parts.path.rstrip('/')}"
    return name if proper_name(name) else "keychest"


def read_keys(data: Path) -> tuple[BundleKey, ...]:
    """The keys there are, newest first; () where none was made yet. Raises BundleKeyError and OSError."""
    try:
        content = (data / FILE).read_text("ascii")
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError:
        raise BundleKeyError(_DAMAGED) from None
    return keys_in(content)


def keys_in(content: str) -> tuple[BundleKey, ...]:
    """The keys in a file's content. Raises BundleKeyError."""
    found = []
    for line in content.splitlines():
        name, _, seed = line.partition(" ")
        try:
            raw = base64.b64decode(seed, validate=True)
            found.append(BundleKey(name, Ed25519PrivateKey.from_private_bytes(raw)))
        except ValueError:
            raise BundleKeyError(_DAMAGED) from None
    if not found or not all(proper_name(each.name) for each in found):
        raise BundleKeyError(_DAMAGED)
    return tuple(found)


def bundle_key(data: Path, name: str) -> BundleKey:
    """The key to sign with, made by whoever comes first. Raises BundleKeyError and OSError."""
    if not (data / FILE).exists():
        seed = base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
        put_secret(data / FILE, f"{name} {seed}\n", anew=True)
    return read_keys(data)[0]
