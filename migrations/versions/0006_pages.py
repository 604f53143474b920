"""Pages fast in large accounts: names as they are searched, served leaves by end, trigrams, indexes of what lists go by."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from core.store.base import Utc
from core.store.sought import INDEXES, sought_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_AT_ONCE = 1_000
_NO_END = datetime(9999, 12, 31, tzinfo=UTC)
_KEPT_LEAVES = """
INSERT INTO served_leaves (account_id, leaf_sha256, ends_at, sought)
SELECT w.account_id, o.leaf_sha256, coalesce(min(c.not_after), :no_end),
    lower(coalesce(min(c.subject), '') || :line || coalesce(min(c.issuer), ''))
FROM watches w
JOIN current u ON u.endpoint_id = w.endpoint_id AND u.gone_at IS NULL
JOIN observations o ON o.id = u.observation_id
JOIN certificates c ON c.sha256 = o.leaf_sha256
WHERE w.deleted_at IS NULL
GROUP BY w.account_id, o.leaf_sha256
"""


def upgrade() -> None:
    op.add_column("watches", sa.Column("sought", sa.Text(), nullable=False, server_default=""))
    _keep_names()
    op.create_table(
        "served_leaves",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("leaf_sha256", sa.String(length=64), nullable=False),
        sa.Column("ends_at", Utc(), nullable=False),
        sa.Column("sought", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_served_leaves_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_served_leaves")),
        sa.UniqueConstraint("leaf_sha256", "account_id", name="uq_served_leaves_leaf"),
    )
    op.create_index("ix_served_leaves_ends", "served_leaves", ["account_id", "ends_at", "leaf_sha256"])
    op.execute(sa.text(_KEPT_LEAVES).bindparams(sa.bindparam("line", "\n", sa.Text()), sa.bindparam("no_end", _NO_END, Utc())))
    op.create_index("ix_certificates_serial", "certificates", ["serial"])
    op.create_index("ix_schedule_last", "schedule", ["last_scanned_at"])
    op.create_index("ix_incidents_watch", "incidents", ["watch_id"])
    op.create_index("ix_scan_gaps_endpoint", "scan_gaps", ["endpoint_id"])
    _where("ix_incidents_going_on", "incidents", ["account_id", "opened_at"], "closed_at IS NULL")
    _where("ix_watches_seen", "watches", ["endpoint_id", "account_id", "since_at"], "deleted_at IS NULL")
    _where("ix_watches_state", "watches", ["account_id", "rank", "name", "id"], "deleted_at IS NULL")
    _where("ix_watches_binned", "watches", ["account_id", "deleted_at", "id"], "deleted_at IS NOT NULL")
    for table, index in INDEXES.items():
        (_fts if _sqlite() else _trgm)(table, index)


def _sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _where(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def _keep_names() -> None:
    """What a name is searched as: most need nothing but SQL, those with xn-- are decoded here."""
    connection = op.get_bind()
    connection.execute(sa.text("UPDATE watches SET sought = '..' || replace(name, '.', '..')"))
    rows = connection.execute(sa.text("SELECT id, name FROM watches WHERE name LIKE '%xn--%' ORDER BY id")).all()
    written: list[dict[str, Any]] = [{"row": row.id, "sought": sought_of(row.name)} for row in rows]
    for start in range(0, len(written), _AT_ONCE):
        connection.execute(sa.text("UPDATE watches SET sought = :sought WHERE id = :row"), written[start : start + _AT_ONCE])


def _fts(table: str, index: str) -> None:
    """An index over the kept text alone, which stays where it is. Without FTS5 or its trigrams (SQLite 3.34), search reads on."""
    connection = op.get_bind()
    try:
        connection.exec_driver_sql(
            f"CREATE VIRTUAL TABLE {index} USING fts5(sought, content='{table}', content_rowid='id', tokenize='trigram')"
        )
    except sa.exc.OperationalError:
        return
    connection.exec_driver_sql(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")  # noqa: S608 - names of ours
    gone = f"INSERT INTO {index} ({index}, rowid, sought) VALUES ('delete', old.id, old.sought);"  # noqa: S608 - names of ours
    come = f"INSERT INTO {index} (rowid, sought) VALUES (new.id, new.sought);"  # noqa: S608 - names of ours
    for name, event, body in (
        ("insert", "INSERT", come),
        ("delete", "DELETE", gone),
        ("update", "UPDATE OF id, sought", gone + come),
    ):
        connection.exec_driver_sql(f"CREATE TRIGGER {index}_{name} AFTER {event} ON {table} BEGIN {body} END")


def _trgm(table: str, index: str) -> None:
    """The same by pg_trgm. An owner who may not make the extension goes without; docs/performance.md tells how to add it."""
    connection = op.get_bind()
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
            connection.execute(sa.text(f"CREATE INDEX {index} ON {table} USING gin (sought gin_trgm_ops)"))
    except sa.exc.DBAPIError:
        return


def downgrade() -> None:
    for index in INDEXES.values():
        if _sqlite():
            for event in ("insert", "delete", "update"):
                op.execute(f"DROP TRIGGER IF EXISTS {index}_{event}")
            op.execute(f"DROP TABLE IF EXISTS {index}")
        else:
            op.execute(f"DROP INDEX IF EXISTS {index}")
    for name, of in (
        ("ix_watches_binned", "watches"),
        ("ix_watches_state", "watches"),
        ("ix_watches_seen", "watches"),
        ("ix_incidents_going_on", "incidents"),
        ("ix_scan_gaps_endpoint", "scan_gaps"),
        ("ix_incidents_watch", "incidents"),
        ("ix_schedule_last", "schedule"),
        ("ix_certificates_serial", "certificates"),
    ):
        op.drop_index(name, of)
    op.drop_table("served_leaves")
    op.drop_column("watches", "sought")
