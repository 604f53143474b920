"""Which keys and signatures are too weak to rely on, in words. Source: CA/B Forum BR 6.1.5, 6.1.6 and 7.1.3."""

from __future__ import annotations

from core.scanner.certificate import Certificate

RSA_BITS_MIN = 2048
RSA_EXPONENT_MIN = 3
RSA_EXPONENT_BITS_MAX = 256
"""FIPS 186-5 A.1.1. Checking a signature takes as long as the exponent is: one of 3,000 bits a hundred times as long as a usual one."""
BITS_OF_AN_OCTET = 8
GOOD_CURVES = ("P-256", "P-384", "P-521")
KINDS = ("RSA", "EC", "Ed25519", "Ed448")
BROKEN_HASHES = ("md2", "md4", "md5")


def costs_too_much(cert: Certificate) -> bool:
    """Whether the key is made to keep busy whoever checks a signature with it. None is checked then."""
    return (cert.key_exponent or 0).bit_length() > RSA_EXPONENT_BITS_MAX


def rsa_weakness(cert: Certificate) -> str:
    """What is wrong with an RSA key, or ""."""
    if cert.key_kind != "RSA" or cert.key_bits is None:
        return ""
    if cert.key_bits < RSA_BITS_MIN:
        return f"an RSA key of {cert.key_bits} bits, and {RSA_BITS_MIN} are the least that is safe"
    if cert.key_bits % BITS_OF_AN_OCTET:
        return f"an RSA key of {cert.key_bits} bits, which is not a multiple of {BITS_OF_AN_OCTET}"
    exponent = cert.key_exponent
    if exponent is not None and (exponent < RSA_EXPONENT_MIN or exponent % 2 == 0):
        return f"an RSA key with the exponent {exponent}, which makes it unsafe"
    if costs_too_much(cert):
        return f"an RSA key with an exponent of more than {RSA_EXPONENT_BITS_MAX} bits, with which no signature is checked"
    return ""


def curve_weakness(cert: Certificate) -> str:
    """What is wrong with an elliptic curve key, or ""."""
    if cert.key_kind != "EC" or cert.key_curve in GOOD_CURVES:
        return ""
    return f"a key on the curve {cert.key_curve}, which browsers do not accept"


def kind_weakness(cert: Certificate) -> str:
    """What is wrong with a key that is of no kind that servers have, or ""."""
    if cert.key_kind is None or cert.key_kind in KINDS:
        return ""
    return f"a key of the kind {cert.key_kind}, which browsers do not accept"


def key_weakness(cert: Certificate) -> str:
    """What is wrong with a key of any kind, or ""."""
    return rsa_weakness(cert) or curve_weakness(cert) or kind_weakness(cert)


def signature_weakness(cert: Certificate) -> str:
    """The weak hash under the issuer's signature: "sha1", "md5", "md4", "md2", or ""."""
    name = cert.signature_hash or ""
    return name if name == "sha1" or name in BROKEN_HASHES else ""
