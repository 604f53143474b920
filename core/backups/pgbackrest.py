"""PostgreSQL's engine: pgBackRest copies and keeps, we say which moment counts, hash what was live at it, and open what comes back.

A backup of ours is a pgBackRest backup and a restore point some moments after it: recovery goes to that point exactly, and the
manifest holds what a snapshot of the very same moment saw. Writers wait for milliseconds, while the point is made.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from core.backups import scratch_server
from core.backups.engine import BackupError, Taken
from core.backups.manifest import Manifest, Table
from core.backups.owner import Owner, run
from core.backups.pg_point import Point, make_point, require_means
from core.backups.pg_tables import tables_of
from core.backups.pgbackrest_program import Program, Repository, Stored, readable, trouble

_LOOK_S: Final = 20.0
_COPY_S: Final = 6 * 3600.0
_ARCHIVED_S: Final = 120.0
_LABEL: Final = re.compile(r"\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?")
_POINT: Final = re.compile(r"kc-[0-9A-Za-z-]{1,60}")
_PLAIN_RESTORE: Final = (
    "--reset-link-map",
    "--reset-db-include",
    "--reset-db-exclude",
    "--reset-tablespace-map",
    "--reset-recovery-option",
    "--no-link-all",
    "--no-delta",
)
"""Nothing in a configuration may send a part of the restored cluster elsewhere, or leave a part out."""


@dataclass(frozen=True, slots=True)
class PgBackRest:
    """`config` and `stanza` are pgBackRest's; `url` is the live database, with a login as `core.backups.pg_point.make_point` needs it."""

    config: Path
    stanza: str
    url: str

    @property
    def name(self) -> str:
        """As manifests call it."""
        return "postgresql"

    @property
    def _program(self) -> Program:
        return Program(self.config, self.stanza)

    def take(self, scratch: Path, *, now: Callable[[], datetime], full: bool) -> Taken:  # noqa: ARG002 - the repository is elsewhere
        """Let pgBackRest copy, then make the point and the manifest. Returns when the WAL up to the point is in the repository."""
        program = self._program
        require_means(self.url)
        if not program.repository().has_stanza:
            program.run("stanza-create")
            program.run("check")
        program.run("backup", f"--type={'full' if full else 'incr'}", "--no-expire-auto", within_s=_COPY_S)  # retention is `tidy`'s
        backup = _newest(program.repository())
        if backup.faulty_pages:
            raise BackupError(
                "damaged", f"Pages of the live cluster fail their checksums: `pgbackrest info --set={backup.label}` names the files."
            )
        with make_point(self.url, now) as point:
            manifest = _manifest(point, backup.label)
            self._wait_for_segment(point)
        return Taken(manifest, None, backup.stored_bytes)

    def _wait_for_segment(self, point: Point) -> None:
        point.archived(within_s=_ARCHIVED_S)  # what counts is what the repository says
        newest = self._program.repository().newest_segment
        if newest[:8] != point.segment[:8] or newest < point.segment:
            words = f"The repository has WAL up to {newest or 'nothing'}, and the restore point stands in {point.segment}."
            raise BackupError("missing WAL", f"{words} {point.failure()} See archive_command and the server's log.")

    def restore(self, manifest: Manifest, copy: Path | None, into: Path) -> None:  # noqa: ARG002 - there is no copy
        """Restore into `into`, beside the live cluster and never over it. What a failed restore wrote is taken away again."""
        if not _LABEL.fullmatch(manifest.label):
            raise BackupError("missing", f"{manifest.label!r} is no label of a pgBackRest backup.")
        if not _POINT.fullmatch(manifest.point):
            raise BackupError("missing WAL", f"{manifest.point!r} is no restore point of KeyChest's.")
        program, live = self._program, self._program.live()
        place, owner = into.resolve(), program.owner()
        _refuse_over(live, place)
        with _made(place, owner):
            reached = run(owner, ["test", "-w", str(place)], within_s=_LOOK_S).code == 0
            if not reached:
                words = f"PostgreSQL's user cannot reach {place}. Restore into a folder that is open to it all the way down."
                raise BackupError("refused", words)
            self._restore(manifest, place, owner)

    def _restore(self, manifest: Manifest, place: Path, owner: Owner) -> None:
        program = self._program
        program.run(
            "restore",
            f"--pg1-path={place}",
            f"--set={manifest.label}",
            f"--target={manifest.point}",
            f"--tablespace-map-all={place}/tablespaces",  # which pgBackRest refuses: better than over those of the live cluster
            "--type=name",
            "--target-action=promote",
            "--target-timeline=current",
            "--archive-mode=off",
            *_PLAIN_RESTORE,
            within_s=_COPY_S,
        )
        options = (f"--pg1-path={place}", "--no-archive-async", "--log-level-stderr=info")
        fetch = shlex.join(word for word in program.words("archive-get", *options) if word != "--log-level-stderr=warn").replace("%", "%%")
        recovery = {
            "restore_command": f'{fetch} %f "%p"',
            "recovery_target_name": manifest.point,
            "recovery_target_action": "promote",
            "recovery_target_timeline": "current",
        }
        scratch_server.isolate(place, owner, self._login, recovery)

    def opened(self, into: Path) -> AbstractContextManager[str]:
        """A server on what `restore` made, recovered to its point. "missing WAL" when the repository's WAL does not lead there."""
        made = sa.make_url(self.url)
        return scratch_server.serving(into.resolve(), self._program.owner(), login=self._login, database=made.database or self._login)

    @property
    def _login(self) -> str:
        login = sa.make_url(self.url).username
        if not login:
            raise BackupError("refused", "The URL of the database names no login.")
        return login

    def tables(self, url: str) -> tuple[Table, ...]:
        """Counts and hashes of all ordinary tables of any database."""
        return tables_of(url)

    def info(self) -> list[str]:
        """Labels in the repository, oldest first. Raises BackupError."""
        return [backup.label for backup in self._program.repository().backups]

    def expire(self, label: str) -> None:
        """Forget a backup and all that build on it, for retention only. Raises BackupError: "refused" when the newest is among them."""
        stored = self._program.repository()
        if label not in [backup.label for backup in stored.backups]:
            raise BackupError("missing", f"The repository holds no backup {label}.")
        builds_on = {backup.label: backup.prior for backup in stored.backups}
        kept = _newest(stored).label
        while kept:
            if kept == label:
                raise BackupError("refused", f"{label} stays: it is the newest backup, or the newest builds on it.")
            kept = builds_on[kept]
        self._program.run("expire", f"--set={label}")

    def tidy(self, kept: Collection[str]) -> None:
        """Forget what none of these needs, and the newest does not either; and the WAL from before the oldest backup that stays."""
        stored = self._program.repository()
        if not stored.backups:
            return
        builds_on = {backup.label: backup.prior for backup in stored.backups}
        needed: set[str] = set()
        for label in (*kept, _newest(stored).label):
            while label and label not in needed:
                needed.add(label)
                label = builds_on.get(label, "")  # noqa: PLW2901 - down to the full backup that it builds on
        for backup in stored.backups:
            if backup.label not in needed and (not backup.prior or backup.prior in needed):  # with it goes all that builds on it
                self._program.run("expire", f"--set={backup.label}")
        full = sum(not backup.prior for backup in self._program.repository().backups)
        # As many as there are: no backup goes by this, only WAL that leads to none. Points later than a backup need all WAL after it.
        self._program.run("expire", f"--repo1-retention-full={full}", "--repo1-retention-full-type=count")

    def verify(self, label: str) -> None:
        """Have pgBackRest read and check everything in the repository, for its exit code says nothing. Raises BackupError.

        Not only this backup: 2.45 knows no other way. What it finds at any place counts, and a label that it does not name is missing.
        """
        self._program.repository()  # it says which trouble; verify is silent about a wrong passphrase
        ran = self._program.attempt("verify", "--output=text", "--verbose", within_s=_COPY_S)
        if ran.code != 0:
            raise trouble(ran.code, f"{ran.out}\n{ran.err}", doing="verify")
        if not re.search(r"^status: ok$", ran.out, re.MULTILINE):
            raise BackupError("damaged", f"The repository is damaged. pgBackRest's verify said: {readable(ran.out)} {readable(ran.err)}")
        if not re.search(rf"^ *backup: {re.escape(label)}, status: valid,", ran.out, re.MULTILINE):
            raise BackupError("missing", f"The repository holds no whole backup {label}. pgBackRest's verify said: {readable(ran.out)}")


def _newest(stored: Repository) -> Stored:
    if not stored.backups:
        raise BackupError("missing", "The repository holds no backup.")
    return stored.backups[-1]


def _manifest(point: Point, label: str) -> Manifest:
    """What the point's snapshot sees."""
    return Manifest(
        engine="postgresql",
        at=point.at,
        installation=str(point.ask("ref", table="installation") or ""),
        revision=str(point.ask("version_num", table="alembic_version") or ""),
        head=int(point.ask("sum(size)", table="audit_logs") or 0) + int(point.ask("count(*)", table="audit_outbox") or 0),
        accounts=int(point.ask("count(*) FILTER (WHERE deleted_at IS NULL)", table="accounts") or 0),
        tables=point.count(),
        label=label,
        point=point.name,
    )


def _refuse_over(live: Path, place: Path) -> None:
    """Refuse what holds something, and the live data directory under whatever name: also when it is empty, also a folder in it."""
    for folder in (place, *place.parents):
        with contextlib.suppress(OSError):
            if folder.samefile(live):
                raise BackupError("refused", f"{place} is the live data directory. Restore beside it. Nothing was touched.")
    if place == live.resolve():
        raise BackupError("refused", f"{place} is where the live data directory belongs. Restore beside it. Nothing was touched.")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise BackupError("refused", f"{place} is there already and not empty. Nothing was touched.")


@contextmanager
def _made(place: Path, owner: Owner) -> Iterator[None]:
    """Make an empty folder of the owner's; when the block fails it is empty again, or gone where it was not there before."""
    before = place.exists()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.chmod(0o700)
        owner.give(place)
    except OSError as error:
        raise BackupError("refused", f"{place} cannot be written to: {error.strerror}. Nothing was restored.") from error
    try:
        yield
    except BaseException:
        _empty(place)
        if not before:
            place.rmdir()
        raise


def _empty(place: Path) -> None:
    for each in place.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
