"""Why there is no path, in one word: the judge itself says only that its candidates are exhausted.

Trust comes first (whom does it lead to), then dates, names, weakness and use, so that one cause gives one word.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from core.scanner.certificate import Certificate
from core.scanner.identity import name_matches
from core.scanner.strength import key_weakness, signature_weakness
from core.scanner.walk import End, Walk

SERVER_AUTH = "serverAuth"
CERT_SIGN = "keyCertSign"


class PathTrouble(enum.StrEnum):
    """What stands between a leaf and trust. The values are stored and printed: never renamed."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_NAME = "wrong_name"
    NO_NAMES = "no_names"
    MISSING_INTERMEDIATE = "missing_intermediate"  # the issuer is neither served nor known here
    SELF_SIGNED = "self_signed"  # the leaf itself
    UNTRUSTED_ROOT = "untrusted_root"  # a self-signed authority that is not among our roots
    WEAK_KEY = "weak_key"
    WEAK_SIGNATURE = "weak_signature"
    WRONG_USE = "wrong_use"  # the leaf is a CA, or not meant for servers
    OTHER = "other"  # the reason says what


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The trouble, the certificate that has it, and a sentence where the judge's own would mislead ("" elsewhere)."""

    trouble: PathTrouble
    at: Certificate
    reason: str = ""


def diagnose(found: Walk, name: str, now: datetime) -> Diagnosis:
    """What is wrong with a chain that the judge refused at `now`; `found` is our own walk over it."""
    leaf, top = found.passed[0], found.passed[-1]
    if not leaf.is_readable or leaf.self_issued is None:
        return Diagnosis(PathTrouble.OTHER, leaf, "the certificate cannot be read")
    match found.end:
        case End.SELF_SIGNED:
            return Diagnosis(PathTrouble.SELF_SIGNED if top is leaf else PathTrouble.UNTRUSTED_ROOT, top)
        case End.UNKNOWN:
            return Diagnosis(PathTrouble.MISSING_INTERMEDIATE, top)
        case End.BROKEN:
            return Diagnosis(PathTrouble.OTHER, top, "its signature was not made by the issuer that it names")
    return (
        _of_dates(found.passed, now)
        or _of_name(leaf, name)
        or _of_strength(found.passed)
        or _of_use(leaf)
        or Diagnosis(PathTrouble.OTHER, leaf)
    )


def _of_dates(passed: tuple[Certificate, ...], now: datetime) -> Diagnosis | None:
    for cert in passed:
        if cert.not_after and cert.not_after < now:
            return Diagnosis(PathTrouble.EXPIRED, cert)
        if cert.not_before and cert.not_before > now:
            return Diagnosis(PathTrouble.NOT_YET_VALID, cert)
    return None


def _of_name(leaf: Certificate, name: str) -> Diagnosis | None:
    if "sans" in leaf.unreadable or "extensions" in leaf.unreadable:
        return Diagnosis(PathTrouble.OTHER, leaf, "its names cannot be read")
    if not leaf.sans and not leaf.other_sans:
        return Diagnosis(PathTrouble.NO_NAMES, leaf)
    return None if name_matches(leaf.sans, name) else Diagnosis(PathTrouble.WRONG_NAME, leaf)


def _of_strength(passed: tuple[Certificate, ...]) -> Diagnosis | None:
    for cert in passed[:-1]:  # nobody relies on a root's own signature
        if signature_weakness(cert):
            return Diagnosis(PathTrouble.WEAK_SIGNATURE, cert)
    for cert in passed:
        if key_weakness(cert):
            return Diagnosis(PathTrouble.WEAK_KEY, cert)
    return None


def _of_use(leaf: Certificate) -> Diagnosis | None:
    purposes = leaf.extended_key_usage
    unfit = leaf.is_ca or CERT_SIGN in (leaf.key_usage or ()) or (purposes is not None and SERVER_AUTH not in purposes)
    return Diagnosis(PathTrouble.WRONG_USE, leaf) if unfit else None
