"""Certificates that are odd or broken, as served by real TLS servers: each scan ends typed, and shows what could be read.

As a leaf where its key is RSA: in TLS 1.2 with RSA key exchange a server proves that it has the key only after its client is done,
so one that has not can still show it. As a second certificate behind a good leaf, all of them, in TLS 1.3. What OpenSSL takes for no
certificate ends the handshake; `read_certificate` gets those bytes in test_certificate.py, and pages in tests/portal/.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

import pytest

from core.scanner.certificate import read_certificate
from core.scanner.facts import FailureKind, Observation, Scan, Target
from core.scanner.handshake import Budget
from core.scanner.path import Roots
from core.scanner.scan import Outlook, scan_all
from core.scanner.summary import summarise
from core.scanner.verdict import judge
from demo.pki import Chain, make_chain
from tests.hostile_tls import CERTIFICATE, DONE, HANDSHAKE, Hello, Spoken13, certificates, hello12, hello_of, message, records
from tests.servers import Behaviour, raw_server
from tests.vectors import VECTORS, ders_of, needs

pytestmark = [pytest.mark.slow, needs("oddcerts")]
LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"),)
NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
RSA_AES128_SHA: Final = 0x002F
UNSUPPORTED_ALERT: Final = bytes([21, 3, 3, 0, 2, 2, 43])


def odd_ones() -> dict[str, bytes]:
    """By the name that a server is asked for: c0.kc.test, c1.kc.test …"""
    if not (VECTORS / "oddcerts").is_dir():
        return {}
    ders = dict.fromkeys(der for path in sorted((VECTORS / "oddcerts").iterdir()) for der in ders_of(path))
    return {f"c{number}.kc.test": der for number, der in enumerate(ders)}


@dataclass(frozen=True)
class Behind(Chain):
    """A good chain that sends another certificate behind its leaf."""

    odd: bytes = b""

    @property
    def ders(self) -> tuple[bytes, ...]:
        return (self.leaf.der, self.odd)


class Street:
    """One server for all of them: the name that it is asked for says which it shows."""

    def __init__(self, odd: dict[str, bytes]) -> None:
        self.odd = odd

    @cached_property
    def good(self) -> Chain:
        return make_chain(["*.kc.test"], now=NOW)

    def as_leaf(self, hello: Hello) -> Iterable[bytes]:
        der = self.odd[name_in(hello)]
        return (
            records(HANDSHAKE, hello12(RSA_AES128_SHA) + message(CERTIFICATE, certificates([der])) + message(DONE, b"")),
            UNSUPPORTED_ALERT,
        )

    def behind_a_leaf(self, hello: Hello) -> Iterable[bytes]:
        server = Spoken13(hello, Behind(self.good.leaf, (), self.good.root, self.odd[name_in(hello)]))
        return (server.opening, *server.to_the_end())


def name_in(hello: Hello) -> str:
    """The name in server_name (RFC 6066 section 3)."""
    return hello.extensions[0][5:].decode()


def speaking(say: Callable[[Hello], Iterable[bytes]]) -> Behaviour:
    """Say the first part, wait for the client's answer, say the next."""

    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        first, *rest = say(hello_of(connection))
        connection.sendall(first)
        if len(rest) == 1:  # an alert: it comes when the client has said its last word
            connection.recv(65_536)
        for part in rest:
            connection.sendall(part)
        while connection.recv(65_536):
            continue

    return behave


async def look(port: int, names: Iterable[str]) -> dict[str, Scan]:
    targets = [(name, Target(name, port, "", "127.0.0.1"), LOOPBACK) for name in names]
    return {name: scan async for name, scan in scan_all(targets, Outlook(budget=Budget()), now=lambda: NOW, in_flight=20)}


def scans(say: Callable[[Hello], Iterable[bytes]], names: Sequence[str]) -> dict[str, Scan]:
    with raw_server(speaking(say)) as server:
        return asyncio.run(look(server.port, names))


def assert_told(scan: Scan, roots: Roots) -> Observation:
    """The scan has a result that can be judged, summed up and stored; no part of KeyChest gave up on it."""
    verdict = judge(scan, roots, NOW)
    assert summarise(verdict).sentence
    for finding in verdict.findings:
        assert "the check itself failed" not in finding.message
        json.dumps([finding.message, finding.cause, finding.fix, dict(finding.evidence)]).encode()
    (address,) = verdict.addresses
    seen = address.observation
    if seen.failure is None:
        told = [finding.certificate for finding in address.findings if finding.check == "CERT-MALFORMED"]
        assert set(told) == {cert.sha256 for cert in address.chain if cert.unreadable}
    else:
        assert "KeyChest itself" not in seen.failure.message
        assert seen.failure.kind in {FailureKind.PROTOCOL_ERROR, FailureKind.CERTIFICATE_TOO_LARGE, FailureKind.RESET}
    return seen


def told(street: Street, say: Callable[[Hello], Iterable[bytes]], caplog: pytest.LogCaptureFixture) -> dict[str, Observation]:
    """What was seen of every one, by name; nothing in the log."""
    roots = Roots.of([street.good.root.certificate])
    with caplog.at_level(logging.ERROR):
        seen = {name: assert_told(scan, roots) for name, scan in scans(say, list(street.odd)).items()}
    assert not caplog.records
    assert seen.keys() == street.odd.keys()
    return seen


def test_every_odd_certificate_with_an_rsa_key_is_seen_as_a_leaf(caplog: pytest.LogCaptureFixture) -> None:
    street = Street({name: der for name, der in odd_ones().items() if read_certificate(der).key_kind == "RSA"})
    seen = told(street, street.as_leaf, caplog)
    shown = {name: one.chain for name, one in seen.items() if one.failure is None}
    assert len(seen) > 250
    assert len(shown) > 0.95 * len(seen)
    assert all(chain == (street.odd[name],) for name, chain in shown.items())
    assert sum(bool(read_certificate(chain[0]).unreadable) for chain in shown.values()) > 20


def test_every_odd_certificate_is_seen_behind_a_good_leaf(caplog: pytest.LogCaptureFixture) -> None:
    street = Street(odd_ones())
    seen = told(street, street.behind_a_leaf, caplog)
    shown = {name: one.chain for name, one in seen.items() if one.failure is None}
    assert len(shown) > 0.97 * len(seen)
    assert all(chain == (street.good.leaf.der, street.odd[name]) for name, chain in shown.items())
    assert sum(not read_certificate(chain[1]).is_readable for chain in shown.values()) > 5  # OpenSSL takes some that we cannot read
