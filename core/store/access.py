"""Who had access to production: the hosts that report it, what each reported, and the accesses that this amounts to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.accounts import Account, User
from core.store.base import Base, Id, index_where
from core.store.impersonations import Impersonation


class Host(Base):
    """A machine whose accesses are reported. `name` is public; `public_key` is an OpenSSH line, which signs its reports.

    `taken`: the number of its newest report that is taken in, all before it too. `claimed`: the newest that it says there is.
    `beat`: the number of its newest heartbeat, made at `beat_at` by its own clock and heard at `heard_at` by ours.
    `boot`: its run of the machine, as its newest heartbeat names it. `skew_s`: how far its clock was ahead of ours then. `refused`: how
    many times something in its name did not hold, counted once a minute at most; `refused_at`: when last.
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
    skew_s: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    refused_at: Mapped[datetime | None]
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
    """One access of a person to production. `session`: the host's word for it; without a host, which process on this machine it is.

    `kind` is ssh, sftp, database or portal; `role` what strangers read of the person ("administrator"); `person` and `origin` (from where)
    are for the installation's auditors alone. Times are the host's; `skewed_s`: how far its clock was from ours, where that is known
    and worth a word. `ending` is "" while it is open, else "closed", or "lost" where the host stopped before it could say so.
    `hidden`: the reason names what is somebody's, and strangers are told only that there is one.
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
    hidden: Mapped[bool] = mapped_column(default=False)
    __table_args__ = (
        index_where("session <> ''", "uq_accesses_session", "host_id", "session", unique=True),
        sa.Index("ix_accesses_started", "started_at"),
    )


@dataclass(frozen=True, slots=True)
class AccessLine:
    """An access as those who run the installation see it. `host` is "" for what the portal itself saw; `account`: whose was looked at."""

    ref: str
    host: str
    kind: str
    role: str
    person: str
    origin: str
    account: str
    started_at: datetime
    ended_at: datetime | None
    ending: str
    reason: str
    reason_at: datetime | None
    hidden: bool
    skewed_s: int | None
    told_at: datetime


@dataclass(frozen=True, slots=True)
class HostLine:
    """A host and how it stands. `lost`: numbers whose reports never came; `waiting`: those that it has and that did not come yet."""

    name: str
    added_at: datetime
    heard_at: datetime | None
    silent_at: datetime | None
    lost: int
    waiting: int
    refused: int
    skew_s: int
    open: int


def host_named(session: Session, name: str) -> Host | None:
    """The host that is called so now."""
    return session.scalar(sa.select(Host).where(Host.name == name, Host.retired_at.is_(None)))


def hosts_there(session: Session) -> tuple[HostLine, ...]:
    """Every host that is trusted now, by name."""
    lost = sa.select(sa.func.count()).where(AccessReport.host_id == Host.id, AccessReport.lost.is_(True)).scalar_subquery()
    opened = sa.select(sa.func.count()).where(Access.host_id == Host.id, Access.ended_at.is_(None)).scalar_subquery()
    rows = session.execute(sa.select(Host, lost, opened).where(Host.retired_at.is_(None)).order_by(Host.name))
    return tuple(_host(host, missing, open_) for host, missing, open_ in rows)


def _host(host: Host, lost: int, open_: int) -> HostLine:
    waiting = max(0, host.claimed - host.taken)
    return HostLine(host.name, host.added_at, host.heard_at, host.silent_at, lost, waiting, host.refused, host.skew_s, open_)


def accesses_since(session: Session, since: datetime, now: datetime, *, most: int) -> tuple[AccessLine, ...]:
    """Accesses that were open at some time since then, or told of since: those that hosts reported, and looks of operators at accounts.

    Open ones first, then the newest, `most` of them at least where there are more: what is open is never left out. An access from a host
    whose clock was wrong is as new as it was told of.
    """
    told_at = sa.case((Access.skewed_s.is_not(None), Access.recorded_at), else_=Access.started_at)
    chosen = sa.select(Access, Host.name).outerjoin(Host, Host.id == Access.host_id)
    newest = chosen.where(*_lately(since)).order_by(told_at.desc(), Access.id.desc()).limit(most)
    rows = (*session.execute(chosen.where(Access.ended_at.is_(None))), *session.execute(newest))
    ended = sa.func.coalesce(Impersonation.ended_at, Impersonation.ends_at)
    looks = session.execute(
        sa.select(Impersonation, User.email, Account.name)
        .join(User, User.id == Impersonation.user_id)
        .join(Account, Account.id == Impersonation.account_id)
        .where(ended >= since)
        .order_by(Impersonation.began_at.desc())
        .limit(most)
    )
    lines = [_line(access, host or "") for access, host in rows] + [_look(look, email, account, now) for look, email, account in looks]
    return tuple(sorted(lines, key=lambda line: (line.ended_at is None, line.told_at, line.ref), reverse=True))


def accesses_counted(session: Session, since: datetime) -> int:
    """How many accesses there are that `accesses_since` would list if it listed all."""
    accesses = sa.select(sa.func.count()).select_from(Access).where(sa.or_(Access.ended_at.is_(None), *_lately(since)))
    ended = sa.func.coalesce(Impersonation.ended_at, Impersonation.ends_at)
    looks = sa.select(sa.func.count()).select_from(Impersonation).where(ended >= since)
    return (session.scalar(accesses) or 0) + (session.scalar(looks) or 0)


def _lately(since: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (sa.and_(Access.ended_at.is_not(None), sa.or_(Access.ended_at >= since, Access.recorded_at >= since)),)


def _line(access: Access, host: str) -> AccessLine:
    return AccessLine(
        access.ref, host, access.kind, access.role, access.person, access.origin, "", access.started_at, access.ended_at, access.ending,
        access.reason, access.reason_at, access.hidden, access.skewed_s,
        access.recorded_at if access.skewed_s is not None else access.started_at,
    )  # fmt: skip


def _look(look: Impersonation, email: str, account: str, now: datetime) -> AccessLine:
    until = look.ended_at or look.ends_at
    over = until <= now
    return AccessLine(
        look.ref, "", "portal", "operator", email, "", account, look.began_at, until if over else None, "closed" if over else "",
        look.reason, look.began_at, True, None, look.began_at,
    )  # fmt: skip


def open_shells(session: Session) -> tuple[tuple[str, str], ...]:
    """Shells on the store that nobody closed: the reference of each, and which process it is."""
    rows = session.execute(sa.select(Access.ref, Access.session).where(Access.host_id.is_(None), Access.ended_at.is_(None)))
    return tuple((row.ref, row.session) for row in rows)


def report_texts(session: Session, host_id: int, numbers: Sequence[int]) -> dict[int, str]:
    """The reports of these numbers, as they came."""
    where = (AccessReport.host_id == host_id, AccessReport.number.in_(numbers))
    return {row.number: row.text for row in session.execute(sa.select(AccessReport.number, AccessReport.text).where(*where))}


def changed_at(session: Session) -> datetime | None:
    """When anything about accesses changed last, as far as people see it; None where there is none."""
    times = sa.select(sa.func.max(Access.recorded_at), sa.func.max(Access.ended_at), sa.func.max(Access.reason_at))
    newest = (*session.execute(times).one(), *session.execute(sa.select(sa.func.max(Host.silent_at), sa.func.max(Host.refused_at))).one())
    return max((each for each in newest if each is not None), default=None)
