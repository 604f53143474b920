"""The recovery kit: every key and setting that a restored database needs, in one small file that only the offline recovery key opens.

Beside it goes a public list of fingerprints, by which a drill sees that the kit holds the keys that are in use, without opening it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NewType

from sqlalchemy.orm import Session

from core.backups.engine import BackupError
from core.backups.keys import open_object, trouble_of
from core.backups.secret_kinds import (
    BUNDLE_KEYS,
    COOKIE_KEY,
    LOG_ERASED,
    LOG_KEY,
    PGBACKREST,
    SECRETS,
    SETTINGS,
    WRAPPING_KEYS,
    Place,
    Secret,
    read_settings_lines,
    settings_lines,
)
from core.seal import Identity, Recipient, seal_small

Fingerprint = NewType("Fingerprint", str)
"""`scrypt$14$SALT$HASH`, salt and hash in hex: a secret can be compared with it, and guessed from it only at scrypt's price."""

FORMAT: Final = "keychest-recovery-kit/1"
_WHAT: Final = "The recovery kit"
_LOG2_N = 14
"""scrypt with r=8, p=1 takes 16 MiB and about 50 ms for each guess."""
_DIGEST_LABEL: Final = b"keychest recovery kit digest v1"
_OF_THE_OLD_PLACE: Final = ("KEYCHEST_DATA", "KEYCHEST_LOG_FOLDER", "DATABASE_URL", "REDIS_URL")


@dataclass(frozen=True, slots=True)
class Kit:
    """The secrets of an installation by the names of their kinds, as they were at `made_at`."""

    made_at: datetime
    installation: str
    secrets: Mapping[str, bytes] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """What is sealed: secrets in base64."""
        return {
            "format": FORMAT,
            "made_at": self.made_at.astimezone(UTC).isoformat(),
            "installation": self.installation,
            "secrets": {name: base64.b64encode(self.secrets[name]).decode() for name in sorted(self.secrets)},
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Kit:
        """What `to_json` wrote. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        return cls(
            datetime.fromisoformat(kept["made_at"]),
            str(kept["installation"]),
            {str(name): base64.b64decode(value, validate=True) for name, value in kept["secrets"].items()},
        )


def make_kit(place: Place, kinds: Sequence[Secret] = SECRETS, *, installation: str, at: datetime) -> Kit:
    """All secrets that the installation has. Raises BackupError when one of them cannot be read."""
    found = {kind.name: kind.read(place) for kind in kinds}
    return Kit(at, installation, {name: value for name, value in found.items() if value is not None})


def fingerprints(kit: Kit) -> dict[str, Fingerprint]:
    """A fingerprint of each secret, safe to publish.

    Settings hold passwords that people chose. A plain or keyed digest whose key lies beside it would let anybody try a word list at
    billions of words a second; scrypt makes each guess dear, and a fresh salt for each keeps tables and comparisons of two kits away.
    """
    return {name: _fingerprint(value, secrets.token_bytes(16)) for name, value in sorted(kit.secrets.items())}


def digest(kit: Kit) -> str:
    """The same 64 hex digits for the same secrets, whenever the kit was made: another digest means that a new kit must be written.

    It lies in the database. Whoever reads only that cannot try words against it: the HMAC's key comes from the key that signs cookies,
    which is not there. scrypt on top is for an installation that has no such key yet; the label keeps it apart from what it signs.
    """
    content = {name: value for name, value in kit.to_json().items() if name != "made_at"}
    key = hmac.digest(kit.secrets.get(COOKIE_KEY.name, b""), _DIGEST_LABEL, "sha256")
    keyed = hmac.digest(key, json.dumps(content, sort_keys=True).encode(), "sha256")
    return _scrypt(keyed, kit.installation.encode(), _LOG2_N).hex()


def seal_kit(kit: Kit, recipient: Recipient) -> bytes:
    """The kit for the offline recovery key alone: a drill key lies where the secrets do, and must not open them elsewhere."""
    return seal_small(json.dumps(kit.to_json(), indent=1).encode(), recipient)


def open_kit(sealed: bytes, identities: Sequence[Identity]) -> Kit:
    """What was sealed. Raises BackupError."""
    kept = open_object(sealed, identities, what=_WHAT, kind=FORMAT)
    try:
        return Kit.from_json(kept)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BackupError("damaged", f"{_WHAT} cannot be read: {type(error).__name__} in what was sealed.") from None


def compare(listed: Mapping[str, str], place: Place, kinds: Sequence[Secret] = SECRETS) -> list[str]:
    """What is wrong with a kit, by its public list and the secrets in use: sentences for operators, none when all is well."""
    by_name = {kind.name: kind for kind in kinds}
    wrong = [f"The recovery kit holds {name!r}, which this version does not know." for name in sorted(listed.keys() - by_name.keys())]
    for name, kind in by_name.items():
        try:
            value = kind.read(place)
        except BackupError as error:
            wrong.append(str(error))
            continue
        if value is None and name in listed:
            wrong.append(f"The recovery kit holds the {name}, and it is not here any more.")
        elif value is not None and name not in listed:
            wrong.append(f"The {name} in use is not in the recovery kit ({kind.purpose}).")
        elif value is not None and not _matches(value, listed[name]):
            wrong.append(f"The {name} in use is not the one in the recovery kit ({kind.purpose}).")
    return wrong


def unwrap_each(session: Session, kit: Kit, kinds: Sequence[Secret] = SECRETS) -> list[str]:
    """Open one record of every kind that wraps records, in a restored database and by this kit alone. What is wrong, in sentences."""
    wrong = []
    for kind in kinds:
        if kind.unwraps is None:
            continue
        value = kit.secrets.get(kind.name)
        said = kind.unwraps(session, value or b"")
        said = "it is not in the kit" if said and value is None else said
        if said:
            wrong.append(f"What the {kind.name} protects cannot be opened with this recovery kit: {said}.")
    return wrong


def lay_out(kit: Kit, into: Path) -> tuple[Path, ...]:
    """Write what a restored installation reads into its folder, for the owner alone: keys, `settings.env`, `pgbackrest.conf`.

    Settings that name the old place (data folder, databases, broker) are written as comments: a restored installation that dialled
    those would work on the old data. Raises BackupError, "refused" where one of the files is there already; nothing is written then.
    """
    contents = {
        "secret-key": kit.secrets.get(COOKIE_KEY.name),
        str(WRAPPING_KEYS.file): kit.secrets.get(WRAPPING_KEYS.name),
        str(BUNDLE_KEYS.file): kit.secrets.get(BUNDLE_KEYS.name),
        str(LOG_KEY.file): kit.secrets.get(LOG_KEY.name),
        str(LOG_ERASED.file): kit.secrets.get(LOG_ERASED.name),
        "settings.env": _environment(kit),
        "pgbackrest.conf": kit.secrets.get(PGBACKREST.name),
    }
    files = {into / name: content for name, content in contents.items() if content is not None}
    there = [path for path in files if os.path.lexists(path)]
    if there:
        raise BackupError("refused", f"{there[0]} exists already, and nothing is overwritten. Name a new folder. Nothing was written.")
    written: list[Path] = []
    try:
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, content in files.items():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                written.append(path)
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink()
        raise BackupError(trouble_of(error), f"The kit cannot be laid out in {into} ({error.strerror}). Nothing was left there.") from None
    return tuple(files)


def _environment(kit: Kit) -> bytes | None:
    if SETTINGS.name not in kit.secrets:
        return None
    lines = [f"# Settings of the installation {kit.installation}, as they were on {kit.made_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC.\n"]
    for name, value in read_settings_lines(kit.secrets[SETTINGS.name]).items():
        line = settings_lines({name: value}).decode()
        if name.startswith(_OF_THE_OLD_PLACE):
            line = "# This named the old place:\n" + "".join(f"# {part}\n" for part in line.splitlines())
        lines.append(line)
    return "".join(lines).encode()


def _fingerprint(value: bytes, salt: bytes) -> Fingerprint:
    return Fingerprint(f"scrypt${_LOG2_N}${salt.hex()}${_scrypt(value, salt, _LOG2_N).hex()}")


def _matches(value: bytes, listed: str) -> bool:
    """Whether a fingerprint is of this value. One that cannot be read is of none."""
    try:
        method, log2_n, salt, expected = listed.split("$")
        found = _scrypt(value, bytes.fromhex(salt), int(log2_n))
        return method == "scrypt" and hmac.compare_digest(found, bytes.fromhex(expected))
    except ValueError:
        return False


def _scrypt(value: bytes, salt: bytes, log2_n: int) -> bytes:
    return hashlib.scrypt(value, salt=salt, n=1 << log2_n, r=8, p=1, dklen=32)
