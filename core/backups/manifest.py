"""What a backup holds: every table's rows and an ordered hash of them, taken from the live database in the backup's own transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

FORMAT: Final = "keychest-backup/1"
WHOLE: Final = 100.0
_NEARLY: Final = 99.999
"""The most that anything less than whole is called, however little is missing."""


class UnreadableManifest(ValueError):  # noqa: N818 - what is known of the file, not a fault of ours
    """A file that is no manifest of ours. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table: how many rows, and the SHA-256 of all of them in the order of their key."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was live at `at`.

    `installation`: the reference of the installation; `revision`: of the schema; `head`: how much the log was told by then;
    `accounts`: how many were alive. `label` and `point` are pgBackRest's label and the restore point, "" for SQLite.
    `plain_bytes` and `plain_sha256` are of the database file before sealing, 0 and "" for PostgreSQL.
    """

    engine: str
    at: datetime
    installation: str
    revision: str
    head: int
    accounts: int
    tables: tuple[Table, ...]
    label: str = ""
    point: str = ""
    plain_bytes: int = 0
    plain_sha256: str = ""

    @property
    def rows(self) -> int:
        """Rows in all tables together."""
        return sum(table.rows for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """As it is kept in the database and beside the backup."""
        return {
            "format": FORMAT,
            "engine": self.engine,
            "at": self.at.astimezone(UTC).isoformat(),
            "installation": self.installation,
            "revision": self.revision,
            "head": self.head,
            "accounts": self.accounts,
            "tables": {table.name: {"rows": table.rows, "sha256": table.sha256} for table in self.tables},
            "label": self.label,
            "point": self.point,
            "plain_bytes": self.plain_bytes,
            "plain_sha256": self.plain_sha256,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Manifest:
        """Raises UnreadableManifest for anything else than `to_json` wrote."""
        if kept.get("format") != FORMAT:
            raise UnreadableManifest(f"It is in the format {kept.get('format')!r}, which this version does not read.")
        try:
            tables = tuple(Table(str(name), int(each["rows"]), str(each["sha256"])) for name, each in sorted(kept["tables"].items()))
            return cls(
                engine=str(kept["engine"]),
                at=datetime.fromisoformat(kept["at"]),
                installation=str(kept["installation"]),
                revision=str(kept["revision"]),
                head=int(kept["head"]),
                accounts=int(kept["accounts"]),
                tables=tables,
                label=str(kept["label"]),
                point=str(kept["point"]),
                plain_bytes=int(kept["plain_bytes"]),
                plain_sha256=str(kept["plain_sha256"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnreadableManifest(f"It is damaged: {type(error).__name__} at {error}.") from None


def read_manifest(content: bytes) -> Mapping[str, Any]:
    """The JSON object in a manifest's file. Raises UnreadableManifest."""
    try:
        kept = json.loads(content)
    except ValueError:
        raise UnreadableManifest("It is no JSON.") from None
    if not isinstance(kept, dict):
        raise UnreadableManifest("It is no JSON object.")
    return kept


@dataclass(frozen=True, slots=True)
class Difference:
    """A table whose restored rows are not those that were live. None: the table is not there at all on that side."""

    table: str
    live_rows: int | None
    restored_rows: int | None

    @property
    def words(self) -> str:
        """What is wrong with the table, in a few words."""
        if self.restored_rows is None:
            return f"{self.table} is missing ({self.live_rows:,} rows were live)"
        if self.live_rows is None:
            return f"{self.table} was not there when the backup was made ({self.restored_rows:,} rows)"
        if self.live_rows != self.restored_rows:
            return f"{self.table} has {self.restored_rows:,} of {self.live_rows:,} rows"
        return f"{self.table} has as many rows ({self.live_rows:,}), but not the same"


def differences(live: Sequence[Table], restored: Sequence[Table]) -> tuple[Difference, ...]:
    """Where restored tables are not the live ones, by table name."""
    before, after = ({table.name: table for table in tables} for tables in (live, restored))
    return tuple(
        Difference(name, before[name].rows if name in before else None, after[name].rows if name in after else None)
        for name in sorted(before | after)
        if before.get(name) != after.get(name)
    )


def fidelity(live: Sequence[Table], restored: Sequence[Table]) -> float:
    """Of what was live, the share in per cent that stands in tables that came back the same. An empty table weighs as one row.

    100.0 exactly when all tables are the same; below it never more than 99.999, so that no rounding hides a difference.
    """
    differing = {each.table for each in differences(live, restored)}
    if not differing and live:
        return WHOLE
    weight = sum(max(1, table.rows) for table in live)
    same = sum(max(1, table.rows) for table in live if table.name not in differing)
    return min(_NEARLY, round(100 * same / weight, 3)) if weight else 0.0
