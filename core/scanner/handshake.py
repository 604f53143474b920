"""One TLS handshake over a stream: whatever a server is willing to show, kept as it was sent, within a budget.

Nothing is verified and everything from TLS 1.0 up is accepted: a server that is badly set up must be seen to be told about.
The engine is OpenSSL through pyOpenSSL on memory BIOs, so every byte passes through our own counting stream.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import Final

from OpenSSL import SSL, crypto

from core.net.dial import Stream
from core.scanner.certificate import known_certificate
from core.scanner.facts import Failure, FailureKind, Tls
from core.scanner.refused_handshake import alert_failure, engine_failure, failed, not_tls

_CIPHERS: Final = b"ALL:!aNULL:!eNULL:@SECLEVEL=0"
RSA, ECDSA = "RSA", "ECDSA"
_ONLY: Final = {
    RSA: (b"aRSA:!aNULL:!eNULL:@SECLEVEL=0", b"rsa_pss_rsae_sha256:RSA+SHA256:rsa_pss_rsae_sha384:RSA+SHA384:RSA+SHA512:RSA+SHA1"),
    ECDSA: (b"aECDSA:!aNULL:!eNULL:@SECLEVEL=0", b"ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ECDSA+SHA1"),
}
"""By what a server picks a certificate: the cipher up to TLS 1.2, the signature algorithms from there on (RFC 8446 section 4.2.3)."""
_READ_BYTES: Final = 16_384
NO_APPLICATION_PROTOCOL: Final = "no application protocol"
MOST_DH_BYTES: Final = 512
"""The longest prime that we compute with. OpenSSL takes 10,000 bits and is busy for a second, while all other scans wait."""
_HANDSHAKE_RECORD, _KEY_EXCHANGE = 22, 12


@dataclass(frozen=True, slots=True)
class Budget:
    """What one scan may cost. Seconds of wall clock, bytes read from one address, certificates in one chain."""

    total_s: float = 20.0
    dns_s: float = 5.0
    connect_s: float = 5.0
    upgrade_s: float = 10.0
    handshake_s: float = 10.0
    read_bytes: int = 256 * 1024
    chain_length: int = 20


@dataclass(frozen=True, slots=True)
class Served:
    """What a server showed: see core.scanner.facts.Observation for each field."""

    tls: Tls
    chain: tuple[bytes, ...]
    ocsp_staple: bytes
    scts: bytes


async def shake_hands(
    stream: Stream, name: str, budget: Budget, *, timeout_s: float, alpn: tuple[bytes, ...], key_asked: str = ""
) -> Served | Failure:
    """Shake hands as a client that asks for `name` and offers `alpn`; say farewell without waiting for an answer.

    `key_asked`: RSA or ECDSA offers that kind of key alone, as a client would that knows no other; "" offers all.
    """
    staple: list[bytes] = []
    connection = SSL.Connection(_context(key_asked), None)
    connection.set_app_data(staple)
    connection.set_tlsext_host_name(name.encode("ascii"))
    if alpn:
        connection.set_alpn_protos(list(alpn))
    connection.request_ocsp()
    connection.set_connect_state()
    try:
        async with asyncio.timeout(timeout_s):
            failure = await _drive(connection, stream, budget)
    except TimeoutError:
        began = "It answered, but slowly." if stream.received_bytes else "It accepted the connection and said nothing."
        failure = failed(FailureKind.TIMEOUT, f"The handshake did not end within {timeout_s:.0f} seconds. {began}")
    except OSError:  # a reset, or the way there was lost meanwhile
        failure = failed(FailureKind.RESET, "The server broke off the connection before the handshake ended.")
    if failure is not None and not _wants_our_certificate(connection, failure):
        return failure
    _say_farewell(connection, stream)
    return _served(connection, budget, b"".join(staple))


@functools.cache
def _context(key_asked: str) -> SSL.Context:
    """One for all probes: a fresh one each time costs a sixth more CPU. With the session cache off, none remembers another's."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    ciphers, signatures = _ONLY.get(key_asked, (_CIPHERS, b""))
    context.set_cipher_list(ciphers)
    if signatures:
        _offer_signatures(context, signatures)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_LEGACY_SERVER_CONNECT | SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_ocsp_client_callback(_keep_staple)
    return context


def _offer_signatures(context: SSL.Context, algorithms: bytes) -> None:
    """What pyOpenSSL binds and gives no method for (its own lists of groups are set in the same way)."""
    if SSL._lib.SSL_CTX_set1_sigalgs_list(context._context, algorithms) != 1:  # type: ignore[attr-defined]  # noqa: SLF001
        raise ValueError(f"OpenSSL does not know these signature algorithms: {algorithms!r}")


def _keep_staple(connection: SSL.Connection, staple: bytes, _data: object) -> bool:
    connection.get_app_data().append(staple)
    return True


async def _drive(connection: SSL.Connection, stream: Stream, budget: Budget) -> Failure | None:
    """Carry bytes between engine and stream until the handshake ends (None) or cannot."""
    heard = _Overheard()
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            await _flush(connection, stream)
        except (SSL.ZeroReturnError, SSL.SysCallError):
            return failed(FailureKind.RESET, "The server closed the connection before the handshake ended.")
        except SSL.Error as error:
            return alert_failure(error) or engine_failure(error)
        else:
            await _flush(connection, stream)
            return None
        first = stream.received_bytes == 0
        part = await stream.read(_READ_BYTES)
        if not part:
            return failed(FailureKind.RESET, "The server closed the connection before the handshake ended.")
        failure = (not_tls(part) if first else None) or _too_much(stream.received_bytes, heard.dh_bytes(part), budget)
        if failure:
            return failure
        connection.bio_write(part)


def _too_much(received_bytes: int, dh_bytes: int, budget: Budget) -> Failure | None:
    """A failure when a server sends, or wants to have computed, more than one server may."""
    if received_bytes > budget.read_bytes:
        sentence = f"The server sent more than {budget.read_bytes // 1024} KB before the handshake ended, which is more than we read."
        return failed(FailureKind.CERTIFICATE_TOO_LARGE, sentence)
    if dh_bytes > MOST_DH_BYTES:
        sentence = f"The server wants a Diffie-Hellman exchange of more than {8 * MOST_DH_BYTES:,} bits, which is more than we compute."
        return failed(FailureKind.PROTOCOL_ERROR, sentence)
    return None


class _Overheard:
    """What a server of TLS 1.2 and below says in the clear, looked at before OpenSSL computes with it (RFC 5246 sections 6.2, 7.4.3)."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._messages = bytearray()
        self._over = False

    def dh_bytes(self, part: bytes) -> int:
        """How long the prime of the key exchange is that comes with this part; 0 for every part without one."""
        if self._over:
            return 0
        self._records += part
        while len(self._records) >= (end := 5 + int.from_bytes(self._records[3:5], "big")):
            if self._records[0] == _HANDSHAKE_RECORD:
                self._messages += self._records[5:end]
            del self._records[:end]
        while len(self._messages) >= (end := 4 + int.from_bytes(self._messages[1:4], "big")):
            if self._messages[0] == _KEY_EXCHANGE:
                self._over = True
                return _prime_bytes(bytes(self._messages[4:end]))
            del self._messages[:end]
        return 0


def _prime_bytes(exchange: bytes) -> int:
    """The length of the prime, 0 where this is no Diffie-Hellman: three vectors (prime, generator, share) must fit into it.

    One over a curve begins with 3 and the curve's number, which as a length is 768 and longer than the whole.
    """
    at = 0
    for _ in range(3):
        at += 2 + int.from_bytes(exchange[at : at + 2], "big")
    return int.from_bytes(exchange[:2], "big") if at <= len(exchange) else 0


async def _flush(connection: SSL.Connection, stream: Stream) -> None:
    try:
        while True:
            await stream.write(connection.bio_read(_READ_BYTES))
    except SSL.WantReadError:
        return


def _wants_our_certificate(connection: SSL.Connection, failure: Failure) -> bool:
    """Whether the server showed all we came for and then sent us away, as one that asks for a client certificate does.

    Up to TLS 1.2 such an alert comes inside the handshake. Our own Finished is made only after the server's certificate and
    its signed key exchange were taken in.
    """
    late = failure.kind in {FailureKind.ALERT, FailureKind.RESET}
    return late and connection.get_finished() is not None and bool(connection.get_peer_cert_chain())


def _say_farewell(connection: SSL.Connection, stream: Stream) -> None:
    try:
        connection.shutdown()
        stream.write_now(connection.bio_read(_READ_BYTES))
    except SSL.Error:
        return  # a connection that has failed already has no farewell to say


def _served(connection: SSL.Connection, budget: Budget, staple: bytes) -> Served | Failure:
    peers = connection.get_peer_cert_chain() or []
    if not peers:
        return failed(FailureKind.PROTOCOL_ERROR, "The handshake ended without any certificate.")
    if len(peers) > budget.chain_length:
        sentence = f"The server sent {len(peers)} certificates; we read chains of at most {budget.chain_length}."
        return failed(FailureKind.CERTIFICATE_TOO_LARGE, sentence)
    chain = tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, peer) for peer in peers)
    tls = Tls(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        group=connection.get_group_name() or "",
        alpn=connection.get_alpn_proto_negotiated().decode("ascii", "replace"),
    )
    return Served(tls, chain, staple, known_certificate(chain[0]).scts_raw)
