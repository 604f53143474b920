"""Watches: an account's interest in an endpoint, how it stands for that account, and the lists that pages show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, Session, mapped_column, validates

from core.net.names import Listed
from core.store.base import Base, Id, index_where, live_index
from core.store.db import CHUNK
from core.store.sought import sought_of

STATES = ("bad", "soon", "unk", "live", "ok")
"""Worst first. The words are those of the pages: needs you, soon, not reached, checking, well."""

NO_END = datetime(9999, 12, 31, tzinfo=UTC)
"""The `ends_at` of a watch of which no end is known: it sorts last."""


Key = tuple[str, int, str, str]
"""Name, port, upgrade protocol, fixed address: what makes two watches of an account the same."""


class Watch(Base):
    """`state`, `rank` and `ends_at` are copies kept on write, so that lists sort and count without touching the facts.

    `since_at` is when the watch began: an account sees nothing of a shared endpoint from before. `sought` is the name as it is searched.
    """

    __tablename__ = "watches"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    domain_id: Mapped[int] = mapped_column(sa.ForeignKey("domains.id"), index=True)
    endpoint_id: Mapped[int] = mapped_column(sa.ForeignKey("endpoints.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(253))
    port: Mapped[int] = mapped_column(sa.Integer)
    starttls: Mapped[str] = mapped_column(sa.String(16), default="", server_default="")
    address: Mapped[str] = mapped_column(sa.String(64), default="", server_default="")
    state: Mapped[str] = mapped_column(sa.String(8), default="live")
    rank: Mapped[int] = mapped_column(sa.Integer, default=STATES.index("live"))
    ends_at: Mapped[datetime]
    sentence: Mapped[str] = mapped_column(default="")
    sought: Mapped[str] = mapped_column(default="", server_default="")
    since_at: Mapped[datetime]
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    deleted_at: Mapped[datetime | None]
    deleted_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    __table_args__ = (
        live_index("uq_watches_live", "account_id", "endpoint_id", unique=True),
        live_index("ix_watches_worst", "account_id", "rank", "ends_at", "id"),
        live_index("ix_watches_ends", "account_id", "ends_at", "id"),
        live_index("ix_watches_name", "account_id", "name", "id"),
        live_index("ix_watches_seen", "endpoint_id", "account_id", "since_at"),
        live_index("ix_watches_state", "account_id", "rank", "name", "id"),
        index_where("deleted_at IS NOT NULL", "ix_watches_binned", "account_id", "deleted_at", "id"),
    )

    @validates("name")
    def _keep_sought(self, _key: str, name: str) -> str:
        self.sought = sought_of(name)
        return name

    @property
    def key(self) -> Key:
        """What it watches."""
        return self.name, self.port, self.starttls, self.address

    @hybrid_property
    def how(self) -> str:
        """As `Listed.how`."""
        return Listed(*self.key).how

    @how.inplace.expression
    @classmethod
    def _how(cls) -> sa.ColumnElement[str]:
        fixed = sa.case((cls.address != "", sa.literal(" at ") + cls.address), else_="")
        return sa.func.trim(cls.starttls + fixed).label("how")


class WatchTally(Base):
    """How many live watches of an account are in a state; kept on write."""

    __tablename__ = "watch_tallies"
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"), primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(sa.String(8), primary_key=True)
    watches: Mapped[int] = mapped_column(default=0)


def move_tallies(session: Session, moves: Counter[tuple[int, str]]) -> None:
    """Add to the counts of (account, state), in one order for everybody, so that two writers never wait for each other."""
    for (account_id, state), by in sorted(moves.items()):
        if by:
            session.execute(
                sa.update(WatchTally)
                .where(WatchTally.account_id == account_id, WatchTally.state == state)
                .values(watches=WatchTally.watches + by)
            )


def own_watches(session: Session, account_id: int, refs: Sequence[str], *, binned: bool) -> list[Watch]:
    """An account's watches among the references: those that are live, or those in the bin."""
    where = Watch.deleted_at.is_not(None) if binned else Watch.deleted_at.is_(None)
    found: list[Watch] = []
    for start in range(0, len(refs), CHUNK):
        chunk = list(refs)[start : start + CHUNK]
        found += session.scalars(
            sa.select(Watch)
            .where(Watch.account_id == account_id, Watch.ref.in_(chunk), where)
            .order_by(Watch.id)
            .execution_options(populate_existing=True)
        )
    return found


def live_by_target(session: Session, account_id: int, targets: Collection[Key]) -> dict[Key, Watch]:
    """The account's live watch of each target that has one."""
    return _by_target(session, account_id, targets, Watch.deleted_at.is_(None))


def binned_by_target(session: Session, account_id: int, targets: Collection[Key]) -> dict[Key, Watch]:
    """The account's newest binned watch of each target that has one."""
    return _by_target(session, account_id, targets, Watch.deleted_at.is_not(None))


def _by_target(session: Session, account_id: int, targets: Collection[Key], where: sa.ColumnElement[bool]) -> dict[Key, Watch]:
    names = sorted({name for name, *_ in targets})
    found: dict[Key, Watch] = {}
    for start in range(0, len(names), CHUNK):
        query = sa.select(Watch).where(Watch.account_id == account_id, Watch.name.in_(names[start : start + CHUNK]), where)
        for watch in session.scalars(query.order_by(Watch.id)):
            if watch.key in targets:
                found[watch.key] = watch
    return found
