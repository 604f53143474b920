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
_READ_BYTES: Final = 16_384
NO_APPLICATION_PROTOCOL: Final = "no application protocol"


@dataclass(frozen=True, slots=True)
class Budget:
    """What one scan may cost. Seconds of wall clock, bytes read from one address, certificates in one chain."""

    total_s: float = 20.0
    dns_s: float = 5.0
    connect_s: float = 5.0
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


async def shake_hands(stream: Stream, name: str, budget: Budget, *, timeout_s: float, alpn: tuple[bytes, ...]) -> Served | Failure:
    """Shake hands as a client that asks for `name` and offers `alpn`; say farewell without waiting for an answer."""
    staple: list[bytes] = []
    connection = SSL.Connection(_context(), None)
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
def _context() -> SSL.Context:
    """One for all probes: a fresh one each time costs a sixth more CPU. With the session cache off, none remembers another's."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_cipher_list(_CIPHERS)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_LEGACY_SERVER_CONNECT | SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_ocsp_client_callback(_keep_staple)
    return context


def _keep_staple(connection: SSL.Connection, staple: bytes, _data: object) -> bool:
    connection.get_app_data().append(staple)
    return True


async def _drive(connection: SSL.Connection, stream: Stream, budget: Budget) -> Failure | None:
    """Carry bytes between engine and stream until the handshake ends (None) or cannot."""
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
        if first and (failure := not_tls(part)):
            return failure
        if stream.received_bytes > budget.read_bytes:
            sentence = f"The server sent more than {budget.read_bytes // 1024} KB before the handshake ended, which is more than we read."
            return failed(FailureKind.CERTIFICATE_TOO_LARGE, sentence)
        connection.bio_write(part)


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
