"""Backups: which installation this is, what is due, and what became of it."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from core.store.base import Json, Utc, new_ref

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("opened_at", Utc(), nullable=False),
        sa.Column("closed_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
        sa.UniqueConstraint("ref", name=op.f("uq_alarms_ref")),
    )
    op.create_index(
        "uq_alarms_open",
        "alarms",
        ["kind"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "backup_holds",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.String(length=32), nullable=False),
        sa.Column("set_at", Utc(), nullable=False),
        sa.Column("lifted_by", sa.String(length=32), nullable=False),
        sa.Column("lifted_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup_holds")),
        sa.UniqueConstraint("ref", name=op.f("uq_backup_holds_ref")),
    )
    op.create_table(
        "backups",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("began_at", Utc(), nullable=False),
        sa.Column("lease_until", Utc(), nullable=True),
        sa.Column("at", Utc(), nullable=True),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("manifest", Json(), nullable=False),
        sa.Column("targets", Json(), nullable=False),
        sa.Column("restorable", sa.Boolean(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("proven_at", Utc(), nullable=True),
        sa.Column("fidelity", sa.Float(), nullable=True),
        sa.Column("coverage", sa.Float(), nullable=True),
        sa.Column("removed_at", Utc(), nullable=True),
        sa.Column("removed_why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backups")),
        sa.UniqueConstraint("ref", name=op.f("uq_backups_ref")),
    )
    op.create_index("ix_backups_began", "backups", ["began_at"], unique=False)
    op.create_index(
        "uq_backups_running",
        "backups",
        ["state"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "chores",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("next_at", Utc(), nullable=True),
        sa.Column("wanted_at", Utc(), nullable=True),
        sa.Column("about", sa.String(length=16), nullable=False),
        sa.Column("lease_until", Utc(), nullable=True),
        sa.Column("claim", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("last_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chores")),
    )
    op.create_table(
        "installation",
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("made_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("ref", name=op.f("pk_installation")),
    )
    op.create_table(
        "recovery_kits",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("made_at", Utc(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("fingerprints", Json(), nullable=False),
        sa.Column("targets", Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_kits")),
        sa.UniqueConstraint("ref", name=op.f("uq_recovery_kits_ref")),
    )
    op.create_table(
        "alarm_mails",
        sa.Column("alarm_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("closing", sa.Boolean(), nullable=False),
        sa.Column("due_at", Utc(), nullable=False),
        sa.Column("attempts", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("handed_at", Utc(), nullable=True),
        sa.Column("sent_at", Utc(), nullable=True),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarms.id"], name=op.f("fk_alarm_mails_alarm_id_alarms")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_alarm_mails_user_id_users")),
        sa.PrimaryKeyConstraint("alarm_id", "user_id", "closing", name=op.f("pk_alarm_mails")),
    )
    op.create_table(
        "drills",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("backup_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("began_at", Utc(), nullable=False),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.Column("fidelity", sa.Float(), nullable=True),
        sa.Column("coverage", sa.Float(), nullable=True),
        sa.Column("accounts_alive", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("accounts_held", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("aged_alive", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("aged_held", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tables", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rows", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("differences", Json(), nullable=False),
        sa.Column("faults", Json(), nullable=False),
        sa.Column("steps", Json(), nullable=False),
        sa.ForeignKeyConstraint(["backup_id"], ["backups.id"], name=op.f("fk_drills_backup_id_backups")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drills")),
        sa.UniqueConstraint("ref", name=op.f("uq_drills_ref")),
    )
    op.create_index(op.f("ix_drills_backup_id"), "drills", ["backup_id"], unique=False)
    op.create_index("ix_drills_began", "drills", ["began_at"], unique=False)
    now = datetime.now(UTC)
    op.bulk_insert(sa.table("installation", sa.column("ref"), sa.column("made_at", Utc())), [{"ref": new_ref(), "made_at": now}])
    chores = sa.table("chores", sa.column("name"), sa.column("next_at", Utc()), sa.column("about"), sa.column("claim"))
    due = {"backup": now, "drill": None, "look": now}
    op.bulk_insert(chores, [{"name": name, "next_at": at, "about": "", "claim": 0} for name, at in due.items()])


def downgrade() -> None:
    op.drop_index("ix_drills_began", table_name="drills")
    op.drop_index(op.f("ix_drills_backup_id"), table_name="drills")
    op.drop_table("drills")
    op.drop_table("alarm_mails")
    op.drop_table("recovery_kits")
    op.drop_table("installation")
    op.drop_table("chores")
    op.drop_index(
        "uq_backups_running", table_name="backups", sqlite_where=sa.text("state = 'running'"), postgresql_where=sa.text("state = 'running'")
    )
    op.drop_index("ix_backups_began", table_name="backups")
    op.drop_table("backups")
    op.drop_table("backup_holds")
    op.drop_index(
        "uq_alarms_open", table_name="alarms", sqlite_where=sa.text("closed_at IS NULL"), postgresql_where=sa.text("closed_at IS NULL")
    )
    op.drop_table("alarms")
