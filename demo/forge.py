"""One certificate, signed by whom it is told to be: the bench that demo/pki.py stands on."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

STRONG: Final[dict[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
WEAK: Final[dict[str, hashes.HashAlgorithm]] = {"sha1": hashes.SHA1(), "md5": hashes.MD5()}
CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "p192": ec.SECP192R1(),
    "p224": ec.SECP224R1(),
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}
SHA256_RSA: Final = bytes.fromhex("2a864886f70d01010b")
WEAK_RSA: Final = {"sha1": bytes.fromhex("2a864886f70d010105"), "md5": bytes.fromhex("2a864886f70d010104")}

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@functools.cache
def _rsa_key(bits: int, label: str, exponent: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


def make_key(kind: str = "p256", label: str = "leaf") -> Key:
    """A private key. RSA keys are dear, so one is kept for each size and label; "rsa2048e3" has exponent 3."""
    if kind.startswith("rsa"):
        bits, _, exponent = kind.removeprefix("rsa").partition("e")
        return _rsa_key(int(bits), label, int(exponent or 65537))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(CURVES[kind])


def key_pem(key: Key) -> bytes:
    """PKCS 8, not encrypted: what a TLS server loads."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass(frozen=True)
class Forged:
    """A certificate and the key in it."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)

    @property
    def sha256(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @staticmethod
    def pem_of(*parts: Forged) -> bytes:
        """Certificates one after the other, in just this order."""
        return b"".join(part.pem for part in parts)


def make_name(cn: str | None, organisation: str = "") -> x509.Name:
    """A distinguished name; without a CN and an organisation it is the empty one."""
    parts = [(NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, cn)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])


def _sign(builder: x509.CertificateBuilder, issuer_key: Key, hash_name: str) -> x509.Certificate:
    if isinstance(issuer_key, ed25519.Ed25519PrivateKey):
        return builder.sign(issuer_key, None)
    if hash_name in STRONG:
        return builder.sign(issuer_key, STRONG[hash_name])
    if not isinstance(issuer_key, rsa.RSAPrivateKey):
        raise TypeError("sha1 and md5 are forged with an RSA issuer: make_intermediate(root, key='rsa2048')")
    # The library refuses to sign with these: put the weak algorithm's name (of the same length) into both places, and sign by hand.
    strong = builder.sign(issuer_key, hashes.SHA256())
    body = strong.tbs_certificate_bytes.replace(SHA256_RSA, WEAK_RSA[hash_name])
    signature = issuer_key.sign(body, padding.PKCS1v15(), WEAK[hash_name])
    der = strong.public_bytes(serialization.Encoding.DER)
    der = der.replace(strong.tbs_certificate_bytes, body).replace(SHA256_RSA, WEAK_RSA[hash_name]).replace(strong.signature, signature)
    return x509.load_der_x509_certificate(der)


def forge(
    subject: x509.Name,
    issuer: Forged | None,
    key: Key,
    *,
    not_before: datetime,
    not_after: datetime,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    hash: str = "sha256",  # noqa: A002 - the word everybody uses
    serial: int | None = None,
    issuer_name: x509.Name | None = None,
    ski: bool = True,
    aki: bool = True,
) -> Forged:
    """A certificate with exactly what it is told, plus key identifiers. No issuer: it signs itself."""
    builder = x509.CertificateBuilder(
        issuer_name=issuer_name or (issuer.certificate.subject if issuer else subject),
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=secrets.randbits(120) + 1 if serial is None else serial,
        not_valid_before=not_before,
        not_valid_after=not_after,
    )
    identifiers: list[tuple[x509.ExtensionType, bool]] = []
    if ski:
        identifiers.append((x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False))
    if aki and issuer:
        identifiers.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False))
    for extension, critical in [*identifiers, *extensions]:
        builder = builder.add_extension(extension, critical)
    return Forged(_sign(builder, issuer.key if issuer else key, hash), key)
