"""Does this chain lead to a root of ours, and is it for this name? cryptography.x509.verification is the judge.

RFC 5280 section 6 and the CA/B Forum's profile as that library has them; RFC 9525 for the name. Why there is no path is our own
diagnosis. The judge lets some weak leaves pass: never show "good" from here alone, the checks have their say too.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, ServerVerifier

from core.scanner.certificate import Certificate, known_certificate
from core.scanner.diagnosis import PathTrouble, diagnose
from core.scanner.facts import sha256
from core.scanner.fields import quietly, visible
from core.scanner.identity import name_matches
from core.scanner.roots import ONE_SECOND, Roots, RootsUnreadable, shifted
from core.scanner.strength import costs_too_much
from core.scanner.walk import End, walk

__all__ = ["PathTrouble", "Roots", "RootsUnreadable", "VerifiedPath", "verify_path"]

SKEW = timedelta(minutes=5)
"""How far clocks may differ: a certificate that begins within it is taken as begun."""
KEPT_MAX, KEPT_BYTES_MAX = 4096, 65_536
NAMES_TRIED_MAX = 50


@dataclass(frozen=True, slots=True)
class VerifiedPath:
    """`verified`: a path exists and the name matches. `path`: leaf to root as the judge built it, () where it built none.

    A chain with the wrong name may have a path. `trouble` is None if and only if it is verified; `reason` is the judge's own text;
    `at` the certificate that has the trouble. `walk` is who issued whom as far as we can tell, leaf first (equal to `path` where there
    is one); `anchored` says that it ends at a root of ours, whatever else is wrong.
    """

    verified: bool
    path: tuple[Certificate, ...]
    trouble: PathTrouble | None
    reason: str = ""
    at: Certificate | None = None
    walk: tuple[Certificate, ...] = ()
    anchored: bool = False


_Key = tuple[str, str, str]
_kept: OrderedDict[_Key, tuple[VerifiedPath, datetime | None, datetime | None]] = OrderedDict()
_kept_lock = threading.Lock()


def verify_path(chain: tuple[bytes, ...], name: str, roots: Roots, now: datetime) -> VerifiedPath:
    """The verdict on `chain` (DER, leaf first, at least one) for `name` (A-labels) at `now` (aware; fractions of a second are dropped).

    Verdicts are kept until the next date at which a certificate of the chain or a root begins or ends.
    """
    now = now.replace(microsecond=0)
    key = (sha256(b"".join(bytes.fromhex(sha256(der)) for der in chain)), name.lower(), roots.digest)
    with _kept_lock:
        if (kept := _kept.get(key)) and (kept[1] is None or kept[1] <= now) and (kept[2] is None or now < kept[2]):
            _kept.move_to_end(key)
            return kept[0]
    certs = tuple(known_certificate(der) for der in chain)
    verdict = _verify(certs, name, roots, now)
    if sum(map(len, chain)) <= KEPT_BYTES_MAX:
        since, until = _steady(certs, roots, now)
        with _kept_lock:
            _kept[key] = (verdict, since, until)
            while len(_kept) > KEPT_MAX:
                _kept.popitem(last=False)
    return verdict


def _steady(certs: tuple[Certificate, ...], roots: Roots, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The instants around `now` between which no date changes the verdict."""
    dates = [date for date in roots.steady(now) if date]
    for cert in certs:
        dates += [shifted(cert.not_before, -SKEW), cert.not_before] if cert.not_before else []
        dates += [shifted(cert.not_after, ONE_SECOND)] if cert.not_after else []
    return max((date for date in dates if date <= now), default=None), min((date for date in dates if date > now), default=None)


def _verify(certs: tuple[Certificate, ...], name: str, roots: Roots, now: datetime) -> VerifiedPath:
    leaf = certs[0]
    moment = leaf.not_before if leaf.not_before and now < leaf.not_before <= now + SKEW else now
    with quietly():
        built, reason = _judge(certs, name, roots, moment)
    if built:
        matches = name_matches(leaf.sans, name)
        return VerifiedPath(
            matches, built, None if matches else PathTrouble.WRONG_NAME, reason, None if matches else leaf, built, anchored=True
        )
    found = walk(certs, roots)
    told = diagnose(found, name, moment)
    return VerifiedPath(False, (), told.trouble, told.reason or reason, told.at, found.passed, anchored=found.end is End.ANCHORED)


def _judge(certs: tuple[Certificate, ...], name: str, roots: Roots, moment: datetime) -> tuple[tuple[Certificate, ...], str]:
    """The path as the library builds it, for this name or else for one of the leaf's own; or () and why not."""
    if not certs[0].is_readable:
        return (), "the certificate cannot be read"
    leaf = x509.load_der_x509_certificate(certs[0].der)
    others = [x509.load_der_x509_certificate(cert.der) for cert in certs[1:] if cert.is_readable and not costs_too_much(cert)]
    builder = PolicyBuilder().store(roots.store).time(moment)
    verifier = next((made for subject in _subjects(certs[0], name) for made in _verifiers(builder, subject)), None)
    if verifier is None:
        return (), "the certificate has no name that can be verified"
    try:
        path = verifier.verify(leaf, others)
    except Exception as error:  # noqa: BLE001 - the library's refusals have many types with odd certificates; each is the reason
        return (), visible(str(error))
    return tuple(known_certificate(cert.public_bytes(Encoding.DER)) for cert in path), ""


def _subjects(leaf: Certificate, name: str) -> Iterator[x509.DNSName | x509.IPAddress]:
    """Names that the leaf is for, the wanted one first: so a wrong name does not hide the path."""
    names = [f"a{san[1:]}" if san.startswith("*.") else san for san in leaf.sans[:NAMES_TRIED_MAX]]
    for own in [name.removesuffix("."), *names] if name_matches(leaf.sans, name) else names:
        if own.isascii():
            yield x509.DNSName(own)
    for other in leaf.other_sans[:NAMES_TRIED_MAX]:
        if other.startswith("IP:") and "/" not in other:
            yield x509.IPAddress(ip_address(other.removeprefix("IP:")))


def _verifiers(builder: PolicyBuilder, subject: x509.DNSName | x509.IPAddress) -> Iterator[ServerVerifier]:
    """The verifier for this name, unless the library has no place for it (an underscore)."""
    try:
        verifier = builder.build_server_verifier(subject)
    except ValueError:
        return
    yield verifier
