"""The scan job itself, over real handshakes: what it records, and what one odd endpoint does to the others."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.actions.claim_scans import Claimed, claim_due
from core.actions.domains import add_domains
from core.backups.plan import Plan
from core.net.names import Listed
from core.net.optout import OptedOut
from core.perspective import LOCAL
from core.scanner.facts import Scan
from core.scanner.path import Roots
from core.scanner.verdict import Verdict, judge
from core.store.db import Sessions, make_engine
from core.store.endpoints import Endpoint, Schedule
from core.store.watches import Watch
from demo.pki import make_chain
from jobs.context import Context
from jobs.scan import scan_batch
from tests.dnsserver import bind9
from tests.make import make_actor
from tests.servers import tls_server

LEASE = timedelta(minutes=3)
LOOPBACK = (ip_network("127.0.0.0/8"),)


def make_context(
    sessions: Sessions, folder: Path, resolver: str, *, allowed: tuple[str, ...] = ("mira@example.org",), roots: bytes = b""
) -> Context:
    pem = folder / "roots.pem"
    pem.write_bytes(roots)
    return Context(
        sessions=sessions, now=lambda: datetime.now(UTC), data=folder, public_url="", scan_allow=LOOPBACK, scan_allow_accounts=allowed,
        extra_roots=str(pem) if roots else "", resolvers=(resolver,), scan_interval_s=28_800, scan_lease_s=180, smtp_url="", mail_from="",
        plan=Plan(folder, production=False, database_url="sqlite://"),
    )  # fmt: skip


def add(sessions: Sessions, *listed: Listed, private: bool = True) -> list[Claimed]:
    now = datetime.now(UTC)
    with sessions.writing() as session:
        add_domains(session, make_actor(session, now=now), listed=listed, private_ranges=private, now=now)
    with sessions.writing() as session:
        return claim_due(session, perspective=LOCAL, urgent=True, most=100, lease=LEASE, now=now)


def run(context: Context, claims: list[Claimed]) -> dict[str, str]:
    scan_batch(context, *(number for claimed in claims for number in (claimed.endpoint_id, claimed.claim)))
    with context.sessions.reading() as session:
        return dict(session.execute(sa.select(Watch.name, Watch.state)).all())


@pytest.mark.slow
def test_a_batch_is_scanned_and_recorded(sessions: Sessions, tmp_path: Path) -> None:
    chain = make_chain(["*.kc.test"])
    with tls_server(chain.pem, chain.key_pem) as server, bind9({"kc.test": "* A 127.0.0.1"}) as resolver:
        claims = add(sessions, *(Listed(f"h{number}.kc.test", server.port) for number in range(5)))
        context = make_context(sessions, tmp_path, resolver, roots=chain.root.pem)
        assert run(context, claims) == {f"h{number}.kc.test": "ok" for number in range(5)}
        assert server.connections == 10  # each once, and once more for its other kind of key
        run(context, claims)  # the same job again: nothing is in hand, and nobody is dialled
        assert server.connections == 10


@pytest.mark.slow
def test_private_ranges_are_dialled_for_the_accounts_that_are_named_and_no_other(sessions: Sessions, tmp_path: Path) -> None:
    chain = make_chain(["a.kc.test"])
    with tls_server(chain.pem, chain.key_pem) as server, bind9({"kc.test": "* A 127.0.0.1"}) as resolver:
        shared = add(sessions, Listed("a.kc.test", server.port), private=False)
        assert run(make_context(sessions, tmp_path, resolver), shared) == {"a.kc.test": "unk"}
        with sessions.writing() as session:
            session.execute(sa.update(Endpoint).values(scope="somebodyelse2345"))
            session.execute(sa.update(Schedule).values(next_scan_at=datetime.now(UTC), urgent=True))
            again = claim_due(session, perspective=LOCAL, urgent=True, most=9, lease=LEASE, now=datetime.now(UTC))
        assert run(make_context(sessions, tmp_path, resolver), again) == {"a.kc.test": "unk"}
        assert server.connections == 0


@pytest.mark.slow
def test_a_watch_of_a_name_that_asked_not_to_be_scanned_is_not_dialled_and_says_so(sessions: Sessions, tmp_path: Path) -> None:
    chain = make_chain(["*.kc.test"])
    zone = {"kc.test": "quiet A 127.0.0.1\nalias CNAME quiet.kc.test.\nplace A 127.0.0.9\nloud A 127.0.0.1"}
    with tls_server(chain.pem, chain.key_pem) as server, bind9(zone) as resolver:
        names = ("quiet", "alias", "place", "loud")
        claims = add(sessions, *(Listed(f"{name}.kc.test", server.port) for name in names))
        opted_out = OptedOut(frozenset({"quiet.kc.test"}), (ip_network("127.0.0.9/32"),))
        context = replace(make_context(sessions, tmp_path, resolver, roots=chain.root.pem), opted_out=opted_out)
        assert run(context, claims) == {"quiet.kc.test": "unk", "alias.kc.test": "unk", "place.kc.test": "unk", "loud.kc.test": "ok"}
        assert server.connections == 2
    with sessions.reading() as session:
        said = dict(session.execute(sa.select(Watch.name, Watch.sentence)).all())
    assert said["alias.kc.test"].startswith("quiet.kc.test asked not to be scanned")
    assert said["place.kc.test"].startswith("127.0.0.9 asked not to be scanned")


def test_without_memory_nothing_is_said_of_a_server(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter(range(99))

    def starved(scan: Scan, roots: Roots, now: datetime) -> Verdict:
        if next(asked) == 0:
            raise MemoryError
        return judge(scan, roots, now)

    monkeypatch.setattr("jobs.scan.judge", starved)
    sessions = Sessions(make_engine(sqlite_url))
    claims = add(sessions, Listed("localhost", 1))
    with pytest.raises(BaseExceptionGroup) as ended:
        run(make_context(sessions, tmp_path, "127.0.0.1:9"), claims)
    assert ended.group_contains(MemoryError)
    with sessions.reading() as session:
        assert session.scalars(sa.select(Schedule.scans)).all() == [0]
        assert session.scalars(sa.select(Watch.state)).all() == ["live"]
    sessions.engine.dispose()


@pytest.mark.slow
def test_one_that_cannot_be_recorded_holds_up_no_other(sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sessions = Sessions(make_engine(sqlite_url))
    chain = make_chain(["*.kc.test"])
    with tls_server(chain.pem, chain.key_pem) as server, bind9({"kc.test": "* A 127.0.0.1"}) as resolver:
        claims = add(sessions, *(Listed(f"h{number}.kc.test", server.port) for number in range(5)))
        with sessions.writing() as session:
            odd = session.execute(sa.select(Endpoint.id).where(Endpoint.name == "h3.kc.test")).scalar_one()
            session.execute(
                sa.text(
                    "CREATE TRIGGER odd BEFORE INSERT ON observations WHEN NEW.leaf_sha256 IS NOT NULL AND NEW.endpoint_id = "
                    f"{int(odd)} BEGIN SELECT RAISE(ABORT, 'odd'); END"
                )
            )
        with caplog.at_level(logging.WARNING):
            states = run(make_context(sessions, tmp_path, resolver, roots=chain.root.pem), claims)
    assert states == {"h0.kc.test": "ok", "h1.kc.test": "ok", "h2.kc.test": "ok", "h3.kc.test": "unk", "h4.kc.test": "ok"}
    assert "could not be recorded" in caplog.text
    with sessions.reading() as session:
        assert session.scalars(sa.select(Schedule.lease_until)).all() == [None] * 5
        assert (
            session.scalars(sa.select(Watch.sentence).where(Watch.name == "h3.kc.test"))
            .one()
            .startswith("What this server sent could not be recorded")
        )
    sessions.engine.dispose()
