"""Exports and imports: what goes out, by whose asking or plan, what came in, what it changed, and the history that came with it."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from core.store.base import BigId, Json, Utc

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "bundle_keys",
        sa.Column("id", BigId, nullable=False),
        sa.Column("vkey", sa.String(length=256), nullable=False),
        sa.Column("published_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundle_keys")),
        sa.UniqueConstraint("vkey", name=op.f("uq_bundle_keys_vkey")),
    )
    op.create_table(
        "calendars",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("created_by", BigId, nullable=True),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("revoked_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_calendars_account_id_accounts")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_calendars_created_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendars")),
        sa.UniqueConstraint("ref", name=op.f("uq_calendars_ref")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_calendars_token_sha256")),
    )
    op.create_index(op.f("ix_calendars_account_id"), "calendars", ["account_id"], unique=False)
    op.create_table(
        "export_plans",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("created_by", BigId, nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("every", sa.String(length=8), nullable=False),
        sa.Column("history", sa.String(length=8), nullable=False),
        sa.Column("place", sa.String(length=8), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("recipient", sa.String(length=128), nullable=False),
        sa.Column("next_at", Utc(), nullable=False),
        sa.Column("last_at", Utc(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("failures", BigId, nullable=False),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_export_plans_account_id_accounts")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_export_plans_created_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export_plans")),
        sa.UniqueConstraint("ref", name=op.f("uq_export_plans_ref")),
    )
    op.create_index(op.f("ix_export_plans_account_id"), "export_plans", ["account_id"], unique=False)
    op.create_index(
        "ix_export_plans_due",
        "export_plans",
        ["next_at"],
        unique=False,
        **_where("deleted_at IS NULL"),
    )
    op.create_table(
        "imports",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("handed_in_by", BigId, nullable=True),
        sa.Column("handed_in_at", Utc(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("form", sa.String(length=8), nullable=False),
        sa.Column("version", BigId, nullable=False),
        sa.Column("bytes", BigId, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("trust", sa.String(length=16), nullable=False),
        sa.Column("signer", sa.String(length=256), nullable=False),
        sa.Column("summary", Json(), nullable=False),
        sa.Column("choices", Json(), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("done", BigId, nullable=False),
        sa.Column("total", BigId, nullable=False),
        sa.Column("lease_until", Utc(), nullable=True),
        sa.Column("claim", BigId, nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("applied_at", Utc(), nullable=True),
        sa.Column("undone_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_imports_account_id_accounts")),
        sa.ForeignKeyConstraint(["handed_in_by"], ["users.id"], name=op.f("fk_imports_handed_in_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
        sa.UniqueConstraint("ref", name=op.f("uq_imports_ref")),
    )
    op.create_index(op.f("ix_imports_account_id"), "imports", ["account_id"], unique=False)
    op.create_index(
        "ix_imports_waiting",
        "imports",
        ["id"],
        unique=False,
        **_where("state IN ('waiting', 'reading', 'wanted', 'applying')"),
    )
    op.create_table(
        "exports",
        sa.Column("id", BigId, nullable=False),
        sa.Column("ref", sa.String(length=16), nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("asked_by", BigId, nullable=True),
        sa.Column("plan_id", BigId, nullable=True),
        sa.Column("history", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("done", BigId, nullable=False),
        sa.Column("total", BigId, nullable=False),
        sa.Column("asked_at", Utc(), nullable=False),
        sa.Column("lease_until", Utc(), nullable=True),
        sa.Column("claim", BigId, nullable=False),
        sa.Column("ready_at", Utc(), nullable=True),
        sa.Column("expires_at", Utc(), nullable=True),
        sa.Column("file", sa.String(length=160), nullable=False),
        sa.Column("bytes", BigId, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("names", BigId, nullable=False),
        sa.Column("downloaded_at", Utc(), nullable=True),
        sa.Column("deliver_at", Utc(), nullable=True),
        sa.Column("delivered_at", Utc(), nullable=True),
        sa.Column("attempts", BigId, nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_exports_account_id_accounts")),
        sa.ForeignKeyConstraint(["asked_by"], ["users.id"], name=op.f("fk_exports_asked_by_users")),
        sa.ForeignKeyConstraint(["plan_id"], ["export_plans.id"], name=op.f("fk_exports_plan_id_export_plans")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
        sa.UniqueConstraint("ref", name=op.f("uq_exports_ref")),
    )
    op.create_index("ix_exports_account", "exports", ["account_id", "id"], unique=False)
    op.create_index(
        "ix_exports_deliver",
        "exports",
        ["deliver_at"],
        unique=False,
        **_where("deliver_at IS NOT NULL"),
    )
    op.create_index(
        "ix_exports_ready",
        "exports",
        ["expires_at"],
        unique=False,
        **_where("state = 'ready'"),
    )
    op.create_index(
        "ix_exports_waiting",
        "exports",
        ["id"],
        unique=False,
        **_where("state IN ('waiting', 'running')"),
    )
    op.create_table(
        "import_changes",
        sa.Column("id", BigId, nullable=False),
        sa.Column("import_id", BigId, nullable=False),
        sa.Column("what", sa.String(length=24), nullable=False),
        sa.Column("before", Json(), nullable=False),
        sa.Column("after", Json(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_import_changes_import_id_imports")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_changes")),
    )
    op.create_index(op.f("ix_import_changes_import_id"), "import_changes", ["import_id"], unique=False)
    op.create_table(
        "imported_certificates",
        sa.Column("id", BigId, nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("import_id", BigId, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_imported_certificates_account_id_accounts")),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_imported_certificates_import_id_imports")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_certificates")),
    )
    op.create_index(op.f("ix_imported_certificates_import_id"), "imported_certificates", ["import_id"], unique=False)
    op.create_index(
        "uq_imported_certificates_live",
        "imported_certificates",
        ["account_id", "sha256"],
        unique=True,
        **_where("deleted_at IS NULL"),
    )
    op.create_table(
        "imported_chains",
        sa.Column("id", BigId, nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("import_id", BigId, nullable=False),
        sa.Column("chain", sa.String(length=64), nullable=False),
        sa.Column("certificates", Json(), nullable=False),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_imported_chains_account_id_accounts")),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_imported_chains_import_id_imports")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_chains")),
    )
    op.create_index(op.f("ix_imported_chains_import_id"), "imported_chains", ["import_id"], unique=False)
    op.create_index(
        "uq_imported_chains_live",
        "imported_chains",
        ["account_id", "chain"],
        unique=True,
        **_where("deleted_at IS NULL"),
    )
    op.create_table(
        "imported_incidents",
        sa.Column("id", BigId, nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("import_id", BigId, nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("starttls", sa.String(length=16), nullable=False),
        sa.Column("fixed", sa.String(length=64), nullable=False),
        sa.Column("opened_at", Utc(), nullable=False),
        sa.Column("check", sa.String(length=32), nullable=False),
        sa.Column("certificate", sa.String(length=64), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_imported_incidents_account_id_accounts")),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_imported_incidents_import_id_imports")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_incidents")),
    )
    op.create_index(
        "ix_imported_incidents",
        "imported_incidents",
        ["account_id", "name", "port", "starttls", "fixed"],
        unique=False,
        **_where("deleted_at IS NULL"),
    )
    op.create_index(op.f("ix_imported_incidents_import_id"), "imported_incidents", ["import_id"], unique=False)
    op.create_table(
        "imported_observations",
        sa.Column("id", BigId, nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("import_id", BigId, nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("starttls", sa.String(length=16), nullable=False),
        sa.Column("fixed", sa.String(length=64), nullable=False),
        sa.Column("perspective", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("key_asked", sa.String(length=8), nullable=False),
        sa.Column("seen_at", Utc(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_imported_observations_account_id_accounts")),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_imported_observations_import_id_imports")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_observations")),
    )
    op.create_index(
        "ix_imported_observations",
        "imported_observations",
        ["account_id", "name", "port", "starttls", "fixed"],
        unique=False,
        **_where("deleted_at IS NULL"),
    )
    op.create_index(op.f("ix_imported_observations_import_id"), "imported_observations", ["import_id"], unique=False)
    op.create_table(
        "imported_people",
        sa.Column("id", BigId, nullable=False),
        sa.Column("account_id", BigId, nullable=False),
        sa.Column("import_id", BigId, nullable=False),
        sa.Column("domain_id", BigId, nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_imported_people_account_id_accounts")),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name=op.f("fk_imported_people_domain_id_domains")),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_imported_people_import_id_imports")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_people")),
    )
    op.create_index(
        "ix_imported_people",
        "imported_people",
        ["account_id", "email"],
        unique=False,
        **_where("deleted_at IS NULL"),
    )
    op.create_index(op.f("ix_imported_people_import_id"), "imported_people", ["import_id"], unique=False)
    op.create_index(
        "uq_imported_people_live",
        "imported_people",
        ["domain_id"],
        unique=True,
        **_where("deleted_at IS NULL"),
    )
