"""The log: its entries, which no statement changes or deletes, what they only commit to, and where it stands."""

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Json, Utc

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

SAYS = "entries of the log are only ever added"
FUNCTION = f"""CREATE FUNCTION audit_entries_stay() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{SAYS}' USING ERRCODE = 'restrict_violation'; END $$"""
TRIGGER = """CREATE TRIGGER audit_entries_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_stay()"""
POSTGRESQL = (FUNCTION, TRIGGER, "ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER audit_entries_stay")
RAISE = f"BEGIN SELECT RAISE(ABORT, '{SAYS}'); END"
THERE = "EXISTS (SELECT 1 FROM audit_entries WHERE rowid = NEW.rowid OR (log = NEW.log AND entry_index = NEW.entry_index))"
SQLITE = (
    f"CREATE TRIGGER audit_entries_update BEFORE UPDATE ON audit_entries {RAISE}",
    f"CREATE TRIGGER audit_entries_delete BEFORE DELETE ON audit_entries {RAISE}",
    f"CREATE TRIGGER audit_entries_replace BEFORE INSERT ON audit_entries WHEN {THERE} {RAISE}",
)
"""The last one: INSERT OR REPLACE runs no DELETE trigger unless recursive_triggers is on. It may name a rowid, too."""


def upgrade() -> None:
    op.create_table(
        "audit_logs",
        sa.Column("number", BigId, autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("begun_at", Utc(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("size", BigId, nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("signed_at", Utc(), nullable=True),
        sa.Column("logged_at", Utc(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.Column("trouble_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_logs")),
    )
    op.create_table(
        "audit_entries",
        sa.Column("log", BigId, autoincrement=False, nullable=False),
        sa.Column("entry_index", BigId, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["log"], ["audit_logs.number"], name=op.f("fk_audit_entries_log_audit_logs")),
        sa.PrimaryKeyConstraint("log", "entry_index", name=op.f("pk_audit_entries")),
    )
    op.create_table(
        "audit_private",
        sa.Column("log", BigId, autoincrement=False, nullable=False),
        sa.Column("entry_index", BigId, autoincrement=False, nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=32), nullable=False),
        sa.Column("account_ref", sa.String(length=16), nullable=False),
        sa.Column("sealed", Json(), nullable=False),
        sa.PrimaryKeyConstraint("log", "entry_index", name=op.f("pk_audit_private")),
    )
    op.create_index("ix_audit_private_account_ref", "audit_private", ["account_ref", "log", "entry_index"])
    op.create_index("ix_audit_private_actor", "audit_private", ["actor", "log", "entry_index"])
    op.create_table(
        "audit_counted",
        sa.Column("id", BigId, nullable=False),
        sa.Column("log", BigId, nullable=True),
        sa.Column("entry_index", BigId, nullable=True),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=32), nullable=False),
        sa.Column("commitment", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("public", Json(), nullable=False),
        sa.Column("private", Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_counted")),
    )
    op.create_index("ix_audit_counted_waiting", "audit_counted", ["entry_index", "id"])
    op.create_index("ix_audit_counted_actor", "audit_counted", ["actor", "id"])
    op.create_table(
        "audit_erasures",
        sa.Column("id", BigId, nullable=False),
        sa.Column("log", BigId, nullable=False),
        sa.Column("entry_index", BigId, nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_erasures")),
    )
    for statement in POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)


def downgrade() -> None:
    for table in ("audit_erasures", "audit_counted", "audit_private", "audit_entries", "audit_logs"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_entries_stay")
