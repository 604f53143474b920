"""People can sign in by an identity provider of the operator's."""

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Utc

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("user_id", BigId, nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("shown", sa.String(length=320), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("last_used_at", Utc(), nullable=True),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_identities_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("ref", name=op.f("uq_identities_ref")),
    )
    op.create_index(op.f("ix_identities_user_id"), "identities", ["user_id"])
    live = sa.text("deleted_at IS NULL")
    op.create_index("uq_identities_live", "identities", ["issuer", "subject"], unique=True, sqlite_where=live, postgresql_where=live)
    op.create_table(
        "oidc_flows",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("state_sha256", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("user_id", BigId, nullable=True),
        sa.Column("nonce", sa.String(length=128), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.Column("used_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_oidc_flows_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oidc_flows")),
        sa.UniqueConstraint("ref", name=op.f("uq_oidc_flows_ref")),
        sa.UniqueConstraint("state_sha256", name=op.f("uq_oidc_flows_state_sha256")),
    )
    op.create_index(op.f("ix_oidc_flows_expires_at"), "oidc_flows", ["expires_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_oidc_flows_expires_at"), "oidc_flows")
    op.drop_table("oidc_flows")
    op.drop_index("uq_identities_live", "identities")
    op.drop_index(op.f("ix_identities_user_id"), "identities")
    op.drop_table("identities")
