"""Mutants of certificates and of what servers say before TLS: whatever they are, nothing raises, nothing hangs, nobody is believed."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
import socket
from datetime import UTC, datetime
from functools import cache
from typing import Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from core.net.dial import Stream
from core.scanner import der
from core.scanner.certificate import Certificate, read_certificate
from core.scanner.facts import Failure, Observation, Scan, Status, Target, Tls, sha256
from core.scanner.path import Roots
from core.scanner.publicly import answer_of
from core.scanner.roots import _certificates
from core.scanner.starttls import PROTOCOLS, upgrade
from core.scanner.summary import summarise
from core.scanner.verdict import JudgedObservation, judge
from demo.pki import Chain, make_chain
from tests.core.scanner.mutants import mutant
from tests.core.scanner.test_certificate import storable
from tests.fuzzing import SECONDS, damaged, fuzz
from tests.starttls_servers import SCRIPTS
from tests.vectors import VECTORS, ders_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 120)]
NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
NAME: Final = "good.example"
MOST_SEED_BYTES: Final = 20_000


@cache
def chain() -> Chain:
    return make_chain([NAME, "*.b.example", "192.0.2.1"], now=NOW, depth=2, aia="http://ca.example/i.crt", organisation="Ümlaut")


@cache
def seeds() -> tuple[bytes, ...]:
    """Our own, of every kind, as often as all the odd ones that lie in ../shared."""
    own = [*chain().ders, chain().root.der]
    for kind in ("rsa2048", "p384", "ed25519"):
        own += make_chain([NAME], now=NOW, key=kind).ders
    folder = VECTORS / "oddcerts"
    odd = [found for path in sorted(folder.iterdir()) for found in ders_of(path)] if folder.is_dir() else []
    odd = [found for found in odd if len(found) < MOST_SEED_BYTES]
    return (*own * max(1, len(odd) // len(own)), *odd)


def resigned(data: bytes) -> bytes:
    """The mutant with a signature of our authority's own, where it still has a body to sign: then it counts what is in it."""
    try:
        body, algorithm, *_ = der.elements(der.element(data).content)
    except ValueError:
        return data
    key = chain().intermediates[0].key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = der.wrap(der.BIT_STRING, b"\0" + key.sign(body.whole, ec.ECDSA(hashes.SHA256())))
    return der.wrap(der.SEQUENCE, body.whole + algorithm.whole + signature)


def judged(ders: tuple[bytes, ...], roots: Roots) -> JudgedObservation:
    """The verdict, having seen that it can be told: summed up, shown to strangers, stored."""
    seen = Observation("192.0.2.1", "local", tls=Tls("TLSv1.3", "", "", ""), chain=ders)
    verdict = judge(Scan(Target(NAME), NOW, (), (seen,)), roots, NOW)
    (address,) = verdict.addresses
    told = [json.dumps(answer_of(verdict), ensure_ascii=False), summarise(verdict).sentence, address.path.reason if address.path else ""]
    told += [json.dumps([f.message, f.cause, f.fix, dict(f.evidence)], ensure_ascii=False) for f in verdict.findings]
    assert all(text.encode() and all(ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 for c in text) for text in told if text)
    assert not any("the check itself failed" in finding.message for finding in verdict.findings)
    if not address.verified:
        assert any(finding.status in (Status.ERROR, Status.UNKNOWN) for finding in address.findings), "why it is not verified is not told"
    return address


def assert_believed_only_if_signed(address: JudgedObservation, at: int, data: bytes, *, signed: bool) -> None:
    """A certificate that was changed and not signed again is part of no path: but what is not signed in it may change."""
    if signed or not address.path or sha256(data) not in {cert.sha256 for cert in address.path.path}:
        return
    assert body_of(data) in {body_of(seed) for seed in (*chain().ders, chain().root.der)}, f"believed without a signature, at {at}"


def body_of(data: bytes) -> bytes:
    return der.elements(der.element(data).content)[0].whole


def assert_kept(cert: Certificate, data: bytes) -> None:
    assert cert.der == data
    assert cert.sha256 == sha256(data)
    assert storable(cert)
    assert json.dumps(cert.serial)


def test_no_mutant_of_a_certificate_breaks_reading_judging_or_telling(caplog: pytest.LogCaptureFixture) -> None:
    good = Roots.of([chain().root.certificate])
    readable = whole = paths = 0

    def once(chance: random.Random) -> None:
        nonlocal readable, whole, paths
        signed = chance.random() < 0.5
        data = mutant(chain().leaf.der if chance.random() < 0.3 else chance.choice(seeds()), seeds(), chance)
        data = resigned(data) if signed else data
        cert = read_certificate(data)
        assert_kept(cert, data)
        at = chance.randrange(3)
        ders = (*chain().ders[:at], data, *chain().ders[at + chance.randrange(2) if at else 1 :])
        address = judged(ders, good)
        assert_believed_only_if_signed(address, at, data, signed=signed)
        anchors = _certificates(b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(data) + b"\n-----END CERTIFICATE-----\n")
        if anchors:
            judged(chain().ders, Roots.of([*anchors, chain().root.certificate]))
        readable, whole = readable + cert.is_readable, whole + (not cert.unreadable)
        paths += bool(address.path and address.path.path and address.verified and data in {c.der for c in address.path.path})

    with caplog.at_level(logging.WARNING):
        rounds = fuzz(0.7, once)
    assert not caplog.records
    if rounds > 1000:  # the mutants go deep: most are still taken for certificates, and some signed again for good ones
        assert readable > 0.2 * rounds
        assert readable - whole > 0.03 * rounds
        assert paths > 0


SECRET: Final = "of-the-server-alone"
WORDS: Final = (
    *(f"{code} {SECRET}\r\n".encode() for code in (120, 220, 421, 554)), f"* BYE {SECRET}\r\n".encode(), f"-ERR {SECRET}\r\n".encode(),
    f"<stream:error>{SECRET}</stream:error>".encode(), f'BYE "{SECRET}"\r\n'.encode(), b"\x17\0\0\0\xff\x69\x04" + SECRET.encode() + b".",
    b"\r\n", b"\n", b"\0", b"-", b"220 ", b"* OK ", b"+OK", b"<", b"/>", b"'", b"\xff", b"\x30\x84", b"kc OK", b"S", b"N", b'"',
)  # fmt: skip


def test_nothing_that_is_said_before_tls_breaks_the_talk() -> None:
    said = {protocol: b"".join(step for step in SCRIPTS[protocol] if isinstance(step, bytes)) for protocol in PROTOCOLS}
    upgraded = refused = 0

    async def hear(protocol: str, words: list[bytes]) -> Failure | None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, Stream(ours) as stream:
            theirs.setblocking(False)
            talking = asyncio.create_task(upgrade(stream, protocol, "mail.kc.test"))
            for part in words:
                theirs.send(part)
                await asyncio.sleep(0)
            theirs.shutdown(socket.SHUT_WR)
            return await talking

    def once(chance: random.Random) -> None:
        nonlocal upgraded, refused
        protocol = chance.choice(PROTOCOLS)
        data = damaged(said[chance.choice(PROTOCOLS) if chance.random() < 0.05 else protocol], chance, WORDS)[:60_000]
        cut = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(4)))
        parts = [data[start:end] for start, end in zip([0, *cut], [*cut, len(data)], strict=True)]
        failure = asyncio.run(hear(protocol, parts))
        upgraded, refused = upgraded + (failure is None), refused + (failure is not None)
        if failure is not None:
            assert SECRET not in failure.message
            assert failure.message.isascii()
            assert failure.message.isprintable()
            assert len(failure.message) < 200

    rounds = fuzz(0.15, once)
    assert rounds == 1 or min(upgraded, refused) > 0
