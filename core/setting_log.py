"""Settings of the log: where it keeps what is not in the database, its name, and its witnesses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core import setting_readers as readers
from core.setting_sources import setting
from core.setting_witnesses import quorum, witnesses


@dataclass(frozen=True)
class LogSettings:
    """What is about the log, for `config.Settings`."""

    log_folder: str = setting(
        "KEYCHEST_LOG_FOLDER",
        "What the log keeps outside the database: its key, the last checkpoint, the list of erasures, the public files. "
        "Best on another disk than the database. Unset: `log` in the data folder.",
        default="",
        read=readers.text,
    )
    log_origin: str = setting(
        "KEYCHEST_LOG_ORIGIN",
        "What the log is called from its first entry on, for example `keychest.example/log`. Unset: host and port of "
        "KEYCHEST_BASE_URL, and `/log`. A log that was begun keeps its name.",
        default="",
        read=readers.origin,
    )

    log_witnesses: tuple[tuple[str, str], ...] = setting(
        "KEYCHEST_LOG_WITNESSES",
        "Who is asked to cosign the log: key and address of each witness, `VKEY https://witness.example.org`, separated by commas. "
        "`docs/witness.md` says how to set one up. Unset: none.",
        default=(),
        read=witnesses,
    )
    log_quorum: int = setting(
        "KEYCHEST_LOG_QUORUM",
        "How many of them must have cosigned a checkpoint before it is published; 0: it is published at once, with what they gave.",
        default=0,
        read=quorum,
    )

    def log_at(self, data: Path) -> Path:
        """Where the log of the installation in this data folder keeps what is not in the database."""
        return Path(self.log_folder).absolute() if self.log_folder else data / "log"

    def origin(self, public_url: str) -> str:
        """What the first log is called, should there be none yet."""
        return self.log_origin or f"{public_url.partition('://')[2].rstrip('/')}/log"
