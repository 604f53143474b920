"""Large removals wait for a second person."""

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Json, Utc

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("table_name", sa.String(length=64), nullable=False),
        sa.Column("count", BigId, nullable=False),
        sa.Column("refs", Json(), nullable=False),
        sa.Column("asked_by", BigId, nullable=False),
        sa.Column("asked_at", Utc(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("decided_by", BigId, nullable=True),
        sa.Column("decided_at", Utc(), nullable=True),
        sa.Column("used_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_approvals_account_id_accounts")),
        sa.ForeignKeyConstraint(["asked_by"], ["users.id"], name=op.f("fk_approvals_asked_by_users")),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name=op.f("fk_approvals_decided_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("ref", name=op.f("uq_approvals_ref")),
    )
    op.create_index(op.f("ix_approvals_account_id"), "approvals", ["account_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_approvals_account_id"), "approvals")
    op.drop_table("approvals")
