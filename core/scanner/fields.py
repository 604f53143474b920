r"""How each field of a certificate is read: small functions that may raise, each about one thing.

Text comes out safe to store and print: control characters (a NUL among them) are written as visible escapes like \x00.
The reader in certificate.py calls each on its own and names those that raise.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID, NameOID, ObjectIdentifier

from core.scanner import der

SCT_LIST = "1.3.6.1.4.1.11129.2.4.2"
RSA_KEYS = {"1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"}
CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp224r1": "P-224", "secp192r1": "P-192"}
SIGNATURES = {"1.2.840.113549.1.1.2": "md2WithRSAEncryption", "1.2.840.113549.1.1.3": "md4WithRSAEncryption"}
NAMES = {**SIGNATURES, "2.5.29.37.0": "anyExtendedKeyUsage"}
"""Where the library has no word of its own."""
_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """No word of the library's about odd certificates gets out. The filters are the process's, hence the lock."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # its deprecations, and attributes longer than X.520 has them
        yield


def visible(text: str) -> str:
    """The text with control characters and lone surrogates as escapes, so that a database, a mail and a terminal can take it."""
    if text.isprintable():
        return text
    return "".join(c if ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 and not 0xD800 <= ord(c) < 0xE000 else ascii(c)[1:-1] for c in text)  # noqa: PLR2004 - C0, C1, surrogates


def oid_name(oid: ObjectIdentifier) -> str:
    """The library's word for an OID, or its dotted text."""
    name: str = oid._name  # noqa: SLF001 - the library's only table of names
    return NAMES.get(oid.dotted_string, oid.dotted_string) if name == "Unknown OID" else name


def common_name(cert: x509.Certificate) -> str | None:
    """The most specific CN. Never used to match a name."""
    names = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    value = names[-1].value if names else None
    return visible(value if isinstance(value, str) else value.hex()) if value is not None else None


def hash_name(cert: x509.Certificate) -> str | None:
    """The hash that the issuer signed; None where the algorithm has none of its own (Ed25519)."""
    name = SIGNATURES.get(cert.signature_algorithm_oid.dotted_string)
    if name:
        return name[:3]
    algorithm = cert.signature_hash_algorithm
    return algorithm.name if algorithm else None


def key_fields(cert: x509.Certificate) -> dict[str, Any]:
    """The key's text, kind, size, curve and RSA exponent."""
    key = cert.public_key()
    match key:
        case rsa.RSAPublicKey():
            return rsa_fields(key.key_size, key.public_numbers().e)
        case ec.EllipticCurvePublicKey():
            curve = CURVES.get(key.curve.name, key.curve.name)
            return {"key": f"EC {curve}", "key_kind": "EC", "key_bits": key.key_size, "key_curve": curve}
        case ed25519.Ed25519PublicKey():
            return {"key": "Ed25519", "key_kind": "Ed25519", "key_bits": 256}
        case ed448.Ed448PublicKey():
            return {"key": "Ed448", "key_kind": "Ed448", "key_bits": 456}
        case dsa.DSAPublicKey():
            return {"key": f"DSA {key.key_size}", "key_kind": "DSA", "key_bits": key.key_size}
    name = type(key).__name__.removesuffix("PublicKey").lstrip("_")
    return {"key": name, "key_kind": name}


def rsa_fields(bits: int, exponent: int) -> dict[str, Any]:
    """What is said of an RSA key."""
    return {"key": f"RSA {bits}", "key_kind": "RSA", "key_bits": bits, "key_exponent": exponent}


def refused_key_fields(cert: x509.Certificate, spki: bytes) -> dict[str, Any]:
    """What can still be said of a key that the library refuses: a bad RSA key's numbers, else the algorithm's name."""
    if cert.public_key_algorithm_oid.dotted_string in RSA_KEYS:
        with contextlib.suppress(ValueError):
            modulus, exponent = der.rsa_numbers(spki)
            return rsa_fields(modulus.bit_length(), exponent)
    name = oid_name(cert.public_key_algorithm_oid)
    return {"key": name, "key_kind": name}


def _sans(value: x509.SubjectAlternativeName) -> dict[str, Any]:
    names, others = [], []
    for name in value:
        match name:
            case x509.DNSName():
                names.append(visible(name.value))
            case x509.IPAddress():
                others.append(f"IP:{name.value}")
            case x509.RFC822Name():
                others.append(f"email:{visible(name.value)}")
            case x509.UniformResourceIdentifier():
                others.append(f"URI:{visible(name.value)}")
            case x509.DirectoryName():
                others.append(f"dirName:{visible(name.value.rfc4514_string())}")
            case x509.RegisteredID():
                others.append(f"RID:{name.value.dotted_string}")
            case x509.OtherName():
                others.append(f"otherName:{name.type_id.dotted_string}")
    return {"sans": tuple(names), "other_sans": tuple(others)}


def _key_usage(value: x509.KeyUsage) -> dict[str, Any]:
    agreement = {"encipherOnly": value.encipher_only, "decipherOnly": value.decipher_only} if value.key_agreement else {}
    bits = {
        "digitalSignature": value.digital_signature,
        "contentCommitment": value.content_commitment,
        "keyEncipherment": value.key_encipherment,
        "dataEncipherment": value.data_encipherment,
        "keyAgreement": value.key_agreement,
        "keyCertSign": value.key_cert_sign,
        "cRLSign": value.crl_sign,
        **agreement,
    }
    return {"key_usage": tuple(name for name, is_set in bits.items() if is_set)}


def _access(value: x509.AuthorityInformationAccess) -> dict[str, Any]:
    def urls(method: ObjectIdentifier) -> tuple[str, ...]:
        found = (item.access_location for item in value if item.access_method == method)
        return tuple(visible(place.value) for place in found if isinstance(place, x509.UniformResourceIdentifier))

    return {"aia_ca_issuers": urls(AuthorityInformationAccessOID.CA_ISSUERS), "ocsp_urls": urls(AuthorityInformationAccessOID.OCSP)}


def _crls(value: x509.CRLDistributionPoints) -> dict[str, Any]:
    places = (place for point in value for place in point.full_name or ())
    return {"crl_urls": tuple(visible(place.value) for place in places if isinstance(place, x509.UniformResourceIdentifier))}


EXTENSIONS: Mapping[ObjectIdentifier, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME: ("sans", _sans),
    ExtensionOID.BASIC_CONSTRAINTS: ("is_ca", lambda value: {"is_ca": value.ca}),
    ExtensionOID.KEY_USAGE: ("key_usage", _key_usage),
    ExtensionOID.EXTENDED_KEY_USAGE: ("extended_key_usage", lambda value: {"extended_key_usage": tuple(map(oid_name, value))}),
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS: ("aia_ca_issuers", _access),
    ExtensionOID.CRL_DISTRIBUTION_POINTS: ("crl_urls", _crls),
    ExtensionOID.CERTIFICATE_POLICIES: ("policies", lambda value: {"policies": tuple(p.policy_identifier.dotted_string for p in value)}),
    ExtensionOID.SUBJECT_KEY_IDENTIFIER: ("ski", lambda value: {"ski": value.digest.hex()}),
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER: ("aki", lambda value: {"aki": value.key_identifier.hex() if value.key_identifier else None}),
}
"""Which field an extension is, and how it is read. What is not here is kept in the DER, and named if the library does not know it."""
