"""Accounts can ask their members for a second factor."""

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Utc

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_rules",
        sa.Column("account_id", BigId, autoincrement=False, nullable=False),
        sa.Column("factor_since", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_account_rules_account_id_accounts")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account_rules")),
    )


def downgrade() -> None:
    op.drop_table("account_rules")
