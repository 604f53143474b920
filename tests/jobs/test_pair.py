"""A second certificate of an endpoint from the first scan on: recorded beside the first, asked for again, and gone when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.actions.claim_scans import ASK_EVERY, claim_due, scans_in_hand
from core.net.names import Listed
from core.perspective import LOCAL
from core.scanner.facts import OtherKey
from core.store.db import Sessions
from core.store.endpoints import Schedule
from core.store.incidents import Incident
from core.store.observations import Current, Observation
from core.store.watches import Watch
from demo.pki import DAY, Chain, Forged, make_chain, make_root
from jobs.context import Context
from tests.dnsserver import bind9
from tests.jobs.test_scan import LEASE, add, make_context, run
from tests.servers import raw_server, silent_after, tls_server

NAME = "a.kc.test"


@pytest.fixture(scope="module")
def root() -> Forged:
    return make_root()


@pytest.fixture(scope="module")
def ec(root: Forged) -> Chain:
    return make_chain([NAME], root=root)


@pytest.fixture(scope="module")
def old_rsa(root: Forged) -> Chain:
    """Ended yesterday."""
    return make_chain([NAME], root=root, key="rsa2048", not_after=datetime.now(UTC).replace(microsecond=0) - DAY)


@pytest.fixture(scope="module")
def resolver() -> Iterator[str]:
    with bind9({"kc.test": "* A 127.0.0.1"}) as address:
        yield address


@pytest.fixture
def context(sessions: Sessions, tmp_path: Path, resolver: str, root: Forged) -> Context:
    return make_context(sessions, tmp_path, resolver, roots=root.pem)


def scan_again(context: Context) -> dict[str, str]:
    """As the clock would, when it is due: no person asked."""
    now = datetime.now(UTC)
    with context.sessions.writing() as session:
        session.execute(sa.update(Schedule).values(next_scan_at=now))
        claims = claim_due(session, perspective=LOCAL, urgent=False, most=9, lease=LEASE, now=now)
    assert len(claims) == 1
    return run(context, claims)


def rows(context: Context) -> list[tuple[str, str | None, bool]]:
    """What is current: the kind of key asked for, the leaf, and whether it is gone."""
    query = sa.select(Current.key_asked, Observation.leaf_sha256, Current.gone_at.is_not(None))
    with context.sessions.reading() as session:
        found = session.execute(query.join(Observation, Observation.id == Current.observation_id).order_by(Current.key_asked))
        return [(asked, leaf, bool(gone)) for asked, leaf, gone in found]


def open_checks(context: Context) -> set[str]:
    with context.sessions.reading() as session:
        return set(session.scalars(sa.select(Incident.check).where(Incident.closed_at.is_(None))))


@pytest.mark.slow
def test_it_is_recorded_asked_for_again_and_gone_when_it_is_taken_away(context: Context, ec: Chain, old_rsa: Chain) -> None:
    with tls_server(ec.pem, ec.key_pem, beside=(old_rsa.pem, old_rsa.key_pem)) as server:
        port = server.port
        assert run(context, add(context.sessions, Listed(NAME, port))) == {NAME: "bad"}
        there = [("", ec.leaf.sha256, False), ("RSA", old_rsa.leaf.sha256, False)]
        assert rows(context) == there
        with context.sessions.reading() as session:
            (watch,) = session.scalars(sa.select(Watch))
            assert watch.sentence.startswith("Of two certificates here, the RSA one: This certificate ended on")
            assert watch.ends_at == old_rsa.leaf.certificate.not_valid_after_utc
        assert open_checks(context) == {"CERT-EXPIRED", "CERT-PAIR"}
        for _ in range(ASK_EVERY):  # also when it is nobody's turn to be asked
            assert scan_again(context) == {NAME: "bad"}
        assert rows(context) == there
        with context.sessions.reading() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(Observation)) == 2
    with tls_server(ec.pem, ec.key_pem, port=port):
        assert scan_again(context) == {NAME: "ok"}
        assert rows(context) == [there[0], ("RSA", old_rsa.leaf.sha256, True)]


@pytest.mark.slow
def test_one_that_is_not_shown_for_once_is_not_taken_for_cured(context: Context, ec: Chain, old_rsa: Chain) -> None:
    with tls_server(ec.pem, ec.key_pem, beside=(old_rsa.pem, old_rsa.key_pem)) as server:
        run(context, add(context.sessions, Listed(NAME, server.port)))
        before, port = rows(context), server.port
    with raw_server(silent_after(ec.pem, ec.key_pem, turns=1), port=port):
        scan_again(context)
    assert rows(context) == before
    assert open_checks(context) == {"CERT-EXPIRED", "CERT-PAIR"}


@pytest.mark.slow
def test_a_server_that_was_away_is_asked_for_both_when_it_is_back(context: Context, ec: Chain, old_rsa: Chain) -> None:
    """An outage says nothing of the second certificate, and whose turn it is decides nothing where there was one."""
    with tls_server(ec.pem, ec.key_pem, beside=(old_rsa.pem, old_rsa.key_pem)) as server:
        run(context, add(context.sessions, Listed(NAME, server.port)))
        before, port = rows(context), server.port
    assert scan_again(context) == {NAME: "unk"}
    with tls_server(ec.pem, ec.key_pem, beside=(old_rsa.pem, old_rsa.key_pem), port=port):
        assert scan_again(context) == {NAME: "bad"}
    assert rows(context) == before
    assert open_checks(context) == {"CERT-EXPIRED", "CERT-PAIR"}


@pytest.mark.slow
def test_who_is_asked(context: Context, ec: Chain) -> None:
    """At the first claim, at every third from there, whenever a person asks; and then there was none."""
    asked: list[OtherKey] = []
    with tls_server(ec.pem, ec.key_pem) as server:
        claims = add(context.sessions, Listed(NAME, server.port))
        for turn in range(2 * ASK_EVERY):
            with context.sessions.reading() as session:
                asked += [each.target.other_key for each in scans_in_hand(session, LOCAL, claims)]
            run(context, claims)
            with context.sessions.writing() as session:
                session.execute(sa.update(Schedule).values(next_scan_at=datetime.now(UTC), urgent=turn == 1))
                claims = claim_due(session, perspective=LOCAL, urgent=turn == 1, most=9, lease=LEASE, now=datetime.now(UTC))
    assert asked == [OtherKey.ASKED, OtherKey.LEFT, OtherKey.ASKED, OtherKey.ASKED, OtherKey.LEFT, OtherKey.LEFT]
