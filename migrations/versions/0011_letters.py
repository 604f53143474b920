"""Mails that follow from what somebody did, with links that work once."""

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Json, Utc

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "letters",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("user_id", BigId, nullable=True),
        sa.Column("account_id", BigId, nullable=True),
        sa.Column("about", sa.String(length=16), nullable=False),
        sa.Column("words", Json(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.Column("due_at", Utc(), nullable=False),
        sa.Column("lease_until", Utc(), nullable=True),
        sa.Column("attempts", BigId, nullable=False),
        sa.Column("token_sha256", sa.String(length=64), nullable=True),
        sa.Column("handed_at", Utc(), nullable=True),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("used_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_letters_account_id_accounts")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_letters_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_letters")),
        sa.UniqueConstraint("ref", name=op.f("uq_letters_ref")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_letters_token_sha256")),
    )
    op.create_index(op.f("ix_letters_about"), "letters", ["about"])
    op.create_index(op.f("ix_letters_email"), "letters", ["email"])
    ended = sa.text("ended_at IS NULL")
    op.create_index("ix_letters_due", "letters", ["due_at"], sqlite_where=ended, postgresql_where=ended)


def downgrade() -> None:
    op.drop_index("ix_letters_due", "letters")
    op.drop_index(op.f("ix_letters_email"), "letters")
    op.drop_index(op.f("ix_letters_about"), "letters")
    op.drop_table("letters")
