"""A watch says how its name is reached: an upgrade protocol (STARTTLS) and a fixed address, as its endpoint does."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("watches", sa.Column("starttls", sa.String(length=16), server_default="", nullable=False))
    op.add_column("watches", sa.Column("address", sa.String(length=64), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("watches", "address")
    op.drop_column("watches", "starttls")
