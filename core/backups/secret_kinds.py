"""Every kind of secret that a restored database or installation needs, so that the recovery kit holds them all.

A new kind of secret is one line in `SECRETS`, with a check that opens one record by it where records are wrapped. A file under the
data folder that holds a secret and is no kind stands in `NOT_IN_KIT` with the reason.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from core.backups.engine import BackupError
from core.backups.keys import DRILL_KEY, RECOVERY_KEY, read_identities
from core.envelope import FILE, NotOpenedError, open_sealed, read_keys
from core.seal import recipient_of
from core.store.exports import plan_place, sealed_plans
from core.store.factors import factor_place, sealed_factors


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation's secrets are. `settings`: each setting that is set, by its name in the environment.

    The value of a secret that came from a file stands there under its own name, since the file is not in the kit.
    """

    data: Path
    settings: Mapping[str, str] = field(repr=False)
    pgbackrest_config: Path | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """One kind of secret. `read` gives None where an installation has none; `file` is where it may lie under the data folder.

    `unwraps` opens one record of this kind in a restored database with the secret, which is empty where the kit has none: "" when
    that works or there is nothing to open, else what is wrong, in words.
    """

    name: str
    purpose: str
    read: Callable[[Place], bytes | None]
    file: Path | None = None
    unwraps: Callable[[Session, bytes], str] | None = None


def _cookie_key(place: Place) -> bytes | None:
    written = place.settings.get("KEYCHEST_SECRET_KEY", "").encode() or _content(place.data / "secret-key", "key that signs cookies")
    return written and written.strip()


def _wrapping_keys(place: Place) -> bytes | None:
    return _content(place.data / FILE, "file of wrapping keys")


def _bundle_keys(place: Place) -> bytes | None:
    return _content(place.data / "bundle-keys", "file of keys that sign exports")


def _opens_every_factor(session: Session, content: bytes) -> str:
    for _, ref, sealed in sealed_factors(session):
        try:
            open_sealed(read_keys(content), sealed, factor_place(ref))
        except NotOpenedError as error:
            return str(error).rstrip(".")
    return ""


def _opens_every_record(session: Session, content: bytes) -> str:
    said = _opens_every_factor(session, content)
    for _, account_ref, ref, sealed in () if said else sealed_plans(session):
        try:
            open_sealed(read_keys(content), sealed, plan_place(account_ref, ref))
        except NotOpenedError as error:
            return str(error).rstrip(".")
    return said


def _drill_recipient(place: Place) -> bytes | None:
    path = place.data / DRILL_KEY
    return recipient_of(read_identities(path)[0]).encode() if _content(path, "drill key") is not None else None


def _log_key(place: Place) -> bytes | None:
    return _of_the_log(place, "key")


def _log_erased(place: Place) -> bytes | None:
    return _of_the_log(place, "erased")


def _of_the_log(place: Place, name: str) -> bytes | None:
    """A file of the log's folder; None also where that belongs to a user of its own: then people keep it by hand (docs/runbook.md)."""
    folder = Path(place.settings.get("KEYCHEST_LOG_FOLDER", "") or place.data / "log")
    try:
        return (folder / name).read_bytes()
    except (FileNotFoundError, PermissionError):
        return None


def _pgbackrest(place: Place) -> bytes | None:
    return _content(place.pgbackrest_config, "pgBackRest configuration", needed=True) if place.pgbackrest_config else None


def _settings(place: Place) -> bytes:
    return settings_lines(place.settings)


COOKIE_KEY: Final = Secret(
    "cookie-key", "it signs cookies and forms: without it everybody has to sign in again", _cookie_key, Path("secret-key")
)
DRILL_RECIPIENT: Final = Secret("drill-key", "the public half of the key that drills open backups with", _drill_recipient)
PGBACKREST: Final = Secret(
    "pgbackrest-config", "it holds the passphrase of pgBackRest's repository: without it no PostgreSQL backup opens", _pgbackrest
)
SETTINGS: Final = Secret("settings", "every setting that was set, passwords included", _settings)
WRAPPING_KEYS: Final = Secret(
    "wrapping-keys", "they open the secrets of apps and of places for exports: without them nobody with a second factor gets in",
    _wrapping_keys, Path(FILE), _opens_every_record,
)  # fmt: skip
BUNDLE_KEYS: Final = Secret(
    "bundle-keys", "they sign exports: without them no export of before a loss is known as this installation's own", _bundle_keys,
    Path("bundle-keys"),
)  # fmt: skip
LOG_KEY: Final = Secret(
    "log-key", "it signs the log's checkpoints: without it the log goes on under a key that nobody knows", _log_key, Path("log/key")
)
LOG_ERASED: Final = Secret(
    "log-erased", "it says what was erased from the log's private parts: without it a restore brings that back", _log_erased,
    Path("log/erased"),
)  # fmt: skip
SECRETS: Final = (COOKIE_KEY, WRAPPING_KEYS, BUNDLE_KEYS, LOG_KEY, LOG_ERASED, DRILL_RECIPIENT, PGBACKREST, SETTINGS)

NOT_IN_KIT: Final = {
    RECOVERY_KEY: "the kit is sealed to it: people keep it elsewhere",
    DRILL_KEY: "a new one is made where there is none, and the recovery key opens what was sealed to the old one",
}
"""Files of secrets under the data folder that no kit holds, each with the reason."""


def settings_lines(settings: Mapping[str, str]) -> bytes:
    """NAME=VALUE, one setting a line, quoted as a shell and systemd's EnvironmentFile both read it."""
    return "".join(f"{name}={shlex.quote(settings[name])}\n" for name in sorted(settings)).encode()


def read_settings_lines(lines: bytes) -> dict[str, str]:
    """What `settings_lines` wrote."""
    return dict(entry.split("=", 1) for entry in shlex.split(lines.decode()))


def _content(path: Path, what: str, *, needed: bool = False) -> bytes | None:
    """What is in a file. Raises BackupError when it cannot be read, or is needed and absent."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if not needed:
            return None
        reason = "there is no such file"
    except OSError as error:
        reason = str(error.strerror)
    raise BackupError("missing", f"The {what} {path} cannot be read ({reason}), and a recovery kit without it would be of no use.")
