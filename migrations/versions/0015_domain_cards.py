"""Domains bear a note, tags and a responsible person."""

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Utc

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "domain_cards",
        sa.Column("domain_id", BigId, autoincrement=False, nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("responsible_id", BigId, nullable=True),
        sa.Column("version", BigId, nullable=False),
        sa.Column("changed_at", Utc(), nullable=False),
        sa.Column("changed_by", BigId, nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_domain_cards_account_id_accounts")),
        sa.ForeignKeyConstraint(["changed_by"], ["users.id"], name=op.f("fk_domain_cards_changed_by_users")),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name=op.f("fk_domain_cards_domain_id_domains")),
        sa.ForeignKeyConstraint(["responsible_id"], ["users.id"], name=op.f("fk_domain_cards_responsible_id_users")),
        sa.PrimaryKeyConstraint("domain_id", name=op.f("pk_domain_cards")),
    )
    op.create_index("ix_domain_cards_responsible", "domain_cards", ["account_id", "responsible_id"])
    op.create_table(
        "tags",
        sa.Column("id", BigId, nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("word", sa.String(length=32), nullable=False),
        sa.Column("names", BigId, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_tags_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tags")),
        sa.UniqueConstraint("account_id", "word", name="uq_tags_word"),
    )
    op.create_table(
        "domain_tags",
        sa.Column("domain_id", BigId, autoincrement=False, nullable=False),
        sa.Column("tag_id", BigId, autoincrement=False, nullable=False),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name=op.f("fk_domain_tags_domain_id_domains")),
        sa.ForeignKeyConstraint(["tag_id"], ["tags.id"], name=op.f("fk_domain_tags_tag_id_tags")),
        sa.PrimaryKeyConstraint("domain_id", "tag_id", name=op.f("pk_domain_tags")),
    )
    where = sa.text("deleted_at IS NULL")
    op.create_index("ix_domain_tags_tag", "domain_tags", ["tag_id", "domain_id"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_index("ix_domain_tags_tag", "domain_tags")
    op.drop_table("domain_tags")
    op.drop_table("tags")
    op.drop_index("ix_domain_cards_responsible", "domain_cards")
    op.drop_table("domain_cards")
