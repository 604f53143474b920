"""A provider's keys as far as signatures are looked at by them (RFC 7517): public ones of kinds that are strong enough, each for itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey

ALGORITHMS: Final = ("RS256", "ES256")
"""Signatures that count. Neither "none" nor HMAC is among them: by that anybody could sign who reads a public key."""
RSA_LEAST_BITS: Final = 2048
MOST_KEYS: Final = 100
_BITS_A_LETTER: Final = 6


def key_set(told: Mapping[str, Any]) -> KeySet:
    """Those of its keys that can be used; what cannot be read is left out."""
    listed = told.get("keys")
    keys: list[RSAKey | ECKey] = []
    for each in listed[:MOST_KEYS] if isinstance(listed, list) else []:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        with suppress(JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
            if each.get("kty") == "RSA" and len(each["n"]) * _BITS_A_LETTER >= RSA_LEAST_BITS:
                keys.append(RSAKey.import_key(each))
            elif each.get("kty") == "EC" and each.get("crv") == "P-256":
                keys.append(ECKey.import_key(each))
    return KeySet(list(keys))
