"""Settings of the status feed: where its files lie, under which address they are read, and how soon it tells by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core import setting_readers as readers
from core.setting_sources import setting


@dataclass(frozen=True)
class StatusSettings:
    """What is about the status feed, for `config.Settings`."""

    status_folder: str = setting(
        "KEYCHEST_STATUS_FOLDER",
        "Where the status feed's files are put, for a web server of their own to serve. Unset: `status` in the data folder.",
        default="",
        read=readers.text,
    )
    status_url: str = setting(
        "KEYCHEST_STATUS_URL",
        "Address of the published copy of the status feed, best on another machine and under another name than the portal. Unset: "
        "`KEYCHEST_BASE_URL`, the portal's own.",
        default="",
        read=readers.url,
    )
    status_publish: tuple[str, ...] = setting(
        "KEYCHEST_STATUS_PUBLISH",
        "Where else the feed is put at each change and every minute, best on another machine: addresses as those of backup targets, "
        "separated by commas. Secret, since passwords may be in them.",
        default=(),
        read=readers.targets,
        secret=True,
    )
    incident_delay_min: int = setting(
        "KEYCHEST_INCIDENT_DELAY_MIN",
        "Minutes until an incident that KeyChest noticed by itself becomes public, unless an operator publishes it before, or keeps it "
        "back; 0: at once.",
        default=10,
        read=readers.minutes,
    )

    def status_at(self, data: Path) -> Path:
        """Where the installation in this data folder puts the feed's files."""
        return Path(self.status_folder).absolute() if self.status_folder else data / "status"

    def status_address(self, public_url: str) -> str:
        """Where the feed is read, without a slash at its end."""
        return self.status_url or public_url
