"""All that a job may touch, made in the process that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from core.backups.plan import Plan
from core.envelope import FILE, KeyFile
from core.net.guard import Network
from core.net.optout import OptedOut
from core.store.db import Sessions


@dataclass(frozen=True, slots=True)
class Context:
    """Settings that jobs need, the database, and the time. Fields that are named as in `config.Settings` mean the same."""

    sessions: Sessions
    now: Callable[[], datetime]
    data: Path
    public_url: str
    scan_allow: tuple[Network, ...]
    scan_allow_accounts: tuple[str, ...]
    extra_roots: str
    resolvers: tuple[str, ...]
    scan_interval_s: float
    scan_lease_s: float
    smtp_url: str
    mail_from: str
    plan: Plan
    purge_url: str = ""
    """The login that may delete what lay in the bin long enough; "": nobody may."""
    opted_out: OptedOut = field(default_factory=OptedOut)
    log_folder: Path | None = None
    """Where the log is published, if it can be read from here."""
    status_address: str = ""
    """Where the status feed is read; "": at the portal."""
    public_scan_allow: tuple[Network, ...] = ()
    """Private ranges that spot checks may dial: none, but in the demonstration, whose servers are all on this machine."""

    @property
    def keys(self) -> KeyFile:
        """What links that never run out are marked with."""
        return KeyFile(self.data / FILE)
