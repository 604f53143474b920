"""What the clock reads and writes most: an index of what is urgent, and room in each page of the schedule.

Without the index, finding that nothing is urgent reads everything that is due. In the room, a claim writes beside the row it
claims, and no index has to hear of it. Pages that are full already get room as they are written anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_schedule_urgent",
        "schedule",
        ["next_scan_at"],
        sqlite_where=sa.text("urgent IS 1 AND watchers > 0"),
        postgresql_where=sa.text("urgent IS true AND watchers > 0"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE schedule SET (fillfactor = 80)")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE schedule RESET (fillfactor)")
    op.drop_index("ix_schedule_urgent", table_name="schedule")
