"""What backups are made with: targets, keys, engine, intervals. Built once from the settings by whoever starts a process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from core.backups.engine import BackupError, Engine
from core.backups.pgbackrest_program import Program
from core.backups.retention import Keep
from core.backups.secret_kinds import Place
from core.targets import Target, TargetError, open_target
from core.targets.directory import DirectoryTarget

_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of backups, with `config.Settings`' meanings. `settings`: all that are set, by their names, for the recovery kit."""

    data: Path
    production: bool
    database_url: str = field(repr=False)
    target_urls: tuple[str, ...] = field(default=(), repr=False)
    recovery_key: str = ""
    interval_s: float = 86_400.0
    max_age_s: float = 93_600.0
    keep: str = ""
    pgbackrest_config: str = ""
    pgbackrest_stanza: str = "keychest"
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def interval(self) -> timedelta:
        """Between two backups."""
        return timedelta(seconds=self.interval_s)

    @property
    def longest_age(self) -> timedelta:
        """The recovery-point goal."""
        return timedelta(seconds=self.max_age_s)

    @property
    def retention(self) -> Keep:
        """How many backups are kept."""
        return Keep.read(self.keep)

    @property
    def postgresql(self) -> bool:
        """Whether the database is a PostgreSQL."""
        return self.database_url.startswith("postgres")

    @property
    def engine_name(self) -> str:
        """As `Engine.name`."""
        return "postgresql" if self.postgresql else "sqlite"

    def engine(self) -> Engine:
        """The engine that copies and restores the database. Raises BackupError where none is set up."""
        if self.postgresql:
            if not self.pgbackrest_config:
                raise BackupError(
                    "refused",
                    "KEYCHEST_PGBACKREST_CONFIG is not set, so PostgreSQL is not backed up. docs/runbook.md says how to set pgBackRest up.",
                )
            from core.backups.pgbackrest import PgBackRest

            return PgBackRest(Path(self.pgbackrest_config), self.pgbackrest_stanza, self.database_url)
        from core.backups.sqlite import Sqlite

        return Sqlite(self.database_file)

    @property
    def database_file(self) -> Path:
        """The file of an SQLite database."""
        return Path(self.database_url.removeprefix(_SQLITE))

    def targets(self) -> tuple[Target, ...]:
        """Where backups are put, in the order they were named; a folder under the data folder where none was. Raises BackupError."""
        try:
            return tuple(open_target(url) for url in self.target_urls or (self.default_target,))
        except ValueError as error:
            raise BackupError("refused", f"KEYCHEST_BACKUP_TARGETS: {error}") from None

    @property
    def default_target(self) -> str:
        """A folder beside the database: better than nothing, and lost with the disk."""
        return (self.data.resolve() / "backups").as_uri()

    def place(self) -> Place:
        """Where the installation's secrets are."""
        return Place(self.data, self.settings, Path(self.pgbackrest_config) if self.pgbackrest_config else None)

    def weaknesses(self) -> tuple[str, ...]:
        """What is weak about where backups are put, in words, for those who run the installation."""
        found = [f"{shown} lies on the database's own filesystem: what takes the one takes the other." for shown in self.beside_database()]
        if len(self.target_urls) < 2:  # noqa: PLR2004 - two places, so that no one loss takes both
            found.append(
                "There is one target only, so recovery kit and escrow lie beside the backups. Name a second one in KEYCHEST_BACKUP_TARGETS."
            )
        if self.postgresql and self.pgbackrest_config:
            with suppress(BackupError):  # what cannot be read is told where it is used
                found += self._program.weaknesses()
        return tuple(found)

    def beside_database(self) -> tuple[str, ...]:
        """Targets on the database's own filesystem, as people know them; pgBackRest's repository among them."""
        home = self.data if self.postgresql or not self.database_file.exists() else self.database_file
        found = []
        try:
            if self.postgresql and self.pgbackrest_config:
                home, (shown, folder) = self._program.live(), self._program.kept_in()
                if folder is not None and DirectoryTarget(folder).device() == DirectoryTarget(home).device():
                    found.append(shown)
            device = DirectoryTarget(home).device()
            found += [each.shown for each in self.targets() if isinstance(each, DirectoryTarget) and each.device() == device]
        except (TargetError, BackupError):  # what cannot be looked at is told where it is used
            return tuple(found)
        return tuple(found)

    @property
    def _program(self) -> Program:
        return Program(Path(self.pgbackrest_config), self.pgbackrest_stanza)

    def repository(self) -> str:
        """The engine's own repository, for people; "" where backups lie at the targets alone. Raises BackupError."""
        return self._program.kept_in()[0] if self.postgresql and self.pgbackrest_config else ""

    def require_apart(self) -> None:
        """Raises BackupError in production where a target lies on the database's own filesystem."""
        beside = self.beside_database()
        if self.production and beside:
            raise BackupError(
                "refused",
                f"{', '.join(beside)} lies on the database's own filesystem, so one loss would take both. Name a target on another disk or "
                "another machine in KEYCHEST_BACKUP_TARGETS. Nothing was backed up.",
            )
