"""Making a backup: taken at one point, sealed to two recipients, put to every target and read back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from core import seal
from core.backups import keys
from core.backups.engine import BackupError
from core.backups.files import open_sparing
from core.backups.plan import Plan
from core.backups.stored import Pause, Stored, put_backup
from core.seal import fingerprint


def make(
    plan: Plan,
    *,
    ref: str,
    name: str,
    kind: str,
    full: bool = True,
    scratch: Path,
    now: Callable[[], datetime],
    pause: Pause,
    say: Callable[[str], None],
    keep: Callable[[Stored], None],
) -> tuple[Stored, dict[str, str]]:
    """A backup, and what became of it at each target. `full`: all of it, where the engine can also add to an older one.

    `keep` gets what is in it before anything leaves this machine.
    Raises BackupError, also where no target took it: then nothing counts as stored.
    """
    plan.require_apart()
    recovery = keys.recovery_recipient(plan.recovery_key, plan.data, production=plan.production)
    recipients = (recovery, seal.recipient_of(keys.drill_identity(plan.data)))
    targets = plan.targets()
    say("Copy")
    taken = plan.engine().take(scratch, now=now, full=full)
    sealed: Path | None = None
    size, digest = taken.stored_bytes, ""
    if taken.copy is not None:
        say("Seal")
        sealed = scratch / "sealed"
        with taken.copy.open("rb") as plain, open_sparing(sealed) as into:
            done = seal.seal(plain, into, recipients)
        taken.copy.unlink()
        size, digest = done.bytes, done.sha256
        if done.plain_sha256 != taken.manifest.plain_sha256:
            raise BackupError("damaged", "The copy changed while it was sealed: this machine's disk or memory is not to be trusted.")
    stored = Stored(ref, name, kind, taken.manifest, size, digest, tuple(fingerprint(each) for each in recipients))
    keep(stored)
    say("Store")
    became = put_backup(targets, stored, sealed, pause=pause)
    if all(became.values()):
        raise BackupError("missing", f"No target took it. {' '.join(f'{shown}: {error}' for shown, error in became.items())}")
    repository = plan.repository()
    return stored, ({repository: ""} if repository else {}) | became
