"""A store of one large account beside a smaller one, seeded in seconds: rows as many scans leave them, written to the tables directly.

The rows are those of revision 0004; the migrations that came later run over them, as they do where KeyChest is upgraded.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import idna
import psycopg
import sqlalchemy as sa

from core.actions.accounts import accept_welcome, create_user
from core.actions.passwords import hash_password
from core.store import schema
from core.store.base import new_ref
from core.store.db import Sessions
from core.store.watches import NO_END, STATES
from demo.pki import Chain, make_chain
from tests.make import TERMINAL

SEEDED_AT: Final = "0004"
PASSWORD: Final = "correct horse battery"
LARGE, SMALL, NOBODY = "mira@example.org", "eve@elsewhere.example", "nil@example.net"
FIRST = ("www", "shop", "mail", "api", "login", "static", "vpn", "intranet", "files", "status", "docs", "harbour")
SECOND = ("north", "south", "quay", "crane", "pilot", "tide", "anchor", "beacon", "ledger", "orchard")
IDN = ("bücher", "größe", "münchen", "日本語", "пример", "señal")
SHARES: Final = 0.02
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Seeder:
    """Writes rows of the one table or the other, in one transaction."""

    sessions: Sessions
    now: datetime
    numbers: random.Random = field(default_factory=lambda: random.Random(1))  # the same rows every time

    def put(self, connection: sa.Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows of one table as fast as the engine takes them; all rows have the same columns."""
        columns = list(rows[0])
        quoted = ", ".join(f'"{column}"' for column in columns)
        raw: Any = connection.connection.dbapi_connection
        if isinstance(raw, psycopg.Connection):
            with raw.cursor() as cursor, cursor.copy(f"COPY {table} ({quoted}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row([json.dumps(value) if isinstance(value, list | dict) else value for value in row.values()])
            raw.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {len(rows) + 1_000_000})".encode()
                if "id" in columns
                else b"SELECT 1"
            )
        else:
            marks = ", ".join("?" * len(columns))
            raw.executemany(f"INSERT INTO {table} ({quoted}) VALUES ({marks})", (tuple(map(_sqlite, row.values())) for row in rows))


def _sqlite(value: object) -> object:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return json.dumps(value) if isinstance(value, list | dict) else value


def seed(sessions: Sessions, names: int, now: datetime) -> None:
    """Migrate, and fill: `names` names of one account, a fifth of them watched by another one as well, an account with none."""
    schema.upgrade(sessions.engine, SEEDED_AT)
    seeder = Seeder(sessions, now)
    ids, links = _people(seeder)
    chain = make_chain(["*.example.org"], now=now)
    with sessions.engine.connect() as connection, connection.execution_options(begin="IMMEDIATE").begin():
        certificates = _certificates(seeder, names * 3 // 10, chain)
        seeder.put(connection, "certificates", certificates)
        serving = _serving(seeder, names, [row["sha256"] for row in certificates[2:]])
        watched = _watches(seeder, names, serving, {row["sha256"]: row["not_after"] for row in certificates}, ids)
        _put_watches(seeder, connection, watched, ids)
        _put_scans(seeder, connection, serving, certificates, watched)
    schema.upgrade(sessions.engine)
    kept = hash_password(PASSWORD)
    for token in links:
        with sessions.writing() as session:
            accept_welcome(session, token=token, password_hash=kept, now=now)


def _people(seeder: Seeder) -> tuple[dict[str, int], list[str]]:
    """Their accounts by address, and the links by which they choose a password once the migrations are through."""
    ids: dict[str, int] = {}
    links: list[str] = []
    for email in (LARGE, SMALL, NOBODY):
        with seeder.sessions.writing() as session:
            links.append(create_user(session, TERMINAL, email=email, operator=False, now=seeder.now))
            ids[email] = session.execute(
                sa.text("SELECT m.account_id FROM memberships m JOIN users u ON u.id = m.user_id WHERE u.email = :email"), {"email": email}
            ).scalar_one()
    return ids, links


def _certificates(seeder: Seeder, many: int, chain: Chain) -> list[dict[str, Any]]:
    """Leaves with keys of their own, after the root and the intermediate that all share."""
    template = chain.leaf.der
    rows = [
        _certificate(forged.der, "CN=Test CA", "CN=Test CA", 7, since=seeder.now - DAY * 900, until=seeder.now + DAY * 900, now=seeder.now)
        for forged in (chain.root, *chain.intermediates)
    ]
    for number in range(many):
        ends = (
            seeder.now
            + DAY * (seeder.numbers.randrange(1, 88) if number % 50 else -seeder.numbers.randrange(1, 400))
            + timedelta(seconds=number)
        )
        der = template[:-600] + seeder.numbers.randbytes(len(template[-600:]))
        issuer = ("CN=Harbour R3,O=Harbour Trust", "CN=Harbour E5,O=Harbour Trust", "CN=Quay Issuing CA 7,O=Quay", "CN=Rare Lantern CA")[
            min(number % 20 // 7, 2) if number % 3000 else 3
        ]
        rows.append(
            _certificate(
                der,
                f"CN={FIRST[number % 12]}-{number:05}.{SECOND[number % 10]}.example",
                issuer,
                seeder.numbers.getrandbits(120),
                since=ends - DAY * 90,
                until=ends,
                now=seeder.now,
            )
        )
    return rows


def _certificate(
    der: bytes, subject: str, issuer: str, serial: int, *, since: datetime, until: datetime, now: datetime
) -> dict[str, Any]:  # fmt: skip
    digest = hashlib.sha256(der).hexdigest()
    return {
        "sha256": digest, "der": der, "first_seen_at": now - DAY * 30, "subject": subject, "issuer": issuer, "serial": f"{serial:x}",
        "not_before": since, "not_after": until, "key": "EC P-256", "spki_sha256": digest, "unreadable": [],
    }  # fmt: skip


def _serving(seeder: Seeder, names: int, digests: Sequence[str]) -> list[str]:
    """The leaf of each name: five wildcards at a tenth of all names, two thirds of the certificates at one name each, the rest shared."""
    wild, single = digests[:5], digests[5 : len(digests) * 2 // 3]
    shared = digests[len(digests) * 2 // 3 :]
    leaves = [*single, *(wild[number % 5] for number in range(names // 10))]
    leaves += [shared[number % len(shared)] for number in range(names - len(leaves))]
    seeder.numbers.shuffle(leaves)
    return leaves


def _watches(
    seeder: Seeder, names: int, serving: Sequence[str], ends: Mapping[str, datetime], ids: Mapping[str, int]
) -> list[dict[str, Any]]:
    rows = []
    for number in range(names):
        state = seeder.numbers.choices(STATES, (10, 30, 20, 1, 939))[0]
        rows.append({
            "id": number + 1, "ref": new_ref(), "account_id": ids[LARGE], "domain_id": number + 1, "endpoint_id": number + 1,
            "name": _name(seeder.numbers, number), "port": 443, "starttls": "", "address": "", "state": state, "rank": STATES.index(state),
            "ends_at": NO_END if state in {"unk", "live"} else ends[serving[number]], "sentence": _SENTENCES[state],
            "since_at": seeder.now - DAY * 60, "created_by": None, "deleted_at": None, "deleted_by": None,
        })  # fmt: skip
    return rows


_SENTENCES = {
    "bad": "The certificate has ended.", "soon": "Renewal is due.", "unk": "The connection was refused.", "live": "", "ok": "Verified.",
}  # fmt: skip


def _name(numbers: random.Random, number: int) -> str:
    if number % 50 == 0:
        label = IDN[number // 50 % len(IDN)]
        return f"{idna.encode(label + str(number)).decode()}.{SECOND[number % 10]}.example"
    rare = "zebra-" if number % 5_000 == 1 else ""
    return f"{rare}{FIRST[min(int(numbers.expovariate(0.4)), 11)]}-{number:06}.{numbers.choice(SECOND)}.example"


def _put_watches(seeder: Seeder, connection: sa.Connection, watched: Sequence[Mapping[str, Any]], ids: Mapping[str, int]) -> None:
    now, names = seeder.now, len(watched)
    large = [
        {
            "id": row["id"],
            "ref": new_ref(),
            "account_id": ids[LARGE],
            "name": row["name"],
            "kind": "exact",
            "created_at": now,
            "created_by": None,
            "deleted_at": None,
        }
        for row in watched
    ]
    also = [row for row in watched if row["id"] % 5 == 0]
    small = [each | {"id": each["id"] + names, "ref": new_ref(), "account_id": ids[SMALL]} for each in large if each["id"] % 5 == 0]
    seeder.put(connection, "domains", [*large, *small])
    seeder.put(
        connection,
        "endpoints",
        [
            {"id": row["id"], "name": row["name"], "port": 443, "starttls": "", "address": "", "scope": "", "created_at": now - DAY * 60}
            for row in watched
        ],
    )
    theirs = [
        dict(row) | {"id": row["id"] + names, "ref": new_ref(), "account_id": ids[SMALL], "domain_id": row["id"] + names} for row in also
    ]
    seeder.put(connection, "watches", [*watched, *theirs])
    for email, rows in ((LARGE, watched), (SMALL, theirs)):
        for state in STATES:
            count = sum(row["state"] == state for row in rows)
            connection.execute(
                sa.text("UPDATE watch_tallies SET watches = :count WHERE account_id = :account AND state = :state"),
                {"count": count, "account": ids[email], "state": state},
            )


def _put_scans(
    seeder: Seeder,
    connection: sa.Connection,
    serving: Sequence[str],
    certificates: Sequence[Mapping[str, Any]],
    watched: Sequence[Mapping[str, Any]],
) -> None:
    now, root, middle = seeder.now, certificates[0]["sha256"], certificates[1]["sha256"]
    last = [now - timedelta(seconds=seeder.numbers.randrange(60, 28_000)) for _ in serving]
    spots = [f"192.0.2.{number % 250}" for number in range(len(serving))]
    seeder.put(connection, "schedule", [
        {"endpoint_id": n, "perspective": "local", "next_scan_at": last[n - 1] + timedelta(hours=8), "urgent": False, "lease_until": None, "claim": 9,
         "watchers": 1 + (n % 5 == 0), "failures": 0, "scans": 9, "requested_at": None, "last_scanned_at": last[n - 1]} for n in range(1, len(serving) + 1)
    ])  # fmt: skip
    seeder.put(connection, "observations", [
        {"id": n, "endpoint_id": n, "perspective": "local", "address": spots[n - 1], "seen_at": now - DAY * 40, "content_sha256": leaf, "failure_kind": None,
         "failure_stage": None, "failure_message": None, "tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_256_GCM_SHA384", "tls_group": "X25519MLKEM768",
         "tls_alpn": "", "leaf_sha256": leaf, "chain": [leaf, middle], "ocsp_staple": None, "scts": None} for n, leaf in enumerate(serving, 1)
    ])  # fmt: skip
    seeder.put(connection, "current", [
        {"endpoint_id": n, "perspective": "local", "address": spots[n - 1], "observation_id": n, "last_seen_at": last[n - 1], "gone_at": None, "verified": True,
         "path": [leaf, middle, root]} for n, leaf in enumerate(serving, 1)
    ])  # fmt: skip
    seeder.put(connection, "verdicts", [
        {"endpoint_id": row["id"], "perspective": "local", "judged_at": last[row["id"] - 1], "ruleset": "1", "state": row["state"], "ends_at": row["ends_at"],
         "sentence": row["sentence"], "cname_chain": []} for row in watched
    ])  # fmt: skip
    seeder.put(connection, "findings", list(_findings(watched, spots, serving, now)))
    seeder.put(connection, "incidents", list(_incidents(watched, now)))
    seeder.put(connection, "scan_gaps", [
        {"id": n, "endpoint_id": n * 20, "perspective": "local", "due_at": now - DAY * (n % 29) - timedelta(hours=1), "noticed_at": now - DAY * (n % 29),
         "closed_at": now - DAY * (n % 29) + timedelta(hours=1)} for n in range(1, len(watched) // 20)
    ])  # fmt: skip
    seeder.put(
        connection, "scan_tallies", [{"day": f"{now - DAY * back:%Y-%m-%d}", "perspective": "local", "made": 300_000} for back in range(30)]
    )


def _findings(
    watched: Sequence[Mapping[str, Any]], spots: Sequence[str], serving: Sequence[str], now: datetime
) -> Iterator[dict[str, Any]]:
    for row in watched:
        if row["state"] != "ok" or row["id"] % 10 == 0:
            yield {
                "id": row["id"], "endpoint_id": row["id"], "perspective": "local", "address": spots[row["id"] - 1], "check": "CERT-EXPIRING",
                "certificate": serving[row["id"] - 1], "severity": "medium", "status": "warn", "message": row["sentence"], "cause": "c", "fix": "f",
                "evidence": {}, "opened_at": now - DAY * 5, "last_seen_at": now - timedelta(minutes=1), "closed_at": None,
            }  # fmt: skip


def _incidents(watched: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[dict[str, Any]]:
    """One open for every bad watch, and two for every tenth that were and are over."""
    for row in watched:
        opened = [0] if row["state"] == "bad" else []
        for number in opened + ([1, 2] if row["id"] % 10 == 0 else []):
            over = now - DAY * number * 10 if number else None
            yield {
                "id": row["id"] * 3 + number, "ref": new_ref(), "account_id": row["account_id"], "watch_id": row["id"], "check": f"CERT-{number}",
                "certificate": "", "severity": "high", "message": "The certificate has ended.", "opened_at": now - DAY * (number * 10 + 1), "closed_at": over,
                "removed": False, "cleared_at": over,
            }  # fmt: skip
