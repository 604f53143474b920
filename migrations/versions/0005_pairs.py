"""An address may serve two certificates, one for each kind of key: what is current there has a row for each."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from core.store.base import Json, Utc

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BEFORE = ("endpoint_id", "perspective", "address")
_AFTER = (*_BEFORE, "key_asked")


def upgrade() -> None:
    op.add_column("observations", _key_asked())
    if op.get_bind().dialect.name == "sqlite":
        _make_anew(_AFTER, _key_asked())
        return
    op.add_column("current", _key_asked())
    op.drop_constraint("pk_current", "current", type_="primary")
    op.create_primary_key("pk_current", "current", list(_AFTER))


def downgrade() -> None:
    op.execute("DELETE FROM current WHERE key_asked <> ''")
    op.drop_column("observations", "key_asked")
    if op.get_bind().dialect.name == "sqlite":
        _make_anew(_BEFORE)
        return
    op.drop_constraint("pk_current", "current", type_="primary")
    op.drop_column("current", "key_asked")
    op.create_primary_key("pk_current", "current", list(_BEFORE))


def _key_asked() -> sa.Column[str]:
    return sa.Column("key_asked", sa.String(length=8), server_default="", nullable=False)


def _make_anew(key: Sequence[str], *more: sa.Column[str]) -> None:
    """SQLite cannot change a primary key: the rows move into a new table of the same name."""
    op.drop_index(op.f("ix_current_observation_id"), table_name="current")
    op.rename_table("current", "current_before")
    op.create_table(
        "current",
        sa.Column("endpoint_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("perspective", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        *more,
        sa.Column("observation_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("last_seen_at", Utc(), nullable=False),
        sa.Column("gone_at", Utc(), nullable=True),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("path", Json(), nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name=op.f("fk_current_endpoint_id_endpoints")),
        sa.ForeignKeyConstraint(["observation_id"], ["observations.id"], name=op.f("fk_current_observation_id_observations")),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_current")),
    )
    op.execute(
        "INSERT INTO current (endpoint_id, perspective, address, observation_id, last_seen_at, gone_at, verified, path) "
        "SELECT endpoint_id, perspective, address, observation_id, last_seen_at, gone_at, verified, path FROM current_before"
    )
    op.drop_table("current_before")
    op.create_index(op.f("ix_current_observation_id"), "current", ["observation_id"], unique=False)
