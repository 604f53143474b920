"""Spot checks: what strangers ask about one name, for a day, and how often an address was dialled for them."""

import sqlalchemy as sa
from alembic import op

from core.store.base import Json, Utc

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spot_checks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("starttls", sa.String(length=16), nullable=False),
        sa.Column("visitor", sa.String(length=64), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("asked_at", Utc(), nullable=False),
        sa.Column("ends_at", Utc(), nullable=False),
        sa.Column("lease_until", Utc(), nullable=True),
        sa.Column("claim", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("began_at", Utc(), nullable=True),
        sa.Column("addresses", sa.Integer(), nullable=False),
        sa.Column("shown_at", Utc(), nullable=True),
        sa.Column("answer", Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spot_checks")),
        sa.UniqueConstraint("ref", name=op.f("uq_spot_checks_ref")),
    )
    op.create_index("ix_spot_checks_asked", "spot_checks", ["asked_at"])
    op.create_index("ix_spot_checks_name", "spot_checks", ["name", "asked_at"])
    waiting = sa.text("shown_at IS NULL")
    op.create_index("ix_spot_checks_waiting", "spot_checks", ["asked_at"], sqlite_where=waiting, postgresql_where=waiting)
    op.create_table(
        "spot_dials",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spot_dials")),
    )
    op.create_index("ix_spot_dials_address", "spot_dials", ["address", "at"])


def downgrade() -> None:
    op.drop_table("spot_dials")
    op.drop_table("spot_checks")
