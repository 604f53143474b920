"""A person can tell their sign-ins apart, and end one: each has a reference, a browser and a network."""

import sqlalchemy as sa
from alembic import op

from core.store.base import new_ref

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("login_sessions", sa.Column("ref", sa.String(length=16), nullable=True))
    op.add_column("login_sessions", sa.Column("browser", sa.String(length=64), server_default="", nullable=False))
    op.add_column("login_sessions", sa.Column("network", sa.String(length=64), server_default="", nullable=False))
    connection = op.get_bind()
    rows = [{"row": row_id, "ref": new_ref()} for row_id in connection.scalars(sa.text("SELECT id FROM login_sessions")).all()]
    if rows:
        connection.execute(sa.text("UPDATE login_sessions SET ref = :ref WHERE id = :row"), rows)
    with op.batch_alter_table("login_sessions") as table:
        table.alter_column("ref", existing_type=sa.String(length=16), nullable=False)
        table.create_unique_constraint(op.f("uq_login_sessions_ref"), ["ref"])


def downgrade() -> None:
    with op.batch_alter_table("login_sessions") as table:
        table.drop_constraint(op.f("uq_login_sessions_ref"), type_="unique")
    for name in ("network", "browser", "ref"):
        op.drop_column("login_sessions", name)
