"""What goes out comes back identical: exported, imported into an empty installation, exported there, and compared byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from core.actions.domains import add_domains
from core.actions.import_plan import Choices
from core.actions.imports import apply_import, hand_in
from core.actions.policy import Actor
from core.exports.compare import differences
from core.exports.content import open_content
from core.exports.write import write_bundle
from core.net.names import Listed
from core.net.text import one_line
from core.scanner.certificate import read_certificate
from core.store.account_rules import AccountRules
from core.store.accounts import Account
from core.store.base import new_ref
from core.store.db import WRITING, Sessions, make_engine
from core.store.factors import Factor
from core.store.imported import import_by_ref
from core.store.imports import ImportedObservation
from core.store.incidents import Incident
from core.store.observations import Certificate, Observation
from core.store.watches import Watch
from demo.pki import make_chain
from tests.exporting import KEY, WHENCE, bring_in, export, make_rich, members, write_card
from tests.make import NOW, make_actor


@pytest.fixture
def elsewhere_sessions(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Sessions]:
    """Another installation, with nothing in it."""
    (tmp_path / "elsewhere.db").write_bytes(migrated_sqlite.read_bytes())
    found = Sessions(make_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}"))
    yield found
    found.engine.dispose()


def test_an_account_comes_back_whole_and_goes_on_as_it_came(sessions: Sessions, elsewhere_sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    export(sessions, owner, tmp_path / "first.zip", now=NOW + timedelta(days=1))
    there = elsewhere_sessions
    with there.writing() as session:
        other = make_actor(session, "somebody@else.example")
    _, done = bring_in(there, other, tmp_path / "first.zip", now=NOW + timedelta(days=2))
    assert done.plan.counts == {"added": 5, "changed": 0, "skipped": 0, "refused": 0}
    export(there, other, tmp_path / "second.zip", now=NOW + timedelta(days=3))
    assert differences(tmp_path / "first.zip", tmp_path / "second.zip") == ()
    one, two = members(tmp_path / "first.zip"), members(tmp_path / "second.zip")
    for member in (
        "observations.jsonl",
        "incidents.jsonl",
        "chains.jsonl",
        "certificates.jsonl",
        "certificates.pem",
        "domains.csv",
        "settings.json",
    ):
        assert one[member] == two[member], member
    with there.reading() as session:  # what is shared holds what was seen here, by nobody's word
        assert session.scalar(sa.select(sa.func.count()).select_from(Observation)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(Certificate)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(ImportedObservation)) == one["observations.jsonl"].count(b"\n")
    _, again = bring_in(there, other, tmp_path / "first.zip", now=NOW + timedelta(days=4))
    assert again.plan.counts == {"added": 0, "changed": 0, "skipped": 5, "refused": 0}
    assert again.history is not None
    assert (again.history.observations, again.history.incidents, again.history.certificates) == (0, 0, 0)
    export(there, other, tmp_path / "third.zip", now=NOW + timedelta(days=5))
    assert differences(tmp_path / "first.zip", tmp_path / "third.zip") == ()


LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True).filter(lambda label: label[2:4] != "--")
NAME = st.builds("{}.{}.example".format, LABEL, LABEL)
LISTED = st.builds(
    Listed, NAME, st.integers(1, 65_535), st.sampled_from(["", "smtp", "imap"]), st.sampled_from(["", "192.0.2.1", "2001:db8::1"])
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=60)
WORD = st.from_regex(r"[a-zäß日][a-z0-9äß日]{0,5}", fullmatch=True)
WHEN = st.datetimes(NOW.replace(tzinfo=None), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
OR_NONE = st.none() | TEXT
BAD = st.tuples(WHEN, TEXT, st.none() | WHEN)
CARD = st.tuples(TEXT, st.lists(WORD, max_size=3))
CERTIFICATES_POOL = [make_chain([f"{each}.example"]) for each in "ab"]
DERS = [der for chain in CERTIFICATES_POOL for der in chain.ders] + [b"\x30\x03\x02\x01", b"no certificate at all"]


@st.composite
def observed(draw: st.DrawFn) -> dict[str, Any]:
    """What a probe may have seen, however odd."""
    failed = draw(st.booleans())
    chain = [hashlib.sha256(each).hexdigest() for each in draw(st.lists(st.sampled_from(DERS), max_size=3))]
    return {
        "perspective": draw(st.sampled_from(["local", "eu", "us"])),
        "address": draw(st.sampled_from(["192.0.2.1", "192.0.2.10", "2001:db8::9"])),
        "seen_at": draw(WHEN), "content_sha256": draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
        "failure_kind": draw(st.sampled_from(["refused", "timeout"])) if failed else None, "failure_stage": "connect" if failed else None,
        "failure_message": draw(TEXT) if failed else None, "tls_version": None if failed else draw(TEXT),
        "tls_cipher": draw(OR_NONE), "tls_group": draw(OR_NONE), "tls_alpn": draw(OR_NONE), "leaf_sha256": chain[0] if chain else None,
        "chain": chain, "ocsp_staple": draw(st.none() | st.binary(max_size=9)), "scts": draw(st.none() | st.binary(max_size=9)),
        "key_asked": draw(st.sampled_from(["", "RSA", "EC"])),
    }  # fmt: skip


@st.composite
def accounts(draw: st.DrawFn) -> dict[str, Any]:
    """An account: what its people typed in, and what was seen."""
    listed = draw(st.lists(LISTED, min_size=1, max_size=6, unique_by=lambda each: each.key))
    return {
        "listed": listed,
        "cards": draw(st.dictionaries(st.sampled_from(sorted({each.name for each in listed})), CARD)),
        "seen": draw(st.lists(st.tuples(st.sampled_from(listed), observed()), max_size=8)),
        "incidents": draw(st.lists(BAD, max_size=4, unique_by=lambda each: each[0])),
        "name": draw(TEXT.map(one_line).filter(lambda name: 0 < len(name) <= 100)),
        "factor": draw(st.booleans()),
    }


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(account=accounts())
def test_whatever_an_account_holds_comes_back(sessions: Sessions, tmp_path: Path, account: dict[str, Any]) -> None:
    """Nothing is kept of an example: the transaction is rolled back."""
    with Session(sessions.engine) as session:
        session.connection(execution_options=WRITING)
        owner = make_actor(session, "mira@example.org")
        fill(session, owner, account)
        write(session, owner, tmp_path / "first.zip")
        other = make_actor(session, "eve@elsewhere.example", now=NOW + timedelta(days=9_000))
        session.add(Factor(ref=new_ref(), user_id=other.user_id, kind="totp", sealed="x", created_at=NOW, confirmed_at=NOW))
        ref = hand_in(session, other, name="x", size=1, sha256="0" * 64, now=NOW + timedelta(days=9_000))
        row = import_by_ref(session, other.account_id or 0, ref)
        assert row is not None
        with open_content(tmp_path / "first.zip", own_vkeys=[KEY.vkey]) as content:
            assert content.trust == "own"
            done = apply_import(
                session, other, row, content, Choices(factor=True), private_ranges=True, now=NOW + timedelta(days=9_000)
            )  # fmt: skip
        assert done.plan.counts["refused"] == 0, [item for item in done.plan.items if item.outcome == "refused"]
        write(session, other, tmp_path / "second.zip")
        assert differences(tmp_path / "first.zip", tmp_path / "second.zip") == ()
        session.rollback()


def write(session: Session, actor: Actor, path: Path) -> None:
    session.flush()
    session.expire_all()
    with path.open("wb") as file:
        write_bundle(session, actor.account_id or 0, file, whence=WHENCE, history="all", now=NOW)


def fill(session: Session, actor: Actor, account: dict[str, Any]) -> None:
    add_domains(session, actor, listed=account["listed"], private_ranges=True, now=NOW)
    for name, (note, tags) in account["cards"].items():
        write_card(session, actor, name, note, ", ".join(tags))
    session.execute(sa.update(Account).where(Account.id == actor.account_id).values(name=account["name"]))
    if account["factor"]:
        session.add(AccountRules(account_id=actor.account_id, factor_since=NOW))
    watches = {watch.key: watch for watch in session.scalars(sa.select(Watch).where(Watch.account_id == actor.account_id))}
    for der in DERS:
        read = read_certificate(der)
        names = ("sha256", "der", "subject", "issuer", "serial", "not_before", "not_after", "key", "spki_sha256")
        facts = {name: getattr(read, name) for name in names}
        session.add(Certificate(**facts, first_seen_at=NOW, unreadable=list(read.unreadable)))
    session.flush()
    unique = ("perspective", "address", "seen_at", "content_sha256")
    once = {(watches[each.key].endpoint_id, *(row[name] for name in unique)): row for each, row in account["seen"]}
    session.add_all(Observation(endpoint_id=key[0], **row) for key, row in once.items())
    for number, (at, message, closed) in enumerate(account["incidents"]):
        watch = watches[account["listed"][number % len(watches)].key]
        session.add(
            Incident(
                ref=new_ref(), account_id=actor.account_id, watch_id=watch.id, check=f"check-{number}", severity="high",
                message=message, opened_at=at, closed_at=closed, cleared_at=None, removed=closed is not None,
            )
        )  # fmt: skip
    session.flush()


@pytest.mark.parametrize("name", ["v1.zip"])
def test_files_of_every_form_that_was_ever_written_come_back(sessions: Sessions, tmp_path: Path, name: str) -> None:
    """`bundles/` has one of each, as it was written then. They are never made anew: somebody has such a file."""
    old = Path(__file__).parent / "bundles" / name
    with sessions.writing() as session:
        actor = make_actor(session, "mira@example.org")
    _, done = bring_in(sessions, actor, old, trusted=True)
    assert (done.plan.counts["added"], done.plan.counts["refused"]) == (5, 0)
    export(sessions, actor, tmp_path / "again.zip")
    assert differences(old, tmp_path / "again.zip") == ()
