"""Imports into an account: what was handed in, what it changed, so that it can be undone, and the history that came with it.

Nothing that a file claims was seen is written to observations, certificates or findings, which accounts share: it stands in tables of the
account's own, is shown as imported, and goes out again with the next export as it came.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from core.store.base import Base, Id, Json, index_where, live_index


class Import(Base):
    """A file that somebody handed in. It lies outside the database until it is applied or dropped.

    `state`: waiting (to be read), reading, previewed, refused (`error` says why), wanted (to be applied), applying, applied, undone,
    dropped. `form` is bundle, list, csv or kuma; `trust` what its signature is worth (core.exports.form). `summary` counts what would
    happen, and after applying what did; `choices` is what its person chose of it. Who chose is `handed_in_by` from then on: it is applied
    as far as they may.
    """

    __tablename__ = "imports"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"), index=True)
    handed_in_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    handed_in_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(sa.String(16), default="waiting")
    name: Mapped[str] = mapped_column(sa.String(160), default="")
    form: Mapped[str] = mapped_column(sa.String(8), default="")
    version: Mapped[int] = mapped_column(default=0)
    bytes: Mapped[int] = mapped_column(default=0)
    sha256: Mapped[str] = mapped_column(sa.String(64), default="")
    trust: Mapped[str] = mapped_column(sa.String(16), default="")
    signer: Mapped[str] = mapped_column(sa.String(256), default="")
    summary: Mapped[dict[str, Any]]
    choices: Mapped[dict[str, Any]]
    step: Mapped[str] = mapped_column(sa.String(32), default="")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    claim: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(default="")
    applied_at: Mapped[datetime | None]
    undone_at: Mapped[datetime | None]
    __table_args__ = (index_where("state IN ('waiting', 'reading', 'wanted', 'applying')", "ix_imports_waiting", "id"),)


class ImportChange(Base):
    """What an import changed, some hundred rows in each: `what` says which kind, `before` and `after` how it was and became."""

    __tablename__ = "import_changes"
    id: Mapped[Id]
    import_id: Mapped[int] = mapped_column(sa.ForeignKey("imports.id"), index=True)
    what: Mapped[str] = mapped_column(sa.String(24))
    before: Mapped[Any] = mapped_column(Json())
    after: Mapped[Any] = mapped_column(Json())


class ImportedObservation(Base):
    """A line of somebody's observations, as it came. The columns before `line` are what it is sorted and found by."""

    __tablename__ = "imported_observations"
    id: Mapped[Id]
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    import_id: Mapped[int] = mapped_column(sa.ForeignKey("imports.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(253))
    port: Mapped[int] = mapped_column(sa.Integer)
    starttls: Mapped[str] = mapped_column(sa.String(16))
    fixed: Mapped[str] = mapped_column(sa.String(64))
    perspective: Mapped[str] = mapped_column(sa.String(32))
    address: Mapped[str] = mapped_column(sa.String(64))
    key_asked: Mapped[str] = mapped_column(sa.String(8))
    seen_at: Mapped[datetime]
    content_sha256: Mapped[str] = mapped_column(sa.String(64))
    line: Mapped[str]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("ix_imported_observations", "account_id", "name", "port", "starttls", "fixed"),)


class ImportedIncident(Base):
    """A line of somebody's incidents, as it came."""

    __tablename__ = "imported_incidents"
    id: Mapped[Id]
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    import_id: Mapped[int] = mapped_column(sa.ForeignKey("imports.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(253))
    port: Mapped[int] = mapped_column(sa.Integer)
    starttls: Mapped[str] = mapped_column(sa.String(16))
    fixed: Mapped[str] = mapped_column(sa.String(64))
    opened_at: Mapped[datetime]
    check: Mapped[str] = mapped_column(sa.String(32))
    certificate: Mapped[str] = mapped_column(sa.String(64))
    line: Mapped[str]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("ix_imported_incidents", "account_id", "name", "port", "starttls", "fixed"),)


class ImportedCertificate(Base):
    """A certificate that came with a bundle. Whether this installation has seen it too is nobody's matter here."""

    __tablename__ = "imported_certificates"
    id: Mapped[Id]
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    import_id: Mapped[int] = mapped_column(sa.ForeignKey("imports.id"), index=True)
    sha256: Mapped[str] = mapped_column(sa.String(64))
    der: Mapped[bytes]
    line: Mapped[str]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("uq_imported_certificates_live", "account_id", "sha256", unique=True),)


class ImportedChain(Base):
    """A chain that came with a bundle: the digests of its certificates, in the order in which they were sent."""

    __tablename__ = "imported_chains"
    id: Mapped[Id]
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    import_id: Mapped[int] = mapped_column(sa.ForeignKey("imports.id"), index=True)
    chain: Mapped[str] = mapped_column(sa.String(64))
    certificates: Mapped[list[str]]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("uq_imported_chains_live", "account_id", "chain", unique=True),)


class ImportedPerson(Base):
    """Who a bundle says is responsible for a name, while no member of the account has this address. Roles are never taken from a file."""

    __tablename__ = "imported_people"
    id: Mapped[Id]
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    import_id: Mapped[int] = mapped_column(sa.ForeignKey("imports.id"), index=True)
    domain_id: Mapped[int] = mapped_column(sa.ForeignKey("domains.id"))
    email: Mapped[str] = mapped_column(sa.String(320))
    deleted_at: Mapped[datetime | None]
    __table_args__ = (
        live_index("uq_imported_people_live", "domain_id", unique=True),
        live_index("ix_imported_people", "account_id", "email"),
    )
