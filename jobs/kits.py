"""What lies beside backups: the recovery kit, written at every change, and the contact escrow, written with every backup."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC

from core.actions.backups import record_kit
from core.actions.policy import Actor
from core.backups import kit as kits
from core.backups.engine import BackupError
from core.backups.escrow import gather, seal_escrow
from core.backups.keys import recovery_recipient
from core.backups.stored import Stored, apart, put_small
from core.store.backups import installation_ref, newest_kit
from core.store.base import new_ref
from jobs.context import Context

WORKER = Actor(worker=True)
log = logging.getLogger("keychest.kits")


def put_kit(context: Context, made_with: Stored | None = None) -> None:
    """Write the recovery kit where it changed since it was last written, or did not get to every place. Raises BackupError."""
    plan = context.plan
    if plan.postgresql and made_with is not None:
        return  # made as the database's own user, from a data folder of its own: the keys lie in the portal's, where `look` runs
    recipient = recovery_recipient(plan.recovery_key, context.data, production=plan.production)
    targets = apart(plan.targets())
    with context.sessions.reading() as session:
        last, installation = newest_kit(session), installation_ref(session)
    kit = kits.make_kit(plan.place(), installation=installation, at=context.now())
    digest = kits.digest(kit)
    same = last is not None and (last.digest, last.recipient) == (digest, recipient)
    if last is not None and same and all(last.targets.get(target.shown, "new") == "" for target in targets):
        return
    name = f"kits/{context.now().astimezone(UTC):%Y%m%dT%H%M%SZ}-{new_ref()}"
    listed = dict(kits.fingerprints(kit))
    told = json.dumps({"made_at": kit.made_at.isoformat(), "installation": installation, "fingerprints": listed}, indent=1).encode()
    became = put_small(targets, f"{name}.age", kits.seal_kit(kit, recipient), pause=time.sleep)
    became |= {shown: error for shown, error in put_small(targets, f"{name}.json", told, pause=time.sleep).items() if error}
    if all(became.values()):
        raise BackupError("missing", f"No target took the recovery kit. {' '.join(became.values())}")
    row = {"name": f"{name}.age", "digest": digest, "recipient": recipient, "fingerprints": listed}
    with context.sessions.writing() as session:
        record_kit(session, WORKER, kit=row, targets=became, now=context.now())
    log.info("the recovery kit was written")


def put_escrow(context: Context, stored: Stored) -> None:
    """Whom to tell after a loss: names and addresses alone, sealed to the offline key, beside the backup. Raises BackupError."""
    plan = context.plan
    recipient = recovery_recipient(plan.recovery_key, context.data, production=plan.production)
    with context.sessions.reading() as session:
        escrow = gather(session, installation=installation_ref(session), at=stored.manifest.at)
    became = put_small(apart(plan.targets()), f"escrow/{stored.name}.age", seal_escrow(escrow, recipient), pause=time.sleep)
    if all(became.values()):
        raise BackupError("missing", f"No target took the escrow. {' '.join(became.values())}")
