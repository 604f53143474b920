"""Operators disable users and look at accounts; people see what was tried in their name."""

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Utc

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "user_disablings",
        sa.Column("id", BigId, nullable=False),
        sa.Column("user_id", BigId, nullable=False),
        sa.Column("disabled_at", Utc(), nullable=False),
        sa.Column("disabled_by", BigId, nullable=True),
        sa.Column("enabled_at", Utc(), nullable=True),
        sa.Column("enabled_by", BigId, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_disablings_user_id_users")),
        sa.ForeignKeyConstraint(["disabled_by"], ["users.id"], name=op.f("fk_user_disablings_disabled_by_users")),
        sa.ForeignKeyConstraint(["enabled_by"], ["users.id"], name=op.f("fk_user_disablings_enabled_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_disablings")),
    )
    _open_index("uq_user_disablings_open", "user_disablings", "user_id", "enabled_at IS NULL")
    op.create_table(
        "impersonations",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("sign_in_id", BigId, nullable=False),
        sa.Column("user_id", BigId, nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("began_at", Utc(), nullable=False),
        sa.Column("ends_at", Utc(), nullable=False),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["sign_in_id"], ["login_sessions.id"], name=op.f("fk_impersonations_sign_in_id_login_sessions")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_impersonations_user_id_users")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_impersonations_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_impersonations")),
        sa.UniqueConstraint("ref", name=op.f("uq_impersonations_ref")),
    )
    _open_index("uq_impersonations_open", "impersonations", "sign_in_id", "ended_at IS NULL")
    op.create_index("ix_impersonations_account", "impersonations", ["account_id", "began_at"])
    op.create_table(
        "failed_attempts",
        sa.Column("id", BigId, nullable=False),
        sa.Column("user_id", BigId, nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_failed_attempts_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failed_attempts")),
    )
    op.create_index(op.f("ix_failed_attempts_at"), "failed_attempts", ["at"])
    op.create_index("ix_failed_attempts_user", "failed_attempts", ["user_id", "at"])


def _open_index(name: str, table: str, column: str, where: str) -> None:
    op.create_index(name, table, [column], unique=True, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    for table in ("failed_attempts", "impersonations", "user_disablings"):
        op.drop_table(table)
