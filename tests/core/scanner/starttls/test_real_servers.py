"""The upgrade with servers as people run them: the certificate is seen, and one without TLS is told as such."""

from __future__ import annotations

import pytest

from core.scanner.facts import FailureKind, Stage
from core.scanner.starttls import PROTOCOLS
from demo.pki import Chain, make_chain
from tests.core.scanner.starttls.test_starttls import look
from tests.postgres import folder_of_its_own
from tests.real_servers import SERVERS
from tests.servers import Server

pytestmark = pytest.mark.slow
UNTRIED = {"nntp"}
"""No news server with TLS is in a small package."""


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain(["mail.kc.test"], key="rsa2048")


@pytest.mark.parametrize("name", SERVERS)
def test_its_certificate_is_seen_behind_the_upgrade(chain: Chain, name: str) -> None:
    server = SERVERS[name]
    if server.missing:
        pytest.skip(server.missing)
    with folder_of_its_own() as folder, server.running(folder, chain) as ports:
        seen = {protocol: look(Server("127.0.0.1", ports[protocol]), protocol) for protocol in server.protocols}
    assert {protocol: one.failure for protocol, one in seen.items()} == dict.fromkeys(server.protocols)
    assert {protocol: one.chain for protocol, one in seen.items()} == dict.fromkeys(server.protocols, chain.ders)


@pytest.mark.parametrize("name", SERVERS)
def test_without_tls_it_is_told_that_it_offers_none(name: str) -> None:
    server = SERVERS[name]
    if server.missing:
        pytest.skip(server.missing)
    with folder_of_its_own() as folder, server.running(folder, None) as ports:
        seen = {protocol: look(Server("127.0.0.1", ports[protocol]), protocol).failure for protocol in server.protocols}
    told = {protocol: failure and (failure.kind, failure.stage) for protocol, failure in seen.items()}
    assert told == dict.fromkeys(server.protocols, (FailureKind.NO_UPGRADE, Stage.STARTTLS)), seen


def test_every_protocol_has_a_real_server_or_stands_among_the_untried() -> None:
    assert {protocol for server in SERVERS.values() for protocol in server.protocols} == set(PROTOCOLS) - UNTRIED
