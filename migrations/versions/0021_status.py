"""Who had access to production, as its hosts report it; public incidents, and who is told of them by mail."""

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Json, Utc

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("added_at", Utc(), nullable=False),
        sa.Column("retired_at", Utc(), nullable=True),
        sa.Column("taken", BigId, nullable=False),
        sa.Column("claimed", BigId, nullable=False),
        sa.Column("beat", BigId, nullable=False),
        sa.Column("beat_at", Utc(), nullable=True),
        sa.Column("heard_at", Utc(), nullable=True),
        sa.Column("silent_at", Utc(), nullable=True),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("skew_s", BigId, nullable=False),
        sa.Column("refused", BigId, nullable=False),
        sa.Column("refused_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hosts")),
        sa.UniqueConstraint("ref", name=op.f("uq_hosts_ref")),
    )
    op.create_index(
        "uq_hosts_name_there",
        "hosts",
        ["name"],
        unique=True,
        sqlite_where=sa.text("retired_at IS NULL"),
        postgresql_where=sa.text("retired_at IS NULL"),
    )
    op.create_table(
        "public_incidents",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("impact", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("components", Json(), nullable=False),
        sa.Column("automatic", sa.String(length=96), nullable=False),
        sa.Column("opened_at", Utc(), nullable=False),
        sa.Column("publish_at", Utc(), nullable=True),
        sa.Column("published_at", Utc(), nullable=True),
        sa.Column("withheld_at", Utc(), nullable=True),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.Column("planned_from", Utc(), nullable=True),
        sa.Column("planned_until", Utc(), nullable=True),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("changed_at", Utc(), nullable=False),
        sa.Column("quiet_since", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_public_incidents")),
        sa.UniqueConstraint("ref", name=op.f("uq_public_incidents_ref")),
    )
    op.create_index("ix_public_incidents_opened", "public_incidents", ["opened_at"], unique=False)
    op.create_index(
        "uq_public_incidents_automatic",
        "public_incidents",
        ["automatic"],
        unique=True,
        sqlite_where=sa.text("automatic <> '' AND ended_at IS NULL"),
        postgresql_where=sa.text("automatic <> '' AND ended_at IS NULL"),
    )
    op.create_table(
        "subscribers",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("asked_at", Utc(), nullable=False),
        sa.Column("confirmed_at", Utc(), nullable=True),
        sa.Column("left_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscribers")),
        sa.UniqueConstraint("ref", name=op.f("uq_subscribers_ref")),
    )
    op.create_index(
        "uq_subscribers_there",
        "subscribers",
        ["email"],
        unique=True,
        sqlite_where=sa.text("left_at IS NULL"),
        postgresql_where=sa.text("left_at IS NULL"),
    )
    op.create_table(
        "access_reports",
        sa.Column("host_id", BigId, nullable=False),
        sa.Column("number", BigId, autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("received_at", Utc(), nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.id"], name=op.f("fk_access_reports_host_id_hosts")),
        sa.PrimaryKeyConstraint("host_id", "number", name=op.f("pk_access_reports")),
    )
    op.create_table(
        "accesses",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("host_id", BigId, nullable=True),
        sa.Column("session", sa.String(length=96), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=320), nullable=False),
        sa.Column("origin", sa.String(length=320), nullable=False),
        sa.Column("started_at", Utc(), nullable=False),
        sa.Column("recorded_at", Utc(), nullable=False),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.Column("ending", sa.String(length=16), nullable=False),
        sa.Column("skewed_s", BigId, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reason_at", Utc(), nullable=True),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.id"], name=op.f("fk_accesses_host_id_hosts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accesses")),
        sa.UniqueConstraint("ref", name=op.f("uq_accesses_ref")),
    )
    op.create_index("ix_accesses_started", "accesses", ["started_at"], unique=False)
    op.create_index(
        "uq_accesses_session",
        "accesses",
        ["host_id", "session"],
        unique=True,
        sqlite_where=sa.text("session <> ''"),
        postgresql_where=sa.text("session <> ''"),
    )
    op.create_table(
        "public_updates",
        sa.Column("id", BigId, nullable=False),
        sa.Column("incident_id", BigId, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("mailed_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["incident_id"], ["public_incidents.id"], name=op.f("fk_public_updates_incident_id_public_incidents")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_public_updates")),
    )
    op.create_index(op.f("ix_public_updates_incident_id"), "public_updates", ["incident_id"], unique=False)
