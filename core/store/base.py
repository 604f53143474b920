"""What every table shares: the declarative base, column types that keep their promise on both engines, and references."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NewType

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column, registry

Ref = NewType("Ref", str)
"""A public reference: 16 characters, 80 random bits, safe in an address. Row numbers never leave the installation."""

IN_BIN_FOR: Final = timedelta(days=30)
"""So long what was removed can be brought back, of every kind; then it is purged."""

_ALPHABET = b"abcdefghijkmnpqrstuvwxyz23456789"
_OURS = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", _ALPHABET)
_NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def new_ref() -> Ref:
    """A reference nobody can guess."""
    return Ref(base64.b32encode(secrets.token_bytes(10)).translate(_OURS).decode())


class Utc(sa.types.TypeDecorator[datetime]):
    """An instant. Naive values are refused; what comes back is aware UTC, also from SQLite, which drops the zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def __repr__(self) -> str:  # what a generated migration writes
        return "Utc()"

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Refuse a naive value, which would mean another instant on another machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002 - as above
        """Aware UTC."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Json(sa.types.TypeDecorator[Any]):
    """JSON text on SQLite, jsonb on PostgreSQL."""

    impl = sa.JSON
    cache_ok = True

    def __repr__(self) -> str:  # what a generated migration writes
        return "Json()"

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Jsonb where there is such a thing."""
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else sa.JSON())


BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by itself only in INTEGER columns
Id = Annotated[int, mapped_column(BigId, primary_key=True)]


class Base(DeclarativeBase):
    """Every table's base. A registry, since flask-sqlalchemy refuses a type_annotation_map beside it."""

    registry = registry(
        metadata=sa.MetaData(naming_convention=_NAMING),
        type_annotation_map={
            datetime: Utc(),
            dict[str, Any]: Json(),
            list[str]: Json(),
            str: sa.Text(),
            int: BigId,
            bytes: sa.LargeBinary(),
        },
    )


def index_where(where: str, name: str, *columns: str, unique: bool = False) -> sa.Index:
    """An index over the rows that meet a condition, on both engines alike."""
    return sa.Index(name, *columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def live_index(name: str, *columns: str, unique: bool = False) -> sa.Index:
    """An index over the rows that are not in the bin."""
    return index_where("deleted_at IS NULL", name, *columns, unique=unique)
