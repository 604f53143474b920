"""The servers that mean ill: what each does, and what is to be told of it."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from OpenSSL import SSL

from core.scanner.facts import FailureKind, Stage
from core.scanner.handshake import MOST_DH_BYTES
from demo.pki import make_chain, make_leaf
from tests.hostile_tls import (
    ALERT,
    APPLICATION,
    CERTIFICATE,
    CHANGE_CIPHER,
    COMPRESSED,
    DONE,
    ENDLESS,
    EXTENSIONS,
    HANDSHAKE,
    KEY_EXCHANGE,
    REQUEST,
    SERVER_HELLO,
    STATUS,
    TICKET,
    Hello,
    Spoken13,
    after_hello,
    certificates,
    dripping,
    hello12,
    hello_retry,
    ill12,
    ill13,
    message,
    records,
    torn,
    vector,
)
from tests.servers import Behaviour, _server_context, drip, flood, send, silent
from tests.starttls_servers import SCRIPTS, play

EVERY_S: Final = 0.05
SECRET: Final = b"of-the-server-alone"
NAME: Final = "good.example"
CHAIN: Final = make_chain([NAME])
RSA_CHAIN: Final = make_chain([NAME], key="rsa2048")
_DHE, _RSA = 0x009E, 0x002F
_OVERLONG: Final = b"\0" * 16_000


@dataclass(frozen=True)
class Ill:
    """What a server does, and what is told of it. No kind: its certificate is seen; no stage: that depends on who is faster."""

    behave: Behaviour
    kind: FailureKind | None
    says: str = ""
    stage: Stage | None = Stage.HANDSHAKE
    starttls: str = ""


@functools.cache
def crowded() -> bytes:
    return make_leaf([f"n{number}.good.example" for number in range(10_000)]).der


def silent_upgrade(connection: socket.socket, ended: threading.Event) -> None:
    play(connection, SCRIPTS["imap"])
    silent(connection, ended)


def torn_upgrade(connection: socket.socket, ended: threading.Event) -> None:
    play(connection, [*SCRIPTS["imap"][:2], b"kc OK"])
    torn(hello=False)(connection, ended)


def prime_of(bits: int, size: int = 16_000) -> Behaviour:
    """A DHE exchange over a number of so many bits, signed as it should be. That it is no prime, nobody checks."""

    def say(hello: Hello) -> Iterator[bytes]:
        prime = ((1 << bits) - 105).to_bytes((bits + 7) // 8, "big")
        params = vector(prime, 2) + vector(b"\x02", 2) + vector(prime[:-1] + b"\x05", 2)
        key = RSA_CHAIN.key
        assert isinstance(key, rsa.RSAPrivateKey)
        signature = key.sign(hello.random + bytes(32) + params, padding.PKCS1v15(), hashes.SHA256())
        exchange = message(KEY_EXCHANGE, params + b"\x04\x01" + vector(signature, 2))
        opening = hello12(_DHE) + message(CERTIFICATE, certificates(RSA_CHAIN.ders))
        yield records(HANDSHAKE, opening + exchange + message(DONE, b""), size)

    return after_hello(say)


def renegotiating(connection: socket.socket, _ended: threading.Event) -> None:
    """An ordinary TLS 1.2 server that begins anew as soon as it is done."""
    context = _server_context(CHAIN.pem, CHAIN.key_pem, b"ALL:@SECLEVEL=0")
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    connection.settimeout(None)
    tls = SSL.Connection(context, connection)
    tls.set_accept_state()
    tls.do_handshake()
    tls.renegotiate()
    tls.do_handshake()
    while tls.recv(4096):
        continue


def huge_tickets(spoken: Spoken13) -> Iterator[bytes]:
    yield from spoken.to_the_end()
    yield from repeat(spoken.sealed(message(TICKET, bytes(9) + vector(bytes(60_000), 2) + b"\0\0")), 500)


LARGE, BROKEN, RESET, NOT_TLS, TIMEOUT = (
    FailureKind.CERTIFICATE_TOO_LARGE, FailureKind.PROTOCOL_ERROR, FailureKind.RESET, FailureKind.NOT_TLS, FailureKind.TIMEOUT,
)  # fmt: skip
CERTIFICATES: Final = message(CERTIFICATE, certificates(CHAIN.ders))
REQUEST_13: Final = message(REQUEST, b"\0" + vector(b"\0\x0d" + vector(b"\0\x02\x04\x03", 2), 2))
BOMB: Final = message(COMPRESSED, b"\0\x01\xff\xff\xff" + vector(b"\x78\x9c" + bytes(9_000), 3))
OPENING: Final = hello12() + CERTIFICATES

FLOODS: Final[dict[str, Ill]] = {
    "an endless ServerHello": Ill(ill12(records(22, message(SERVER_HELLO, b"", says=ENDLESS)), for_ever=records(22, _OVERLONG)), LARGE),
    "a ServerHello in small pieces": Ill(
        ill12(records(22, message(SERVER_HELLO, b"", says=20_000)), for_ever=b"\x16\x03\x03\0\x01\0" * 500), BROKEN
    ),
    "16 MB of chain": Ill(
        ill12(records(22, hello12() + message(CERTIFICATE, b"", says=ENDLESS)), for_ever=records(22, CHAIN.leaf.der)), LARGE
    ),
    "16 MB of chain in TLS 1.3": Ill(
        ill13(CHAIN, lambda s: [s.said(EXTENSIONS, b"\0\0"), s.sealed(message(CERTIFICATE, CHAIN.leaf.der * 2_000, says=ENDLESS))]), LARGE
    ),
    "a chain of 90 KB, and no more of it in pieces of a byte": Ill(
        ill12(records(22, hello12() + message(CERTIFICATE, b"", says=90_000)), for_ever=b"\x16\x03\x03\0\x01\0" * 2_000), LARGE
    ),
    "10,000 names": Ill(after_hello(lambda _: [records(22, hello12() + message(CERTIFICATE, certificates([crowded()])))]), LARGE),
    "10,000 certificates": Ill(ill12(records(22, hello12() + message(CERTIFICATE, certificates([CHAIN.leaf.der] * 10_000)))), LARGE),
    "an endless CertificateRequest": Ill(
        ill12(
            records(22, hello12(_RSA) + message(CERTIFICATE, certificates(RSA_CHAIN.ders)) + message(REQUEST, b"", says=ENDLESS)),
            for_ever=records(22, _OVERLONG),
        ),
        LARGE,
    ),
    "CertificateRequests without end": Ill(
        ill12(
            records(22, hello12(_RSA) + message(CERTIFICATE, certificates(RSA_CHAIN.ders))),
            for_ever=records(22, message(REQUEST, b"\x01\x40\0\x02\x04\x03\0\0")),
        ),
        BROKEN,
    ),
    "CertificateRequests without end in TLS 1.3": Ill(
        ill13(CHAIN, lambda s: [s.said(EXTENSIONS, b"\0\0"), *(s.sealed(REQUEST_13) for _ in range(9))]), BROKEN
    ),
    "endless extensions in TLS 1.3": Ill(ill13(CHAIN, lambda s: [s.sealed(message(EXTENSIONS, _OVERLONG * 40, says=ENDLESS))]), LARGE),
    "an endless staple": Ill(
        ill12(records(22, hello12(staple=True) + CERTIFICATES + message(STATUS, b"", says=ENDLESS)), for_ever=records(22, _OVERLONG)), LARGE
    ),
    "a compressed certificate nobody asked for": Ill(ill13(CHAIN, lambda s: [s.said(EXTENSIONS, b"\0\0"), s.sealed(BOMB)]), BROKEN),
    "HelloRequests without end": Ill(flood(b"", records(22, message(0, b"")) * 1_000), LARGE),
    "HelloRetryRequests without end": Ill(after_hello(lambda hello: repeat(records(22, hello_retry(hello, 24)))), BROKEN),
    "ChangeCipherSpecs without end": Ill(
        ill13(CHAIN, lambda s: [s.said(EXTENSIONS, b"\0\0"), *repeat(b"\x14\x03\x03\0\x01\x01" * 2_000, 100)]), BROKEN
    ),
    "records of nothing": Ill(ill12(for_ever=b"\x16\x03\x03\0\0" * 3_000), BROKEN),
    "records of nothing under keys": Ill(ill13(CHAIN, lambda s: repeat(s.sealed(b"", 22), 2_000)), BROKEN),
    "application data before keys": Ill(ill12(records(22, OPENING), for_ever=records(APPLICATION, _OVERLONG)), BROKEN),
    "warnings without end": Ill(ill12(records(22, OPENING), for_ever=records(ALERT, b"\x01\x5a") * 2_000), BROKEN),
    "a word of a strange protocol without end": Ill(ill12(for_ever=b"HTTP/1.1 200 OK\r\n" + SECRET * 1_000), NOT_TLS, "HTTP"),
    "tickets without end": Ill(ill13(CHAIN, huge_tickets), None),
    "a banner without end": Ill(flood(b"", b"220-" + SECRET + b"\r\n" * 1_000), BROKEN, stage=Stage.STARTTLS, starttls="smtp"),
}

CASES: Final[dict[str, Ill]] = FLOODS | {
    "silence": Ill(silent, TIMEOUT, "said nothing"),
    "silence after the go-ahead": Ill(silent_upgrade, TIMEOUT, starttls="imap"),
    "a byte now and then": Ill(drip(records(22, OPENING), EVERY_S), TIMEOUT, "slowly"),
    "a byte of the banner now and then": Ill(drip(b"220-a\r\n", EVERY_S), TIMEOUT, "slowly", Stage.STARTTLS, "smtp"),
    "a byte of the certificate now and then": Ill(
        dripping(lambda _: (records(22, hello12()), [records(22, CERTIFICATES)]), EVERY_S), TIMEOUT, "slowly"
    ),
    "a byte of the key exchange now and then": Ill(
        dripping(lambda _: (records(22, OPENING), [records(22, message(KEY_EXCHANGE, bytes(300)))]), EVERY_S), TIMEOUT, "slowly"
    ),
    "a byte of TLS 1.3 now and then": Ill(
        dripping(lambda hello: ((s := Spoken13(hello, CHAIN)).opening, s.to_the_end()), EVERY_S), TIMEOUT, "slowly"
    ),
    "HTTP": Ill(send(b"HTTP/1.1 400 Bad Request\r\n\r\n" + SECRET), NOT_TLS, "HTTP"),
    "SSH": Ill(send(b"SSH-2.0-" + SECRET), NOT_TLS, "SSH"),
    "a reset at once": Ill(torn(hello=False), RESET, stage=None),
    "a reset after the ClientHello": Ill(torn(), RESET),
    "a reset after the ServerHello": Ill(torn(records(22, hello12())), RESET),
    "a reset in the middle of the certificate": Ill(torn(records(22, OPENING)[:400]), RESET),
    "a reset in the middle of the go-ahead": Ill(torn_upgrade, RESET, stage=Stage.STARTTLS, starttls="imap"),
    "a record of SSL 2": Ill(send(b"\x80\x2e\x04\0\x02" + bytes(40)), NOT_TLS),
    "a record of TLS 4": Ill(send(b"\x16\x04\x03\0\x05" + SECRET), NOT_TLS),
    "a record of no type": Ill(send(b"\x63\x03\x03\0\x05" + SECRET), NOT_TLS),
    "a record that is too long": Ill(send(b"\x16\x03\x03\xff\xff" + bytes(65_535)), BROKEN),
    "a record that is too long under keys": Ill(ill13(CHAIN, lambda s: [b"\x17\x03\x03\xff\xff" + bytes(65_535)]), BROKEN),
    "a record that nobody sealed": Ill(ill13(CHAIN, lambda s: [records(APPLICATION, bytes(200))]), BROKEN),
    "a ServerHello for a cipher that was not offered": Ill(ill12(records(22, hello12(0x0000))), BROKEN),
    "an alert of three bytes": Ill(ill12(records(ALERT, b"\x02\x28\x28")), BROKEN),
    "a ChangeCipherSpec first": Ill(ill12(records(CHANGE_CIPHER, b"\x01") + records(22, OPENING)), BROKEN),
    "a prime of 10,000 bits": Ill(prime_of(10_000), BROKEN, "Diffie-Hellman"),
    "a prime of 10,000 bits in small pieces": Ill(prime_of(10_000, 7), BROKEN, "Diffie-Hellman"),
    "a prime a little too long": Ill(prime_of(8 * MOST_DH_BYTES + 1), BROKEN, "Diffie-Hellman"),
    "a prime as long as we compute with": Ill(prime_of(8 * MOST_DH_BYTES), TIMEOUT, "slowly"),
    "TLS 1.3 as it should be": Ill(ill13(CHAIN, Spoken13.to_the_end), None),
    "renegotiation": Ill(renegotiating, None),
}
