"""The log's tables: the outbox that every act appends to, the entries, and what only their commitments tell of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from core.store.base import Base, BigId, Id


class OutboxEvent(Base):
    """An event as its action told it: `public` holds coarse fields, `private` what only commitments will show.

    Rows are added by actions, in their own transactions, and taken away by the sequencer alone, as it makes entries of them.
    """

    __tablename__ = "audit_outbox"
    id: Mapped[Id]
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(sa.String(64))
    actor: Mapped[str] = mapped_column(sa.String(32))
    account_ref: Mapped[str] = mapped_column(sa.String(16), default="")
    public: Mapped[dict[str, Any]]
    private: Mapped[dict[str, Any]]


class Log(Base):
    """A log, from its origin's first entry on: the last row is the one that goes on. `reason`: why it follows another one.

    `size`, `frontier` and `note` (the checkpoint) are written with the entries, in one transaction; `note` is "" before the first entry.
    `trouble` is why the sequencer signs nothing, in words, or "".
    """

    __tablename__ = "audit_logs"
    number: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(default="")
    begun_at: Mapped[datetime]
    origin: Mapped[str] = mapped_column(default="")
    size: Mapped[int] = mapped_column(default=0)
    frontier: Mapped[bytes] = mapped_column(default=b"")
    note: Mapped[str] = mapped_column(default="")
    signed_at: Mapped[datetime | None]
    logged_at: Mapped[datetime | None]
    trouble: Mapped[str] = mapped_column(default="")
    trouble_at: Mapped[datetime | None]


class LogEntry(Base):
    """An entry: the bytes that strangers see. Rows are only ever added; both databases refuse to change or delete one."""

    __tablename__ = "audit_entries"
    log: Mapped[int] = mapped_column(BigId, sa.ForeignKey("audit_logs.number"), primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column("entry_index", BigId, primary_key=True, autoincrement=False)
    body: Mapped[bytes]


class PrivatePart(Base):
    """What an entry only commits to: who, in which account, when exactly, and every value with its salt. Erasing deletes the row."""

    __tablename__ = "audit_private"
    __table_args__ = (
        sa.Index("ix_audit_private_account_ref", "account_ref", "log", "entry_index"),
        sa.Index("ix_audit_private_actor", "actor", "log", "entry_index"),
    )
    log: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column("entry_index", BigId, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(sa.String(64))
    actor: Mapped[str] = mapped_column(sa.String(32))
    account_ref: Mapped[str] = mapped_column(sa.String(16))
    sealed: Mapped[dict[str, Any]]


class CountedEvent(Base):
    """Something that is counted by the hour rather than told by itself. `log` and `index` name the entry that counts it, None until then.

    That entry shows a digest over all `commitment`s, which stay; `salt` and what was committed to can be erased.
    """

    __tablename__ = "audit_counted"
    __table_args__ = (sa.Index("ix_audit_counted_waiting", "entry_index", "id"), sa.Index("ix_audit_counted_actor", "actor", "id"))
    id: Mapped[Id]
    log: Mapped[int | None]
    index: Mapped[int | None] = mapped_column("entry_index", BigId)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(sa.String(64))
    actor: Mapped[str] = mapped_column(sa.String(32))
    commitment: Mapped[str] = mapped_column(sa.String(64))
    salt: Mapped[str] = mapped_column(sa.String(64))
    public: Mapped[dict[str, Any]]
    private: Mapped[dict[str, Any]]


class Erasure(Base):
    """The private part of an entry was erased. The sequencer keeps a list of these outside the database, and replays it after a restore."""

    __tablename__ = "audit_erasures"
    id: Mapped[Id]
    log: Mapped[int]
    index: Mapped[int] = mapped_column("entry_index", BigId)
    at: Mapped[datetime]
