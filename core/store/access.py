"""Who had access to production: the hosts that report it, what each reported, and the accesses that this amounts to."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from core.store.base import Base, Id, index_where


class Host(Base):
    """A machine whose accesses are reported. `name` is public; `public_key` is an OpenSSH line, which signs its reports.

    `taken`: the number of its newest report that is taken in, all before it too. `claimed`: the newest that it says there is.
    `beat`: the number of its newest heartbeat, made at `beat_at` by its own clock and heard at `heard_at` by ours.
    `boot`: its run of the machine, as its newest heartbeat names it. `refused`: how many reports of it did not hold.
    """

    __tablename__ = "hosts"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    name: Mapped[str] = mapped_column(sa.String(64))
    public_key: Mapped[str] = mapped_column(sa.Text)
    added_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    taken: Mapped[int] = mapped_column(default=0)
    claimed: Mapped[int] = mapped_column(default=0)
    beat: Mapped[int] = mapped_column(default=0)
    beat_at: Mapped[datetime | None]
    heard_at: Mapped[datetime | None]
    silent_at: Mapped[datetime | None]
    boot: Mapped[str] = mapped_column(sa.String(64), default="")
    refused: Mapped[int] = mapped_column(default=0)
    __table_args__ = (index_where("retired_at IS NULL", "uq_hosts_name_there", "name", unique=True),)


class AccessReport(Base):
    """One signed report of a host's, as it came. `lost`: the host says that this number's report was lost, or it never came."""

    __tablename__ = "access_reports"
    host_id: Mapped[int] = mapped_column(sa.ForeignKey("hosts.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(sa.Text)
    signature: Mapped[str] = mapped_column(sa.Text)
    received_at: Mapped[datetime]
    lost: Mapped[bool] = mapped_column(default=False)


class Access(Base):
    """One access of a person to production. `session`: the host's word for it, "" for those that the portal itself saw.

    `kind` is ssh, sftp, database or portal; `role` what strangers read of the person ("administrator"); `person` and `origin` (from where)
    are for the installation's auditors alone. Times are the host's; `skewed_s`: how far its clock was from ours, where that is known
    and worth a word. `ending` is "" while it is open, else "closed", or "lost" where the host stopped before it could say so.
    """

    __tablename__ = "accesses"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    host_id: Mapped[int | None] = mapped_column(sa.ForeignKey("hosts.id"))
    session: Mapped[str] = mapped_column(sa.String(96), default="")
    kind: Mapped[str] = mapped_column(sa.String(16))
    role: Mapped[str] = mapped_column(sa.String(32))
    person: Mapped[str] = mapped_column(sa.String(320), default="")
    origin: Mapped[str] = mapped_column(sa.String(320), default="")
    started_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ending: Mapped[str] = mapped_column(sa.String(16), default="")
    skewed_s: Mapped[int | None]
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    reason_at: Mapped[datetime | None]
    __table_args__ = (
        index_where("session <> ''", "uq_accesses_session", "host_id", "session", unique=True),
        sa.Index("ix_accesses_started", "started_at"),
    )
