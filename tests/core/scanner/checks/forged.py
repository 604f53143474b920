"""A forged chain per verdict of each check: what is served, and exactly which findings it has.

A case lists all its findings, so that one cause has one finding, and what is not listed has passed or did not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.x509.oid import ObjectIdentifier

from core.scanner.facts import Observation, Scan, Severity, Target, Tls
from core.scanner.path import Roots
from core.scanner.verdict import JudgedObservation, Verdict, judge
from demo.pki import DAY, Chain, Forged, Key, forge, make_chain, make_intermediate, make_key, make_leaf, make_name, make_root

NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
NAME: Final = "good.example"
C, H, M, L, I = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO  # noqa: E741 - as checks.md has them
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
Served = tuple[Forged, tuple[bytes, ...]]
"""A trusted root, and what the server sends."""


@dataclass(frozen=True)
class Case:
    title: str
    make: Callable[[], Served]
    want: Mapping[str, Severity] = field(default_factory=dict)
    says: str = ""
    verified: bool | None = None


def good(**options: object) -> Callable[[], Served]:
    """A chain that is good but for what is asked."""

    def make() -> Served:
        chain = make_chain([NAME], now=NOW, **options)  # type: ignore[arg-type]  # make_chain's to check
        return chain.root, chain.ders

    return make


def served(change: Callable[[Chain], tuple[bytes, ...]], **options: object) -> Callable[[], Served]:
    """A good chain, sent otherwise."""

    def make() -> Served:
        chain = make_chain([NAME], now=NOW, **options)  # type: ignore[arg-type]
        return chain.root, change(chain)

    return make


def below(**options: object) -> Callable[[], Served]:
    """A good leaf below an intermediate that is not."""

    def make() -> Served:
        signed_weakly = options.get("hash") in {"sha1", "md5"}
        root = make_root(key="rsa2048" if signed_weakly else "p256", now=NOW)
        middle = make_intermediate(root, "Middle", now=NOW, **options)  # type: ignore[arg-type]
        return root, (make_leaf([NAME], middle, now=NOW).der, middle.der)

    return make


def rooted(**options: object) -> Callable[[], Served]:
    """A good leaf below a root that is not."""

    def make() -> Served:
        root = make_root("Odd Root", now=NOW, **options)  # type: ignore[arg-type]
        middle = make_intermediate(root, now=NOW)
        return root, (make_leaf([NAME], middle, now=NOW).der, middle.der)

    return make


def alone(**options: object) -> Callable[[], Served]:
    """A leaf that signs itself."""
    return lambda: (make_root(now=NOW), (make_leaf([NAME], now=NOW, **options).der,))  # type: ignore[arg-type]


def life(length: timedelta, left: timedelta) -> Callable[[], Served]:
    """A leaf of this lifetime with so much left."""
    return good(not_before=NOW + left - length, not_after=NOW + left)


def issued(begin: str, length: timedelta) -> Callable[[], Served]:
    """A leaf that begins on a day; its validity counts both ends. Long ago: its path is judged at that day's noon by `judged`."""
    start = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    return good(not_before=start, not_after=start + length - SECOND)


def stranger(chain: Chain) -> tuple[bytes, ...]:
    other = make_chain([NAME], now=NOW)
    return (*other.ders, other.root.der)


def stranger_by_sha1() -> Served:
    root = make_root("Stranger", key="rsa2048", hash="sha1", now=NOW)
    return make_root(now=NOW), (make_leaf([NAME], root, now=NOW).der, root.der)


def trusted_in_the_middle() -> Served:
    """The anchor is no root: its issuer's signature on it does not count."""
    anchor = make_intermediate(make_root(key="rsa2048", now=NOW), "Middle", hash="sha1", now=NOW)
    return anchor, (make_leaf([NAME], anchor, now=NOW).der,)


def damaged(chain: Chain) -> tuple[bytes, ...]:
    leaf = chain.leaf.der
    return (leaf[:-3] + bytes((leaf[-3] ^ 1,)) + leaf[-2:], *chain.ders[1:])


def raw_extension(oid: str, value: bytes) -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.UnrecognizedExtension(ObjectIdentifier(oid), value), False)]


ODD_CRL = raw_extension("2.5.29.31", b"\x05\x00")


def odd_intermediate() -> Served:
    root = make_root(now=NOW)
    odd = make_intermediate(root, "Odd", now=NOW, extensions=ODD_CRL)
    return root, (make_leaf([NAME], odd, now=NOW).der, odd.der)


def constrained() -> Served:
    """An authority that may only issue for another domain."""
    root = make_root(now=NOW)
    only = x509.NameConstraints(permitted_subtrees=[x509.DNSName("other.example")], excluded_subtrees=None)
    middle = make_intermediate(root, now=NOW, extensions=[(only, True)])
    return root, (make_leaf([NAME], middle, now=NOW).der, middle.der)


def version_one() -> Served:
    """A leaf without any extension."""
    root, key = make_root(now=NOW), make_key()
    leaf = forge(make_name(NAME), root, key, not_before=NOW - DAY, not_after=NOW + 60 * DAY, ski=False, aki=False)
    return root, (leaf.der,)


@dataclass(frozen=True)
class PublicHalf:
    """A key that nobody has: making a real one of this length takes seconds, and a leaf's own is never used here."""

    bits: int

    def public_key(self) -> rsa.RSAPublicKey:
        return rsa.RSAPublicNumbers(65537, (1 << self.bits) - 1).public_key()


def with_dsa() -> Served:
    """A key that no browser takes, which the judge lets pass."""
    return good(key=dsa.generate_private_key(1024))()


def very_long() -> Served:
    chain = make_chain([NAME], key=cast("Key", PublicHalf(4104)), now=NOW)
    return chain.root, chain.ders


CASES: Final = (
    Case("good", good(), verified=True),
    Case("good without a subject", good(cn=None), verified=True),
    Case("good, directly below the root", good(depth=0), verified=True),
    # dates
    Case("ended", good(not_after=NOW - 3 * DAY - HOUR), {"CERT-EXPIRED": C}, "ended on 17 Nov 2026, 3 days ago."),
    Case("ended a second ago", good(not_after=NOW - SECOND), {"CERT-EXPIRED": C}, "less than a minute ago"),
    Case("in its last second", life(90 * DAY, timedelta(0)), {"CERT-EXPIRING": H}, verified=True),
    Case("the authority has ended", below(not_after=NOW - 2 * DAY), {"CERT-EXPIRED": C}, "The authority's certificate “Middle” ended"),
    Case("begins tomorrow", good(not_before=NOW + DAY), {"CERT-NOTYET": C}, "begins on 21 Nov 2026 at 12:00 UTC, 1 day from now."),
    Case("begins in five minutes", good(not_before=NOW + 5 * MINUTE), verified=True),
    Case("begins in more", good(not_before=NOW + 5 * MINUTE + SECOND), {"CERT-NOTYET": C}),
    Case("the authority begins tomorrow", below(not_before=NOW + DAY), {"CERT-NOTYET": C}),
    Case("a third left", life(90 * DAY, 30 * DAY), verified=True),
    Case("less than a third", life(90 * DAY, 30 * DAY - SECOND), {"CERT-EXPIRING": L}, "in 29 days; less than 1/3 of its 90 days is left."),
    Case("a sixth left", life(90 * DAY, 15 * DAY), {"CERT-EXPIRING": L}, verified=True),
    Case("less than a sixth", life(90 * DAY, 15 * DAY - SECOND), {"CERT-EXPIRING": M}, "less than 1/6"),
    Case("a twelfth left", life(90 * DAY, 7.5 * DAY), {"CERT-EXPIRING": M}),
    Case("less than a twelfth", life(90 * DAY, 7.5 * DAY - SECOND), {"CERT-EXPIRING": H}, "less than 1/12"),
    Case("six days, new", life(6 * DAY, 6 * DAY), verified=True),
    Case("six days, two left", life(6 * DAY, 2 * DAY), verified=True),
    Case("six days, one left", life(6 * DAY, DAY - SECOND), {"CERT-EXPIRING": M}, "in 23 hours"),
    Case("six days, half a day left", life(6 * DAY, DAY / 2 - SECOND), {"CERT-EXPIRING": H}),
    Case(
        "31 days, under three left",
        life(31 * DAY, 3 * DAY - SECOND),
        {"CERT-EXPIRING": H},
        "in 2 days; under 3 days of its 31 days is left.",
    ),
    Case("30 days, under three left", life(30 * DAY, 3 * DAY - SECOND), {"CERT-EXPIRING": M}),
    # names
    Case(
        "wrong name",
        good(san=["other.example", "*.other.example"]),
        {"CERT-NAME": C},
        "not for good.example; it is for other.example and",
    ),
    Case("only an address", good(san=["192.0.2.1"]), {"CERT-NAME": C}, "it is for IP:192.0.2.1."),
    Case("many names", good(san=[f"n{n}.example" for n in range(1000)]), {"CERT-NAME": C}, "n1.example, n2.example and 997 more."),
    Case("no names but a CN", good(san=None), {"CERT-NOSAN": C}, "lists no names"),
    Case("no extensions", version_one, {"CERT-NOSAN": C, "CERT-EKU": H}),
    # chains
    Case("self-signed", alone(), {"CERT-SELF-SIGNED": C}, "signed by itself"),
    Case("self-signed and an authority", alone(ca=True, usage=["key_cert_sign"]), {"CERT-SELF-SIGNED": C}),
    Case("self-signed and ended", alone(not_after=NOW - DAY), {"CERT-SELF-SIGNED": C, "CERT-EXPIRED": C}),
    Case("a stranger's chain", served(stranger), {"CERT-UNTRUSTED": C}, "leads to “Test Root”, an authority that is not trusted here."),
    Case("a signature that is not its issuer's", served(damaged), {"CERT-UNTRUSTED": C}, "was not made by the issuer that it names."),
    Case("an authority for other names", constrained, {"CERT-UNTRUSTED": C}, "No trusted path can be built"),
    Case("a certificate that is none", served(lambda c: (b"junk", *c.ders[1:])), {"CERT-UNTRUSTED": C, "CERT-MALFORMED": M}, "all of it"),
    Case("the leaf alone", served(lambda c: c.ders[:1]), {"CERT-CHAIN-INCOMPLETE": H}, "not that of its issuer, “Test Intermediate 1”."),
    Case(
        "one authority of two",
        served(lambda c: c.ders[:2], depth=2),
        {"CERT-CHAIN-INCOMPLETE": H},
        "stops before that of the issuer",
    ),
    Case(
        "the wrong order",
        served(lambda c: (c.ders[0], c.ders[2], c.ders[1]), depth=2),
        {"CERT-CHAIN-ORDER": L},
        "wrong order",
        verified=True,
    ),
    Case("the right order", good(depth=2), verified=True),
    Case("with the root", served(lambda c: (*c.ders, c.root.der)), verified=True),
    # strength
    Case("SHA-1", good(hash="sha1"), {"CERT-SIG-SHA1": C}, "This certificate is signed with SHA-1"),
    Case("an authority by SHA-1", below(hash="sha1"), {"CERT-SIG-SHA1": C}, "“Middle” is signed with SHA-1"),
    Case("a root by SHA-1", rooted(hash="sha1", key="rsa2048"), verified=True),
    Case("a stranger's root by SHA-1", stranger_by_sha1, {"CERT-UNTRUSTED": C}),
    Case("an authority by SHA-1 that the operator trusts", trusted_in_the_middle, verified=True),
    Case("self-signed by SHA-1", alone(key="rsa2048", hash="sha1"), {"CERT-SELF-SIGNED": C, "CERT-SIG-SHA1": C}),
    Case("MD5", good(hash="md5"), {"CERT-SIG-MD5": C}, "signed with MD5"),
    Case("an authority by MD5", below(hash="md5"), {"CERT-SIG-MD5": C}, "“Middle” is signed with MD5"),
    Case("a root by MD5", rooted(hash="md5", key="rsa2048"), verified=True),
    Case("RSA 2048", good(key="rsa2048"), verified=True),
    Case("RSA 1024", good(key="rsa1024"), {"CERT-KEY-RSA": C}, "RSA key of 1024 bits"),
    Case("RSA 2052", good(key="rsa2052"), {"CERT-KEY-RSA": C}, "not a multiple of 8"),
    Case("RSA 1024 below nobody", served(lambda c: c.ders[:1], key="rsa1024"), {"CERT-KEY-RSA": C, "CERT-CHAIN-INCOMPLETE": H}),
    Case("an authority with RSA 1024", below(key="rsa1024"), {"CERT-KEY-RSA": C}, "“Middle” has an RSA key of 1024 bits"),
    Case("RSA 4104", very_long, {"CERT-KEY-RSA": I}, "longer than is useful", verified=True),
    Case("P-384", good(key="p384"), verified=True),
    Case("P-521", good(key="p521"), verified=True),
    Case("secp256k1", good(key="secp256k1"), {"CERT-KEY-EC": C}, "on the curve secp256k1"),
    Case("P-192, self-signed", alone(key="p192"), {"CERT-KEY-EC": C, "CERT-SELF-SIGNED": C}),
    Case("Ed25519", good(key="ed25519"), verified=True),
    Case("DSA", with_dsa, {"CERT-KEY-OTHER": C}, "a key of the kind DSA", verified=True),
    # profile
    Case("199 days", issued("2026-11-01", 199 * DAY), verified=True),
    Case("199 days and a second", issued("2026-11-01", 199 * DAY + SECOND), {"CERT-VALIDITY": I}, "within a day of the 200 days"),
    Case("200 days", issued("2026-11-01", 200 * DAY), {"CERT-VALIDITY": I}, verified=True),
    Case(
        "200 days and a second",
        issued("2026-11-01", 200 * DAY + SECOND),
        {"CERT-VALIDITY": H},
        "for 200 days and less than a minute; 200",
    ),
    Case("398 days, of the last day they were allowed", issued("2026-03-14", 397 * DAY), verified=True),
    Case("398 days, a day later", issued("2026-03-15", 398 * DAY), {"CERT-VALIDITY": H}),
    Case("no purposes, self-signed", alone(eku=None), {"CERT-SELF-SIGNED": C}),
    Case("too long, self-signed", alone(not_before=NOW - DAY, not_after=NOW + 900 * DAY), {"CERT-SELF-SIGNED": C}),
    Case("no purposes", good(eku=None), {"CERT-EKU": H}, "does not say what it is for", verified=True),
    Case("for clients only", good(eku=["clientAuth"]), {"CERT-EKU": H}, "it is for clientAuth."),
    Case("for anything", good(eku=["any"]), {"CERT-EKU": H}, "for anything"),
    Case("for servers and anything", good(eku=["serverAuth", "any"]), {"CERT-EKU": H}, "for anything"),
    Case("for clients too", good(eku=["serverAuth", "clientAuth"]), {"CERT-EKU": I}, "may also be used by a client", verified=True),
    Case("an authority", good(ca=True), {"CERT-BC": H}, "marked as that of an authority"),
    Case("an authority that signs", good(ca=True, usage=["key_cert_sign"]), {"CERT-BC": H}),
    Case("may sign certificates", good(usage=["digital_signature", "key_cert_sign"]), {"CERT-KU": H}, "allowed to sign certificates"),
    Case("no usages", good(usage=None), verified=True),
    # malformed
    Case(
        "odd revocation list",
        good(extensions=ODD_CRL),
        {"CERT-MALFORMED": M},
        "where its revocation list is found",
    ),
    Case("odd authority", odd_intermediate, {"CERT-MALFORMED": M}, "“Odd” is malformed"),
)


def judged(case: Case) -> JudgedObservation:
    """The verdict on a case, at NOW and one address."""
    root, ders = case.make()
    return verdict_on(root, ders).addresses[0]


def verdict_on(root: Forged, *chains: tuple[bytes, ...], now: datetime = NOW, name: str = NAME) -> Verdict:
    """The verdict on what several addresses serve (192.0.2.1 and on)."""
    seen = tuple(Observation(f"192.0.2.{n}", "local", tls=Tls("TLSv1.3", "", "", ""), chain=chain) for n, chain in enumerate(chains, 1))
    return judge(Scan(Target(name), now, (), seen), Roots.of([root.certificate]), now)
