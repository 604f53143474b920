"""The keys that backups are sealed to, and where they lie: what is written here opens again with one of them or not at all.

The *recovery key* is the offline one: in production only its public half is ever on this machine, as a setting. The *drill key* lies in
the data folder (0600), so that drills can open what they prove; whoever has it can read the database anyway, since it lies beside it.
In development the recovery key lies there too, so that a newcomer's backups open. Key files are age's: `age --decrypt -i` takes them.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from core.backups.engine import BackupError, Trouble
from core.seal import Identity, Recipient, SealError, make_identity, read_identity, read_recipient, recipient_of, unseal_small

RECOVERY_SETTING: Final = "KEYCHEST_BACKUP_RECOVERY_KEY"
KEYGEN: Final = "./keychest backup keygen"
DRILL_KEY: Final = Path("keys", "drill-key")
RECOVERY_KEY: Final = Path("keys", "recovery-key")


def drill_identity(data: Path) -> Identity:
    """The key that drills open backups with; made when there is none. Raises BackupError."""
    return _kept(data / DRILL_KEY)[0]


def development_recovery(data: Path) -> tuple[Identity, bool]:
    """Development's recovery key, and whether it was made now. Raises BackupError."""
    return _kept(data / RECOVERY_KEY)


def recovery_recipient(setting: str, data: Path, *, production: bool) -> Recipient:
    """Whom kit, escrow and every backup are sealed to: the setting, in development else the key in the data folder. Raises BackupError."""
    if setting:
        try:
            return read_recipient(setting)
        except ValueError as error:
            raise BackupError("refused", f"{RECOVERY_SETTING}: {error}. Nothing was backed up.") from None
    if production:
        raise BackupError(
            "refused",
            f"There is no recovery key, and without one nobody could open a backup after the loss of this machine. Run {KEYGEN}, keep the "
            f"private half away from here, and set {RECOVERY_SETTING} to the public half. Nothing was backed up.",
        )
    return recipient_of(development_recovery(data)[0])


def read_identities(path: Path) -> list[Identity]:
    """The keys in an age key file: one on each line, blank lines and # comments aside. Raises BackupError, never with a line in it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BackupError("wrong key", f"The key file {path} cannot be read ({error.strerror}). Nothing was opened.") from None
    except UnicodeDecodeError:
        raise BackupError("wrong key", f"{path} is no key file: it is not text. Nothing was opened.") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                found.append(read_identity(line))
            except ValueError as error:
                raise BackupError("wrong key", f"{path} cannot be used, line {number}: {error}. Nothing was opened.") from None
    if not found:
        raise BackupError("wrong key", f"{path} holds no key: a key is a line that begins with AGE-SECRET-KEY-1. Nothing was opened.")
    return found


def open_object(sealed: bytes, identities: Sequence[Identity], *, what: str, kind: str) -> Mapping[str, Any]:
    """The JSON object of the format `kind` in a small sealed file. Raises BackupError, which names it as `what`."""
    try:
        kept = json.loads(unseal_small(sealed, identities))
    except SealError as error:
        raise BackupError(error.trouble, f"{what} cannot be opened. {error}") from None
    except ValueError:
        raise BackupError("damaged", f"{what} cannot be read: what was sealed is no JSON.") from None
    if not isinstance(kept, dict) or kept.get("format") != kind:
        told = kept.get("format") if isinstance(kept, dict) else None
        raise BackupError("unknown schema", f"{what} cannot be read: its format is {told!r}, and this version reads {kind!r}.")
    return kept


def trouble_of(error: OSError) -> Trouble:
    """Why something could not be written."""
    return "full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "refused"


def _kept(path: Path) -> tuple[Identity, bool]:
    """The key in this file and whether it was made now, by whoever comes first: it appears whole or not at all, for its owner alone."""
    made = False
    if not path.exists():
        try:
            made = _made(path)
        except OSError as error:
            raise BackupError(trouble_of(error), f"The key {path} cannot be written ({error.strerror}). Nothing was backed up.") from None
    return read_identities(path)[0], made


def _made(path: Path) -> bool:
    """Whether the key that lies there now is the one that was made here."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    identity = make_identity()
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"# public key: {recipient_of(identity)}\n{identity}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # somebody else was first
            os.link(fresh, path)
            settle(path.parent)
            return True
    finally:
        fresh.unlink(missing_ok=True)
    return False


def settle(folder: Path) -> None:
    """A name that was made in the folder outlives a power cut: nothing may be sealed to a key that is gone afterwards."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
