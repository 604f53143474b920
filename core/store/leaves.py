"""Which leaf certificates an account may see served now, kept on write, so that a list by end needs no look at every watch.

A row says where to look, not what is so: whether a live watch sees the leaf since it began is asked when it is shown. A row is there for
every leaf that is current at an endpoint which the account watches. One that is no longer so stays till the clock comes by.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.base import Base, Id
from core.store.db import CHUNK, rowcount, upsert
from core.store.observations import Certificate, Current, Observation
from core.store.watches import NO_END, Watch

LOOKED_AT: Final = 500


class ServedLeaf(Base):
    """`ends_at` is the certificate's, NO_END where it could not be read; `sought` its subject and issuer, a line each, in lower case."""

    __tablename__ = "served_leaves"
    id: Mapped[Id]
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    leaf_sha256: Mapped[str] = mapped_column(sa.String(64))
    ends_at: Mapped[datetime]
    sought: Mapped[str]
    __table_args__ = (
        sa.UniqueConstraint("leaf_sha256", "account_id", name="uq_served_leaves_leaf"),
        sa.Index("ix_served_leaves_ends", "account_id", "ends_at", "leaf_sha256"),
    )


def keep_leaves(session: Session, endpoint_ids: Collection[int]) -> None:
    """Note what these endpoints serve now for everybody who watches them. A row that is there is written again: who sweeps waits for it."""
    ids = sorted(set(endpoint_ids))
    for start in range(0, len(ids), CHUNK):
        current = (
            sa.select(
                Watch.account_id,
                Observation.leaf_sha256,
                sa.func.coalesce(sa.func.min(Certificate.not_after), sa.literal(NO_END, Certificate.not_after.type)),
                sa.func.lower(
                    sa.func.coalesce(sa.func.min(Certificate.subject), "") + "\n" + sa.func.coalesce(sa.func.min(Certificate.issuer), "")
                ),
            )
            .join(Current, sa.and_(Current.endpoint_id == Watch.endpoint_id, Current.gone_at.is_(None)))
            .join(Observation, Observation.id == Current.observation_id)
            .join(Certificate, Certificate.sha256 == Observation.leaf_sha256)
            .where(Watch.endpoint_id.in_(ids[start : start + CHUNK]), Watch.deleted_at.is_(None))
            .group_by(Watch.account_id, Observation.leaf_sha256)
            .order_by(Watch.account_id, Observation.leaf_sha256)  # one order for everybody: nobody waits for each other
        )
        insert = upsert(session, ServedLeaf).from_select(["account_id", "leaf_sha256", "ends_at", "sought"], current)
        session.execute(
            insert.on_conflict_do_update(index_elements=["account_id", "leaf_sha256"], set_={"ends_at": insert.excluded.ends_at})
        )


def served_by(account_id: sa.SQLColumnExpression[int], leaf: sa.SQLColumnExpression[str]) -> sa.Select[Any]:
    """The account's live watches whose endpoints serve this leaf now, also those that began after it was seen last."""
    return (
        sa.select(Watch.id)
        .select_from(Observation)
        .join(Current, sa.and_(Current.observation_id == Observation.id, Current.gone_at.is_(None)))
        .join(Watch, sa.and_(Watch.endpoint_id == Current.endpoint_id, Watch.deleted_at.is_(None)))
        .where(
            Observation.leaf_sha256 == leaf, Watch.account_id + 0 == account_id
        )  # a sum is in no index: from the leaf, not from the account
    )


def unserved(session: Session, after: int, most: int = LOOKED_AT) -> tuple[list[int], int]:
    """Of the rows that follow this number, those that nobody needs, and the number of the last one looked at; 0: there were no more."""
    some = sa.select(ServedLeaf).where(ServedLeaf.id > after).order_by(ServedLeaf.id).limit(most).subquery()
    needed = sa.exists(served_by(some.c.account_id, some.c.leaf_sha256).correlate(some))
    rows = session.execute(sa.select(some.c.id, needed).order_by(some.c.id)).all()
    return [row_id for row_id, is_needed in rows if not is_needed], rows[-1][0] if len(rows) == most else 0


def drop_unserved(session: Session, row_ids: Sequence[int]) -> int:
    """Drop those of these rows that nobody needs. How many were.

    They are locked first and judged in a second statement, which sees what was written by whoever had them until then.
    """
    where = ServedLeaf.id.in_(list(row_ids)[:LOOKED_AT])
    session.execute(sa.select(ServedLeaf.id).where(where).order_by(ServedLeaf.account_id, ServedLeaf.leaf_sha256).with_for_update())
    needed = sa.exists(served_by(ServedLeaf.account_id, ServedLeaf.leaf_sha256).correlate(ServedLeaf))
    return rowcount(session.execute(sa.delete(ServedLeaf).where(where, ~needed).execution_options(synchronize_session=False)))
