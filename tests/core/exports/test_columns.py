"""Nothing is forgotten: every column of every table is exported, or left out for a reason that stands here."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Final

import audit.tables
import core.store
from core.exports.form import ACCOUNT, CERTIFICATES, CHAINS, CHANNELS, DOMAINS, INCIDENTS, MEMBERS_OF, OBSERVATIONS, SETTINGS, WATCHES
from core.exports.shapes import SHAPES
from core.store.base import Base

ROW: Final = "a row's own number, or another row's: it means nothing elsewhere"
DERIVED: Final = "worked out anew from the rest"
BIN: Final = "what lies in the bin stays there, and is no part of the account any more"
SCANS: Final = "when something was last looked at, and by whom: the new place looks itself"

EXPORTED: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "accounts": (ACCOUNT, {"name": "name", "created_at": "created_at"}),
    "account_rules": (SETTINGS, {"factor_since": "factor_required"}),
    "export_plans": (SETTINGS, dict.fromkeys(("every", "history", "place", "address", "recipient"), "plans")),
    "domains": (DOMAINS, {"name": "name", "kind": "kind", "created_at": "created_at"}),
    "domain_cards": (DOMAINS, {"note": "note", "responsible_id": "responsible"}),
    "tags": (DOMAINS, {"word": "tags"}),
    "domain_tags": (DOMAINS, {"tag_id": "tags"}),
    "imported_people": (DOMAINS, {"email": "responsible"}),
    "watches": (WATCHES, {"name": "name", "port": "port", "starttls": "starttls", "address": "fixed", "since_at": "since_at"}),
    "memberships": (MEMBERS_OF, {"role": "role", "created_at": "since_at"}),
    "users": (MEMBERS_OF, {"email": "email"}),
    "observations": (
        OBSERVATIONS,
        {name: name for name in ("perspective", "address", "key_asked", "seen_at", "content_sha256", "chain", "ocsp_staple", "scts")}
        | {f"failure_{name}": "failure" for name in ("kind", "stage", "message")}
        | {f"tls_{name}": "tls" for name in ("version", "cipher", "group", "alpn")},
    ),
    "incidents": (
        INCIDENTS,
        {name: name for name in ("check", "certificate", "severity", "message", "opened_at", "closed_at", "removed", "cleared_at")},
    ),
    "certificates": (
        CERTIFICATES,
        {name: name for name in ("sha256", "subject", "issuer", "serial", "not_before", "not_after", "key", "spki_sha256", "unreadable")}
        | {"der": "sha256"},
    ),
    "imported_observations": (OBSERVATIONS, {"line": "seen_at"}),
    "imported_incidents": (INCIDENTS, {"line": "check"}),
    "imported_certificates": (CERTIFICATES, {"line": "sha256", "der": "sha256"}),
    "imported_chains": (CHAINS, {"chain": "chain", "certificates": "certificates"}),
}
"""By table: the member, and the field in which each column stands. `der` stands in certificates.pem, beside its digest."""

LEFT_OUT: Final[Mapping[str, Mapping[str, str]]] = {
    "accounts": {"id": ROW, "ref": "in the manifest, since it is the old place's", "deleted_at": BIN},
    "account_rules": {"account_id": ROW},
    "export_plans": {
        "id": ROW, "ref": ROW, "account_id": ROW, "created_by": ROW, "created_at": SCANS, "sealed": "a secret", "next_at": SCANS,
        "last_at": SCANS, "last_error": SCANS, "failures": SCANS, "deleted_at": BIN,
    },
    "domains": {"id": ROW, "ref": ROW, "account_id": ROW, "created_by": ROW, "deleted_at": BIN},
    "domain_cards": {"domain_id": ROW, "account_id": ROW, "version": DERIVED, "changed_at": DERIVED, "changed_by": ROW},
    "tags": {"id": ROW, "account_id": ROW, "names": DERIVED},
    "domain_tags": {"domain_id": ROW, "deleted_at": BIN},
    "imported_people": {"id": ROW, "account_id": ROW, "import_id": ROW, "domain_id": ROW, "deleted_at": BIN},
    "watches": {
        "id": ROW, "ref": ROW, "account_id": ROW, "domain_id": ROW, "endpoint_id": ROW, "state": DERIVED, "rank": DERIVED,
        "ends_at": DERIVED, "sentence": DERIVED, "sought": DERIVED, "created_by": ROW, "deleted_at": BIN, "deleted_by": ROW,
    },
    "memberships": {"id": ROW, "account_id": ROW, "user_id": ROW, "deleted_at": BIN},
    "users": {
        "id": ROW, "ref": ROW, "password_hash": "a secret", "installation_role": "the installation's, and no account's",
        "created_at": "the person's own, and no account's", "deleted_at": BIN,
    },
    "observations": {"id": ROW, "endpoint_id": ROW, "leaf_sha256": "the first of the chain"},
    "incidents": {"id": ROW, "ref": ROW, "account_id": ROW, "watch_id": ROW},
    "certificates": {"first_seen_at": "when anybody saw it first, other accounts among them"},
    "imported_observations": {
        "id": ROW, "account_id": ROW, "import_id": ROW, "deleted_at": BIN,
        **dict.fromkeys(("name", "port", "starttls", "fixed", "perspective", "address", "key_asked", "seen_at"), "in `line`"),
        "content_sha256": "in `line`",
    },
    "imported_incidents": {
        "id": ROW, "account_id": ROW, "import_id": ROW, "deleted_at": BIN,
        **dict.fromkeys(("name", "port", "starttls", "fixed", "opened_at", "check", "certificate"), "in `line`"),
    },
    "imported_certificates": {"id": ROW, "account_id": ROW, "import_id": ROW, "sha256": "in `line`", "deleted_at": BIN},
    "imported_chains": {"id": ROW, "account_id": ROW, "import_id": ROW, "deleted_at": BIN},
}  # fmt: skip

OTHERS: Final[Mapping[str, str]] = {
    "access_reports": "of the installation", "accesses": "of the installation", "alarm_mails": "of the installation",
    "alarms": "of the installation", "backup_holds": "of the installation", "backups": "of the installation",
    "bundle_keys": "of the installation", "chores": "of the installation", "drills": "of the installation",
    "heartbeats": "of the installation", "hosts": "of the installation", "installation": "of the installation",
    "public_incidents": "of the installation", "public_updates": "of the installation", "recovery_kits": "of the installation",
    "scan_tallies": "of the installation", "subscribers": "strangers' own", "spot_checks": "strangers' own", "spot_dials": "strangers' own",
    "user_disablings": "of the installation", "impersonations": "what operators did: the log and the account's activity tell it",
    "audit_counted": "the log's", "audit_entries": "the log's: an account's part of it is downloaded under Activity, with its proofs",
    "audit_erasures": "the log's", "audit_logs": "the log's", "audit_outbox": "the log's", "audit_private": "the log's",
    "api_tokens": "secrets, and of no use elsewhere", "calendars": "secrets, and of no use elsewhere",
    "factors": "a person's secrets", "identities": "a person's own", "login_sessions": "a person's secrets",
    "one_time_links": "a person's secrets", "passkey_questions": "a person's secrets", "passkeys": "a person's secrets",
    "preferences": "a person's own, and no account's", "recovery_codes": "a person's secrets", "oidc_flows": "a person's secrets",
    "failed_attempts": "a person's own", "approvals": "what waits for a person here", "invitations": "people are invited anew",
    "letters": "mails that left, or did not", "notices": "mails that left, or did not", "notice_incidents": "mails that left, or did not",
    "current": SCANS, "endpoints": "shared: they arise anew as names are added", "findings": "judged anew from what was seen",
    "scan_gaps": SCANS, "schedule": SCANS, "verdicts": "judged anew from what was seen", "served_leaves": DERIVED,
    "watch_tallies": DERIVED, "exports": "files that were made here", "imports": "files that were brought in here",
    "import_changes": "what undoes an import here",
}  # fmt: skip
"""Tables that no export has anything of, and why."""


def tables() -> dict[str, set[str]]:
    for module in pkgutil.iter_modules(core.store.__path__):
        importlib.import_module(f"core.store.{module.name}")
    assert audit.tables
    return {name: set(table.columns.keys()) for name, table in Base.metadata.tables.items()}


def test_every_table_is_exported_or_left_out_for_a_reason() -> None:
    assert set(tables()) == set(EXPORTED) | set(OTHERS)
    assert not set(EXPORTED) & set(OTHERS)
    assert all(OTHERS.values())


def test_every_column_of_an_exported_table_is_exported_or_left_out_for_a_reason() -> None:
    for table, columns in tables().items():
        if table in EXPORTED:
            _, exported = EXPORTED[table]
            left_out = LEFT_OUT.get(table, {})
            assert columns == set(exported) | set(left_out), table
            assert not set(exported) & set(left_out), table
            assert all(left_out.values())


def test_every_field_that_is_named_is_one() -> None:
    for table, (member, columns) in EXPORTED.items():
        for column, name in columns.items():
            lines = {name: None}
            assert not SHAPES[member](lines), f"{table}.{column}: {member} has more fields than {name}"
            assert name in fields_of(member), f"{table}.{column}: {member} has no field {name}"


def fields_of(member: str) -> set[str]:
    """The fields of a member, as its shape has them."""
    return set(SHAPES[member].shapes)


def test_channels_are_the_members_addresses() -> None:
    assert fields_of(CHANNELS) == {"kind", "to"}
