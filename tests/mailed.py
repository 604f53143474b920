"""Letters sent into an outbox folder, and the links in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from core.actions.doors import AskedKind, ask_by_mail
from core.backups.plan import Plan
from core.store.db import Sessions
from jobs.context import Context
from jobs.letters import send_letters
from tests.make import NOW


@dataclass
class Post:
    """Sends letters into an outbox folder, at a time that tests set."""

    sessions: Sessions
    folder: Path
    at: datetime = NOW
    read: set[Path] = field(default_factory=set)
    smtp_url: str = ""

    def send(self) -> list[str]:
        """All that leaves now, as it is written, oldest first."""
        context = Context(
            sessions=self.sessions, now=lambda: self.at, data=self.folder, public_url="https://keys.example.org", scan_allow=(),
            scan_allow_accounts=(), extra_roots="", resolvers=(), scan_interval_s=1, scan_lease_s=1, smtp_url=self.smtp_url,
            mail_from="KeyChest <keychest@example.org>", plan=Plan(self.folder, production=False, database_url="sqlite:///:memory:"),
        )  # fmt: skip
        send_letters(context)
        fresh = set((self.folder / "outbox").glob("*.eml")) - self.read
        self.read |= fresh
        return [each.read_text() for each in sorted(fresh, key=lambda path: path.stat().st_mtime_ns)]


def link(mail: str, path: str) -> str:
    """The token of the only link below this path."""
    found = re.findall(rf"https://keys\.example\.org{path}(\S+)", mail.replace("=\n", ""))
    assert len(found) == 1, mail
    return str(found[0])


def ask(sessions: Sessions, kind: AskedKind, email: str, at: datetime = NOW) -> None:
    """What anybody may ask for by mail."""
    with sessions.writing() as session:
        ask_by_mail(session, kind, email=email, now=at)
