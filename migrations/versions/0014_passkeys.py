"""People can sign in by passkeys."""

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Utc

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "passkeys",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("user_id", BigId, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("credential_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sign_count", BigId, nullable=False),
        sa.Column("transports", sa.Text(), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("last_used_at", Utc(), nullable=True),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_passkeys_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
        sa.UniqueConstraint("ref", name=op.f("uq_passkeys_ref")),
    )
    op.create_index(op.f("ix_passkeys_user_id"), "passkeys", ["user_id"])
    op.create_table(
        "passkey_questions",
        sa.Column("id", BigId, nullable=False),
        sa.Column("challenge", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("user_id", BigId, nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.Column("used_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_passkey_questions_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkey_questions")),
        sa.UniqueConstraint("challenge", name=op.f("uq_passkey_questions_challenge")),
    )
    op.create_index(op.f("ix_passkey_questions_expires_at"), "passkey_questions", ["expires_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_passkey_questions_expires_at"), "passkey_questions")
    op.drop_table("passkey_questions")
    op.drop_index(op.f("ix_passkeys_user_id"), "passkeys")
    op.drop_table("passkeys")
