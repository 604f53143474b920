"""Reading a certificate never fails; what it cannot read it names."""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from core.scanner.certificate import Certificate, known_certificate, read_certificate
from core.scanner.facts import sha256
from core.scanner.strength import rsa_weakness
from demo.pki import forge, make_chain, make_key, make_leaf, make_name
from tests.vectors import VECTORS, ders_of, needs

SEEN = datetime(2026, 11, 20, 12, tzinfo=UTC)


def storable(cert: Certificate) -> bool:
    """No text in it breaks a database, a mail or a terminal."""
    fields = dataclasses.asdict(cert)
    text = json.dumps({name: value for name, value in fields.items() if not isinstance(value, bytes)}, default=str, ensure_ascii=False)
    return all(ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 for c in text) and bool(text.encode())


def test_every_field_of_a_good_certificate_is_read() -> None:
    chain = make_chain(
        ["www.example.com", "example.com", "192.0.2.1"], now=SEEN, serial=0xABC, aia="http://ca.example/i.crt", organisation="Ümlaut"
    )
    cert = read_certificate(chain.leaf.der)
    assert cert.sha256 == sha256(chain.leaf.der) == chain.leaf.sha256
    assert (cert.subject, cert.subject_cn) == ("CN=www.example.com,O=Ümlaut", "www.example.com")
    assert cert.issuer == "CN=Test Intermediate 1,O=KeyChest made-up"
    assert (cert.sans, cert.other_sans) == (("www.example.com", "example.com"), ("IP:192.0.2.1",))
    assert cert.not_before is not None
    assert cert.not_before < SEEN
    assert cert.not_before.tzinfo is UTC
    assert (cert.key, cert.key_kind, cert.key_bits, cert.key_curve) == ("EC P-256", "EC", 256, "P-256")
    assert (cert.serial, cert.signature, cert.signature_hash) == ("abc", "ecdsa-with-SHA256", "sha256")
    assert (cert.is_ca, cert.key_usage, cert.extended_key_usage) == (False, ("digitalSignature",), ("serverAuth",))
    assert cert.aia_ca_issuers == ("http://ca.example/i.crt",)
    assert cert.aki == read_certificate(chain.intermediates[0].der).ski
    assert (cert.self_issued, cert.unreadable) == (False, ())
    assert known_certificate(chain.leaf.der) == cert


@pytest.mark.parametrize(
    ("kind", "key"),
    [("p384", "EC P-384"), ("secp256k1", "EC secp256k1"), ("rsa2048", "RSA 2048"), ("rsa1024", "RSA 1024"), ("ed25519", "Ed25519")],
)
def test_keys_are_named_for_people(kind: str, key: str) -> None:
    assert read_certificate(make_leaf(key=kind).der).key == key


def test_a_key_that_the_library_refuses_still_shows_its_numbers() -> None:
    der = make_leaf(key="rsa1024").der
    cert = read_certificate(der.replace(bytes.fromhex("0203010001"), bytes.fromhex("0203010000")))
    assert (cert.key, cert.key_exponent, cert.unreadable) == ("RSA 1024", 65536, ("key",))
    assert "exponent 65536" in rsa_weakness(replace(cert, key_bits=2048))


def test_absent_is_none_and_not_unreadable() -> None:
    cert = read_certificate(make_leaf(san=None, eku=None, usage=None, basic_constraints=False).der)
    assert (cert.sans, cert.key_usage, cert.extended_key_usage, cert.is_ca, cert.unreadable) == ((), None, None, None, ())


def test_one_odd_extension_costs_only_its_own_field() -> None:
    odd = x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.15"), b"\x04\x01\x00")  # keyUsage that is no bit string
    cert = read_certificate(make_leaf(["a.example"], usage=None, extensions=[(odd, False)]).der)
    assert cert.unreadable == ("key_usage",)
    assert (cert.sans, cert.extended_key_usage, cert.is_ca) == (("a.example",), ("serverAuth",), False)


def test_an_extension_given_twice_is_believed_neither_time() -> None:
    der = make_leaf(["a.example"], extensions=[(x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.18"), b"0\x00"), False)]).der
    cert = read_certificate(der.replace(bytes.fromhex("0603551d12"), bytes.fromhex("0603551d11")))
    assert cert.sans == ()
    assert "sans" in cert.unreadable


def test_unknown_extensions_are_listed() -> None:
    own = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert read_certificate(make_leaf(extensions=[(own, False)]).der).unknown_extensions == ("1.2.3.4",)


def test_control_characters_come_out_as_visible_escapes() -> None:
    key = make_key()
    forged = forge(make_name("a\x1b[2Jb\x07"), None, key, not_before=SEEN, not_after=SEEN)
    cert = read_certificate(forged.der)
    assert cert.subject_cn == "a\\x1b[2Jb\\x07"
    assert storable(cert)


def test_a_negative_serial_is_read_without_a_word_from_the_library() -> None:
    der = make_leaf(serial=0x7BCDEF0123).der
    assert read_certificate(der.replace(bytes.fromhex("02057bcdef0123"), bytes.fromhex("020580cdef0123"))).serial == "-7f3210fedd"


@pytest.mark.slow
@needs("oddcerts")
def test_all_odd_certificates_are_kept_read_and_storable() -> None:
    certs = [read_certificate(der) for path in sorted((VECTORS / "oddcerts").iterdir()) for der in ders_of(path)]
    assert len(certs) > 350
    assert all(cert.sha256 == sha256(cert.der) and storable(cert) for cert in certs)
    whole = [cert for cert in certs if not cert.unreadable]
    assert len(whole) > 0.6 * len(certs)
    assert sum(not cert.is_readable for cert in certs) < 20
    partly = [cert for cert in certs if cert.unreadable and cert.is_readable]
    assert all(cert.key is not None and cert.spki_sha256 for cert in partly)
    assert any("sans" in cert.unreadable and cert.not_after for cert in partly)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, database=None)
@given(st.data())
def test_damaged_bytes_never_raise(data: st.DataObject) -> None:
    der = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    for damaged in (bytes(der), bytes(der[:cut])):
        assert storable(read_certificate(damaged))


def test_noise_is_no_certificate() -> None:
    noise = random.Random(7).randbytes(300)
    for junk in (b"", b"\x30", noise, b"\x30\x82\xff\xff" + noise):
        assert read_certificate(junk) == Certificate(sha256(junk), junk, unreadable=("certificate",))


GOOD = make_chain(["a.example", "*.b.example"], now=SEEN).leaf.der
