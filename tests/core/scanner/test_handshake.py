from __future__ import annotations

import asyncio
import gc
import ipaddress
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL

from core.net.dial import Stream, open_stream
from core.scanner import handshake
from core.scanner.facts import Failure, FailureKind, Stage
from core.scanner.handshake import Budget, Served, shake_hands
from demo.pki import Chain, Forged, make_chain, make_key, make_leaf
from tests.intime import in_time
from tests.servers import alert, drip, first_flight, flood, hang_up, raw_server, reset, send, silent, tls_server

ALLOW: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
SHORT: Final = Budget(handshake_s=0.3)


async def one(address: str, port: int, budget: Budget = SHORT, alpn: tuple[bytes, ...] = (b"h2", b"http/1.1")) -> Served | Failure:
    stream = await open_stream(address, port, 5.0, ALLOW)
    assert isinstance(stream, Stream)
    with stream:
        return await shake_hands(stream, "good.example", budget, timeout_s=budget.handshake_s, alpn=alpn)


def seen(port: int, address: str = "127.0.0.1", alpn: tuple[bytes, ...] = (b"h2", b"http/1.1")) -> Served:
    got = asyncio.run(one(address, port, Budget(), alpn))
    assert isinstance(got, Served), got
    return got


def failure(port: int, budget: Budget = SHORT) -> Failure:
    got = asyncio.run(one("127.0.0.1", port, budget))
    assert isinstance(got, Failure), got
    assert got.stage is Stage.HANDSHAKE
    assert got.message.endswith((".", ")"))
    return got


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain(["good.example"])


def stapled(chain: Chain) -> bytes:
    """A signed OCSP response: OpenSSL staples nothing else."""
    issuer, now = chain.intermediates[0], datetime.now(UTC)
    status, response = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPResponseBuilder()
    response = response.add_response(
        chain.leaf.certificate, issuer.certificate, hashes.SHA1(), status, now, now + timedelta(days=1), None, None
    ).responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate)
    return response.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_a_good_server_shows(chain: Chain, address: str) -> None:
    staple = stapled(chain)
    with tls_server(chain.pem, chain.key_pem, address=address, alpn=[b"h2"], staple=staple) as server:
        got = seen(server.port, address)
        assert server.names == [b"good.example"]
    assert got.chain == chain.ders
    assert (got.tls.version, got.tls.alpn) == ("TLSv1.3", "h2")
    assert got.tls.cipher in {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}
    assert got.tls.group == "X25519MLKEM768"
    assert got.ocsp_staple == staple
    assert got.scts == b""


def test_a_server_without_extras(chain: Chain) -> None:
    with tls_server(chain.pem, chain.key_pem) as server:
        got = seen(server.port)
    assert got.tls.alpn == ""
    assert got.ocsp_staple == b""


def test_the_chain_is_kept_as_served_however_wrong_its_order(chain: Chain) -> None:
    stranger = make_chain(["other.example"]).root
    served = Forged.pem_of(chain.leaf, chain.root, stranger, *chain.intermediates, chain.leaf)
    with tls_server(served, chain.key_pem) as server:
        got = seen(server.port)
    assert got.chain == (chain.leaf.der, chain.root.der, stranger.der, chain.intermediates[0].der, chain.leaf.der)


@pytest.mark.parametrize(
    ("maximum", "version"),
    [(SSL.TLS1_VERSION, "TLSv1"), (SSL.TLS1_1_VERSION, "TLSv1.1"), (SSL.TLS1_2_VERSION, "TLSv1.2")],
)
def test_old_servers_are_seen(maximum: int, version: str) -> None:
    old = make_chain(["good.example"], key="rsa1024")
    with tls_server(old.pem, old.key_pem, maximum=maximum) as server:
        got = seen(server.port)
    assert got.tls.version == version
    assert got.chain == old.ders


def test_a_certificate_no_one_should_accept_is_seen() -> None:
    weak = make_chain(["good.example"], key="rsa1024", hash="md5")
    with tls_server(weak.pem, weak.key_pem, maximum=SSL.TLS1_2_VERSION, ciphers=b"AES128-SHA:@SECLEVEL=0") as server:
        got = seen(server.port)
    assert (got.tls.cipher, got.tls.group, got.chain) == ("AES128-SHA", "", weak.ders)


@pytest.mark.parametrize("maximum", [SSL.TLS1_VERSION, SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_server_that_wants_a_client_certificate_still_shows_its_own(maximum: int) -> None:
    chain = make_chain(["good.example"])
    with tls_server(chain.pem, chain.key_pem, maximum=maximum, wants_client_certificate=True) as server:
        got = seen(server.port)
    assert got.chain == chain.ders
    assert got.tls.version
    assert got.tls.cipher


def test_a_thousand_names_are_read() -> None:
    many = make_chain([f"n{number}.good.example" for number in range(1_000)])
    with tls_server(many.pem, many.key_pem) as server:
        assert seen(server.port).chain == many.ders


def test_ten_thousand_names_are_too_large_and_said_so() -> None:
    many = make_chain([f"n{number}.good.example" for number in range(10_000)])
    with tls_server(many.pem, many.key_pem) as server:
        got = failure(server.port, Budget())
    assert got.kind is FailureKind.CERTIFICATE_TOO_LARGE


@pytest.mark.parametrize(("length", "read"), [(20, True), (21, False)])
def test_chains_have_a_limit(chain: Chain, length: int, read: bool) -> None:
    served = Forged.pem_of(chain.leaf, *[chain.root] * (length - 1))
    with tls_server(served, chain.key_pem) as server:
        got = asyncio.run(one("127.0.0.1", server.port, Budget()))
    if read:
        assert isinstance(got, Served)
        assert len(got.chain) == length
    else:
        assert isinstance(got, Failure)
        assert got.kind is FailureKind.CERTIFICATE_TOO_LARGE
        assert "21 certificates" in got.message


def test_a_server_that_speaks_none_of_our_protocols_says_so_and_is_seen_without_them(chain: Chain) -> None:
    with tls_server(chain.pem, chain.key_pem, alpn=[b"smtp"]) as server:
        got = failure(server.port, Budget())
        assert got.kind is FailureKind.ALERT
        assert handshake.NO_APPLICATION_PROTOCOL in got.message
        assert seen(server.port, alpn=()).chain == chain.ders


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (40, "“handshake failure”"),
        (42, "“bad certificate”"),
        (48, "“unknown ca”"),
        (70, "“protocol version”"),
        (80, "“internal error”"),
        (110, "“unsupported extension”"),
        (112, "“unrecognized name”"),
        (116, "“certificate required”"),
        (120, "“no application protocol”"),
        (200, "unknown kind"),
    ],
)
def test_alerts_are_named(number: int, says: str) -> None:
    with raw_server(send(alert(number))) as server:
        got = failure(server.port)
    assert got.kind is FailureKind.ALERT
    assert says in got.message


def test_no_shared_version_is_an_alert() -> None:
    chain = make_chain(["good.example"])
    with tls_server(chain.pem, chain.key_pem, maximum=SSL.TLS1_2_VERSION, ciphers=b"PSK-AES128-CBC-SHA:@SECLEVEL=0") as server:
        assert failure(server.port).kind is FailureKind.ALERT


@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n<b>secret</b>", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"220 mail.example ESMTP secret\r\n", "STARTTLS"),
        (b"* OK IMAP4\r\n", "IMAP"),
        (b"+OK ready\r\n", "POP3"),
        (b"\x00\x01secret", "does not speak TLS"),
        (b"\x16\x02\x00\x00\x05secret", "does not speak TLS"),
        (b"\x16", "slowly"),
    ],
)
def test_what_is_not_tls_is_told_and_never_repeated(greeting: bytes, says: str) -> None:
    with raw_server(send(greeting)) as server:
        got = failure(server.port)
    assert got.kind is (FailureKind.TIMEOUT if says == "slowly" else FailureKind.NOT_TLS)
    assert says in got.message
    assert "secret" not in got.message


@pytest.mark.parametrize("behave", [hang_up, reset], ids=["close", "rst"])
def test_a_connection_that_ends_early(behave: object) -> None:
    with raw_server(behave) as server:  # type: ignore[arg-type]
        assert failure(server.port).kind is FailureKind.RESET


def test_a_close_in_the_middle_of_a_record() -> None:
    with raw_server(lambda connection, _ended: connection.sendall(b"\x16\x03\x03\x00\x50\x02")) as server:
        assert failure(server.port).kind is FailureKind.RESET


@pytest.mark.parametrize(
    ("behave", "says"),
    [(silent, "said nothing"), (drip(first_flight([b"x" * 200]), 0.02), "slowly")],
    ids=["silent", "drip"],
)
def test_slow_servers_end_within_the_budget(behave: object, says: str) -> None:
    with raw_server(behave) as server:  # type: ignore[arg-type]
        got = in_time(lambda: failure(server.port), 1.5)
    assert got.kind is FailureKind.TIMEOUT
    assert says in got.message


@pytest.mark.parametrize(
    "part",
    [
        b"\x16\x03\x03\x40\x00" + b"\x0b\xff\xff\xff" + bytes(16_380),
        b"\x16\x03\x03\x00\x04\x00\x00\x00\x00" * 1_000,
        b"\x15\x03\x03\x00\x02\x01\x5a" * 1_000,
    ],
    ids=["endless certificate", "hello requests", "warnings"],
)
def test_a_flood_is_bounded(part: bytes) -> None:
    with raw_server(flood(b"", part)) as server:
        got = failure(server.port, replace(SHORT, handshake_s=3.0))
    assert got.kind in {FailureKind.CERTIFICATE_TOO_LARGE, FailureKind.PROTOCOL_ERROR}


def test_bytes_have_a_limit(chain: Chain) -> None:
    with tls_server(chain.pem, chain.key_pem) as server:
        got = failure(server.port, Budget(read_bytes=500))
    assert got.kind is FailureKind.CERTIFICATE_TOO_LARGE


@pytest.mark.parametrize(
    "certificates",
    [[], [b""], [b"\x30\x03\x02\x01"], [b"not a certificate"], [b"\x30\x80" + bytes(50)]],
    ids=["none", "empty", "cut", "text", "indefinite"],
)
def test_what_openssl_cannot_read_is_a_protocol_error(certificates: list[bytes]) -> None:
    with raw_server(send(first_flight(certificates))) as server:
        got = failure(server.port)
    assert got.kind is FailureKind.PROTOCOL_ERROR


def test_ten_thousand_certificates_are_too_large() -> None:
    leaf = make_leaf(["good.example"]).der
    with raw_server(send(first_flight([leaf] * 10_000))) as server:
        assert failure(server.port, Budget()).kind is FailureKind.CERTIFICATE_TOO_LARGE


def test_garbage_inside_records() -> None:
    with raw_server(send(b"\x16\x03\x03\x01\x00" + bytes(range(256)))) as server:
        assert failure(server.port).kind is FailureKind.PROTOCOL_ERROR


def test_a_certificate_that_cryptography_cannot_read_survives() -> None:
    good = make_leaf(["good.example"])
    odd = good.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x06")  # version 7: OpenSSL does not mind
    with pytest.raises(x509.InvalidVersion):
        x509.load_der_x509_certificate(odd)
    with tls_server(ssl.DER_cert_to_PEM_cert(odd).encode(), good.key_pem) as server:
        got = seen(server.port)
    assert got.chain == (odd,)
    assert got.scts == b""


@pytest.mark.slow
def test_one_context_is_shared_by_many_at_once_and_nothing_leaks(chain: Chain) -> None:
    async def many(port: int) -> set[tuple[bytes, ...]]:
        got = await asyncio.gather(*(one("127.0.0.1", port, Budget()) for _ in range(60)))
        return {each.chain for each in got if isinstance(each, Served)}

    with tls_server(chain.pem, chain.key_pem, staple=stapled(chain)) as server:
        assert asyncio.run(many(server.port)) == {chain.ders}
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, SSL.Connection) and each.get_app_data() is not None]


def test_scts_inside_the_leaf_are_kept_raw() -> None:
    listed = bytes.fromhex("0077") + bytes.fromhex("0075") + b"\x00" + b"\x07" * 32 + (1_700_000_000_000).to_bytes(8, "big")
    listed += b"\x00\x00" + b"\x04\x03" + (70).to_bytes(2, "big") + b"\x30" * 70
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), b"\x04" + bytes([len(listed)]) + listed)
    chain = make_chain(["good.example"], extensions=[(extension, False)])
    with tls_server(chain.pem, chain.key_pem) as server:
        assert seen(server.port).scts == listed


def test_the_key_kinds_there_are() -> None:
    for kind in ("p384", "p521", "ed25519"):
        chain = make_chain(["good.example"], key=make_key(kind))
        with tls_server(chain.pem, chain.key_pem) as server:
            assert seen(server.port).chain == chain.ders
