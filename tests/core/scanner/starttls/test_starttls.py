"""Every upgrade to its end, and every way in which a server may not go along: typed, bounded, and never in the server's words."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from core.scanner.facts import Failure, FailureKind, Observation, Stage, Target
from core.scanner.handshake import Budget
from core.scanner.scan import Outlook, scan_target
from core.scanner.starttls import PROTOCOLS
from demo.pki import Chain, make_chain
from tests.intime import in_time
from tests.servers import Server, raw_server, send
from tests.starttls_servers import LDAP_GOODBYE, LDAP_UNAVAILABLE, SCRIPTS, Step, mysql_greeting, upgrading

LOOPBACK = (ip_network("127.0.0.0/8"),)
NOW = datetime(2026, 11, 25, tzinfo=UTC)
SECRET = "of-the-server-alone"


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain(["mail.kc.test"])


def look(server: Server, protocol: str, budget: Budget | None = None, *, name: str = "mail.kc.test") -> Observation:
    target = Target(name, server.port, protocol, "127.0.0.1")
    scan = asyncio.run(scan_target(target, Outlook(budget=budget or Budget()), allow=LOOPBACK, now=lambda: NOW))
    (seen,) = scan.observations
    return seen


def refused(server: Server, protocol: str, kind: FailureKind, budget: Budget | None = None) -> Failure:
    seen = look(server, protocol, budget)
    assert seen.failure is not None
    assert (seen.failure.kind, seen.failure.stage) == (kind, Stage.STARTTLS), seen.failure
    assert SECRET not in seen.failure.message
    assert seen.chain == ()
    return seen.failure


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_certificate_is_seen_behind_every_upgrade(chain: Chain, protocol: str) -> None:
    with upgrading(protocol, chain.pem, chain.key_pem) as server:
        seen = look(server, protocol)
    assert seen.failure is None
    assert seen.chain[0] == chain.leaf.der
    assert seen.tls is not None
    assert seen.tls.alpn == ""


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_byte_by_byte_is_the_same(chain: Chain, protocol: str) -> None:
    pieces: list[Step] = []
    for step in SCRIPTS[protocol]:
        pieces += [bytes([byte]) for byte in step] if isinstance(step, bytes) else [step]
    with upgrading(protocol, chain.pem, chain.key_pem, pieces) as server:
        assert look(server, protocol).chain[0] == chain.leaf.der


@pytest.mark.parametrize(
    ("protocol", "script", "says"),
    [
        ("smtp", [b"220 hi\r\n", "\r\n", b"250-of-the-server-alone\r\n250 SIZE\r\n"], "speaks SMTP and does not offer STARTTLS"),
        ("smtp", [*SCRIPTS["smtp"][:-1], b"454 of-the-server-alone\r\n"], "refused STARTTLS (454)"),
        ("smtp", [b"220 hi\r\n", "\r\n", b"502 of-the-server-alone\r\n"], "refused STARTTLS (502)"),
        ("smtp", [b"554 of-the-server-alone\r\n"], "sent us away at once (554)"),
        ("imap", [b"* BYE of-the-server-alone\r\n"], "speaks IMAP and sent us away"),
        ("imap", [b"* PREAUTH of-the-server-alone\r\n"], "does not offer STARTTLS"),
        ("imap", [b"* OK\r\n", "STARTTLS\r\n", b"kc BAD of-the-server-alone\r\n"], "refused STARTTLS"),
        ("imap", [b"* OK\r\n", "STARTTLS\r\n", b"* BYE of-the-server-alone\r\n"], "refused STARTTLS"),
        ("pop3", [b"-ERR of-the-server-alone\r\n"], "speaks POP3 and sent us away"),
        ("pop3", [b"+OK\r\n", "STLS\r\n", b"-ERR of-the-server-alone\r\n"], "refused STARTTLS"),
        ("ldap", ["20037", LDAP_UNAVAILABLE], "speaks LDAP and refused STARTTLS (52)"),
        ("ldap", ["20037", LDAP_GOODBYE], "speaks LDAP and sent us away"),
        ("postgres", ["/", b"N"], "speaks PostgreSQL and does not offer STARTTLS"),
        ("mysql", [mysql_greeting(tls=False)], "speaks MySQL and does not offer STARTTLS"),
        ("mysql", [b"\x17\0\0\0\xff\x69\x04of-the-server-alone."], "speaks MySQL and sent us away at once (1129)"),
        ("xmpp", ["streams'>", b"<stream:stream><stream:features><of-the-server-alone/></stream:features>"], "does not offer"),
        ("xmpp", ["streams'>", b"<stream:stream><stream:error>of-the-server-alone"], "speaks XMPP and sent us away"),
        (
            "xmpp",
            [*SCRIPTS["xmpp"][:3], b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"],
            "speaks XMPP and refused STARTTLS",
        ),
        ("ftp", [b"421 of-the-server-alone\r\n"], "speaks FTP and sent us away at once (421)"),
        ("ftp", [b"220 hi\r\n", "AUTH TLS\r\n", b"530 of-the-server-alone\r\n"], "refused STARTTLS (530)"),
        ("sieve", [b'"SASL" "of-the-server-alone"\r\nOK\r\n'], "speaks ManageSieve and does not offer STARTTLS"),
        ("sieve", [b"BYE of-the-server-alone\r\n"], "sent us away"),
        ("nntp", [b"200 hi\r\n", "STARTTLS\r\n", b"580 of-the-server-alone\r\n"], "refused STARTTLS (580)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_server_that_does_not_go_along_is_told(chain: Chain, protocol: str, script: Sequence[Step], says: str) -> None:
    with upgrading(protocol, chain.pem, chain.key_pem, script) as server:
        assert says in refused(server, protocol, FailureKind.NO_UPGRADE).message


@pytest.mark.parametrize("protocol", [each for each in PROTOCOLS if each != "mysql"])  # which sends nothing after it was asked
def test_what_is_said_in_plain_after_the_go_ahead_is_not_taken_for_tls(chain: Chain, protocol: str) -> None:
    *before, last = SCRIPTS[protocol]
    assert isinstance(last, bytes)
    with upgrading(protocol, chain.pem, chain.key_pem, [*before, last + b"250 of-the-server-alone\r\n"]) as server:
        assert "in plain text after it agreed" in refused(server, protocol, FailureKind.PROTOCOL_ERROR).message


OTHERS = {"http": b"HTTP/1.1 400 Bad Request\r\n\r\n<of-the-server-alone>\r\n", "RFB": b"RFB 003.of-the-server-alone\n"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("greeting", OTHERS.values(), ids=OTHERS)
def test_another_protocol_is_told(protocol: str, greeting: bytes) -> None:
    with raw_server(send(greeting)) as server:
        assert "does not speak" in refused(server, protocol, FailureKind.NOT_TLS).message


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_that_ends_is_told(protocol: str) -> None:
    def leave(connection: socket.socket, _ended: threading.Event) -> None:
        connection.shutdown(socket.SHUT_WR)

    with raw_server(leave) as server:
        refused(server, protocol, FailureKind.RESET)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_silence_ends_in_its_time(chain: Chain, protocol: str) -> None:
    with upgrading(protocol, chain.pem, chain.key_pem, ["never said by us"]) as server:
        seen = in_time(lambda: refused(server, protocol, FailureKind.TIMEOUT, Budget(upgrade_s=0.2)), 2.0)
    assert "said nothing" in seen.message


FLOODS = {
    "a line without an end": b"220-" + b"a" * 200_000,
    "lines without an end": b"220-a\r\n" * 40_000,
    "untagged lines": b"* OK a\r\n" * 40_000,
    "capabilities": b'"A"\r\n' * 60_000,
    "an XML head": b"<?xml " + b"a" * 200_000,
    "a length": b"\x30\x84\x7f\xff\xff\xff" + b"a" * 200_000,
    "a packet": b"\xff\xff\x0f\x00" + b"a" * 200_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_flood_is_not_read_to_its_end(protocol: str, flood: bytes) -> None:
    with raw_server(send(flood)) as server:
        seen = look(server, protocol, Budget(upgrade_s=5))
    assert seen.failure is not None
    assert seen.failure.kind in {FailureKind.PROTOCOL_ERROR, FailureKind.NOT_TLS}, seen.failure


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "answer", [b"\0" * 64, b"\xff" * 64, b"\x30\x80\x00\x00" * 16, b"\r\n" * 30, b"<" * 64, bytes(range(256))], ids=range(6)
)
def test_garbage_gives_a_typed_failure(protocol: str, answer: bytes) -> None:
    with raw_server(send(answer)) as server:
        seen = look(server, protocol, Budget(upgrade_s=0.3))
    assert seen.failure is not None
    assert seen.failure.stage is Stage.STARTTLS
    assert "KeyChest itself failed" not in seen.failure.message


@pytest.mark.parametrize("name", ["a'/><evil>", "a\r\nMAIL FROM:<a>", "a b", "ä.example", ""])
def test_no_name_is_said_that_is_none(name: str) -> None:
    with raw_server(send(b"<stream:stream>")) as server:
        seen = asyncio.run(_upgrade_for(server, name))
    assert seen is not None
    assert "Nothing was sent" in seen.message


async def _upgrade_for(server: Server, name: str) -> Failure | None:
    from core.net.dial import Stream, open_stream
    from core.scanner.starttls import upgrade

    stream = await open_stream("127.0.0.1", server.port, 5, LOOPBACK)
    assert isinstance(stream, Stream)
    with stream:
        failure = await upgrade(stream, "xmpp", name)
        assert stream.sent_bytes == 0
    return failure
