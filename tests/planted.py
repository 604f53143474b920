"""Marks that lie where no export may reach: secrets of an account's own, and everything of another account."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.policy import Actor
from core.store.accounts import Membership
from core.store.base import Base
from core.store.exports import ExportPlan
from core.store.observations import Certificate
from tests.make import NOW

_WORD: Final = "canary"
MARKS: Final = (_WORD.encode(), base64.b64encode(_WORD.encode()).lower(), _WORD.encode().hex().encode(), b"2001-02-03")
"""How they look in a file, in lower case: as they are, as base64, as hex, and as a day long before anything else."""
_LONG_AGO: Final = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
_THEIRS: Final = frozenset({
    "account_rules", "accounts", "certificates", "domain_cards", "domain_tags", "domains", "endpoints", "export_plans",
    "imported_certificates", "imported_chains", "imported_incidents", "imported_observations", "imported_people", "imports", "incidents",
    "memberships", "observations", "tags", "users", "watches",
})  # fmt: skip
"""Tables that exports are made of: the marked row in them is another account's. In all others it is the account's own, or nobody's."""


def plant(session: Session, owner: Actor, *, deleted: bool) -> set[str]:
    """Plant a row in every table but the log's; the columns that have a mark. The other account's are live, or in the bin (`deleted`)."""
    tables = Base.metadata.tables
    owned = (Membership.account_id == owner.account_id, Membership.role == "owner")
    mine = {"accounts.id": owner.account_id, "users.id": session.scalars(sa.select(Membership.user_id).where(*owned)).one()}
    session.execute(tables["users"].update().values(password_hash=_WORD))
    session.execute(sa.update(Certificate).values(first_seen_at=_LONG_AGO))
    plan = {
        "every": "daily",
        "history": "none",
        "place": "s3",
        "address": "s3.example/b",
        "recipient": "",
        "ref": "own",
        "deleted_at": None,
    }
    session.execute(sa.insert(ExportPlan).values(_row(tables["export_plans"], mine) | plan))
    planted = {"users.password_hash", "certificates.first_seen_at"}
    theirs: dict[str, Any] = {}
    for table in Base.metadata.sorted_tables:
        if table.name.startswith("audit_") or table.name == "installation":
            continue
        row = _row(table, theirs if table.name in _THEIRS else theirs | mine)
        if "deleted_at" in row:
            row["deleted_at"] = NOW if deleted else None
        key = session.connection().execute(sa.insert(table).values(row)).inserted_primary_key
        assert key is not None
        if len(key) == 1:
            theirs[f"{table.name}.{next(iter(table.primary_key)).name}"] = key[0]
        planted |= {f"{table.name}.{name}" for name, value in row.items() if value in (_WORD, _WORD.encode(), [_WORD])}
    return planted


def _row(table: sa.Table, links: dict[str, Any]) -> dict[str, Any]:
    """A row with a mark wherever one fits, that belongs to what `links` says."""
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.foreign_keys:
            row[column.name] = links.get(next(iter(column.foreign_keys)).target_fullname)
        elif column.name != "id":
            row[column.name] = _mark(column.type)
    return row


def _mark(kind: sa.types.TypeEngine[Any]) -> Any:
    if isinstance(kind, sa.LargeBinary):
        return _WORD.encode()
    if isinstance(kind, sa.String):
        return _WORD[: kind.length]
    if isinstance(kind, sa.Boolean):
        return False
    if isinstance(kind, sa.Integer | sa.Float):
        return 7
    return [_WORD] if type(kind).__name__ == "Json" else _LONG_AGO
