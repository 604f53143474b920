"""The judge, and our diagnosis of why it finds no path. The limbo suite is asked in test_conformance.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from core.scanner import path as path_module
from core.scanner.facts import Observation, Scan, Target, Tls
from core.scanner.path import PathTrouble, Roots, RootsUnreadable, VerifiedPath, verify_path
from core.scanner.roots import PEM
from core.scanner.verdict import judge
from demo.pki import DAY, Chain, Forged, forge, make_chain, make_intermediate, make_key, make_leaf, make_root

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NAME = "good.example"


def roots_of(*anchors: Forged) -> Roots:
    return Roots.of([anchor.certificate for anchor in anchors])


def verified(chain: Chain, ders: tuple[bytes, ...] | None = None, name: str = NAME, now: datetime = NOW) -> VerifiedPath:
    return verify_path(ders or chain.ders, name, roots_of(chain.root), now)


def test_a_good_chain_is_verified_with_its_path() -> None:
    chain = make_chain([NAME], depth=2, now=NOW)
    verdict = verified(chain)
    assert (verdict.verified, verdict.trouble) == (True, None)
    assert [cert.sha256 for cert in verdict.path] == [f.sha256 for f in (chain.leaf, *chain.intermediates, chain.root)]


@pytest.mark.parametrize("name", ["GOOD.Example", "good.example."])
def test_the_name_is_taken_as_people_write_it(name: str) -> None:
    assert verified(make_chain([NAME], now=NOW), name=name).verified


def stranger(chain: Chain) -> tuple[bytes, ...]:
    other = make_chain([NAME], now=NOW)
    return (*other.ders, other.root.der)


def corrupt(chain: Chain) -> tuple[bytes, ...]:
    return (chain.leaf.der[:-3] + bytes((chain.leaf.der[-3] ^ 1,)) + chain.leaf.der[-2:], *chain.ders[1:])


@pytest.mark.parametrize(
    ("trouble", "options", "serve"),
    [
        (PathTrouble.EXPIRED, {"not_after": NOW - DAY}, None),
        (PathTrouble.NOT_YET_VALID, {"not_before": NOW + DAY}, None),
        (PathTrouble.WRONG_NAME, {"san": ["other.example"]}, None),
        (PathTrouble.NO_NAMES, {"san": None}, None),
        (PathTrouble.MISSING_INTERMEDIATE, {}, lambda chain: chain.ders[:1]),
        (PathTrouble.MISSING_INTERMEDIATE, {"depth": 2}, lambda chain: chain.ders[:2]),
        (PathTrouble.MISSING_INTERMEDIATE, {}, lambda chain: stranger(chain)[:2]),
        (PathTrouble.SELF_SIGNED, {}, lambda chain: (make_leaf([NAME], now=NOW).der,)),
        (PathTrouble.SELF_SIGNED, {}, lambda chain: (make_leaf([NAME], not_after=NOW - DAY, now=NOW).der,)),
        (PathTrouble.UNTRUSTED_ROOT, {}, stranger),
        (PathTrouble.WEAK_SIGNATURE, {"hash": "sha1"}, None),
        (PathTrouble.WEAK_SIGNATURE, {"hash": "md5"}, None),
        (PathTrouble.WRONG_USE, {"eku": ["clientAuth"]}, None),
        (PathTrouble.WRONG_USE, {"ca": True}, None),
        (PathTrouble.WRONG_USE, {"usage": ["key_cert_sign"]}, None),
        (PathTrouble.OTHER, {}, corrupt),
        (PathTrouble.OTHER, {}, lambda chain: (b"no certificate", *chain.ders[1:])),
    ],
)
def test_each_trouble_is_told_apart(
    trouble: PathTrouble, options: dict[str, object], serve: Callable[[Chain], tuple[bytes, ...]] | None
) -> None:
    chain = make_chain([NAME], now=NOW, **options)  # type: ignore[arg-type]  # make_chain's to check
    verdict = verified(chain, serve(chain) if serve else None)
    assert (verdict.verified, verdict.trouble) == (False, trouble)
    assert verdict.at is not None
    assert verdict.anchored == (trouble not in {"missing_intermediate", "self_signed", "untrusted_root", "other"})
    assert verdict.reason or trouble is PathTrouble.WRONG_NAME


def test_a_wrong_name_does_not_hide_the_path() -> None:
    verdict = verified(make_chain(["*.other.example"], now=NOW))
    assert (verdict.trouble, len(verdict.path)) == (PathTrouble.WRONG_NAME, 3)


def test_an_authority_too_weak_for_the_judge_is_named() -> None:
    root = make_root(now=NOW)
    weak = make_intermediate(root, key="rsa1024", now=NOW)
    verdict = verify_path((make_leaf([NAME], weak, now=NOW).der, weak.der), NAME, roots_of(root), NOW)
    assert (verdict.trouble, verdict.at and verdict.at.sha256) == (PathTrouble.WEAK_KEY, weak.sha256)


def test_an_ended_intermediate_is_named() -> None:
    root = make_root(now=NOW)
    ended = make_intermediate(root, not_after=NOW - DAY, now=NOW)
    verdict = verify_path((make_leaf([NAME], ended, now=NOW).der, ended.der), NAME, roots_of(root), NOW)
    assert (verdict.trouble, verdict.at and verdict.at.sha256) == (PathTrouble.EXPIRED, ended.sha256)


def test_order_extras_rubbish_and_a_sent_root_do_not_matter_to_the_judge() -> None:
    chain = make_chain([NAME], depth=2, now=NOW)
    leaf, first, second = chain.ders
    assert verified(chain, (leaf, b"rubbish", chain.root.der, second, make_root(now=NOW).der, first, first)).verified


def test_of_two_authorities_of_one_name_the_one_that_leads_to_trust_is_walked() -> None:
    ours, theirs, key = make_root("Ours", now=NOW), make_root("Theirs", now=NOW), make_key()
    both = [make_intermediate(root, "Crossed", now=NOW) for root in (theirs, ours)]
    crossed = [
        forge(both[0].certificate.subject, r, key, not_before=NOW - DAY, not_after=NOW + DAY, extensions=_authority(both[0]))
        for r in (theirs, ours)
    ]
    leaf = make_leaf([NAME], crossed[0], not_after=NOW - timedelta(hours=1), now=NOW)
    verdict = verify_path((leaf.der, crossed[0].der, theirs.der, crossed[1].der), NAME, roots_of(ours), NOW)
    assert (verdict.trouble, verdict.anchored) == (PathTrouble.EXPIRED, True)


def _authority(like: Forged) -> list[tuple[x509.ExtensionType, bool]]:
    return [(ext.value, ext.critical) for ext in like.certificate.extensions if ext.oid.dotted_string in {"2.5.29.19", "2.5.29.15"}]


def test_authorities_that_sign_each_other_end_in_an_answer() -> None:
    a, b = (Forged(make_root(name, now=NOW).certificate, make_key()) for name in ("A", "B"))
    stranger_root = make_root("Stranger", now=NOW)
    a_by_b = [_signed(a, b) for _ in range(9)]
    b_by_a = [_signed(b, a) for _ in range(9)]
    leaf = make_leaf([NAME], a, now=NOW)
    ring = (leaf.der, *(forged.der for forged in (*a_by_b, *b_by_a)))
    roots = roots_of(make_root(now=NOW))
    assert verify_path(ring, NAME, roots, NOW).trouble is PathTrouble.MISSING_INTERMEDIATE
    way_out = (leaf.der, a_by_b[0].der, b_by_a[0].der, _signed(b, stranger_root).der, stranger_root.der)
    assert verify_path(way_out, NAME, roots, NOW).trouble is PathTrouble.UNTRUSTED_ROOT


def _signed(whom: Forged, by: Forged) -> Forged:
    return forge(whom.certificate.subject, by, whom.key, not_before=NOW - DAY, not_after=NOW + DAY, extensions=_authority(whom))


def test_nobody_relies_on_a_roots_own_signature() -> None:
    root = make_root(key="rsa2048", hash="sha1", now=NOW)
    verdict = verify_path((make_leaf([NAME], root, eku=["clientAuth"], now=NOW).der,), NAME, roots_of(root), NOW)
    assert verdict.trouble is PathTrouble.WRONG_USE


def test_fractions_of_a_second_do_not_end_a_certificate() -> None:
    chain = make_chain([NAME], not_after=NOW, now=NOW)
    late = NOW + timedelta(microseconds=999_999)
    assert verified(chain, now=late).verified
    assert verified(chain, now=late) is verified(chain)
    scan = Scan(Target(NAME), NOW, (), (Observation("192.0.2.1", "local", tls=Tls("", "", "", ""), chain=chain.ders),))
    assert [finding.check for finding in judge(scan, roots_of(chain.root), late).findings] == ["CERT-EXPIRING"]


def test_clocks_may_differ_by_five_minutes() -> None:
    chain = make_chain([NAME], not_before=NOW + timedelta(minutes=5), now=NOW)
    assert verified(chain).verified
    assert not verified(chain, now=NOW - timedelta(seconds=1)).verified


def test_a_kept_verdict_ends_with_the_certificate_and_is_kept_per_name_and_roots() -> None:
    chain = make_chain([NAME], not_after=NOW + DAY, now=NOW)
    assert verified(chain).verified
    assert verified(chain) is verified(chain, now=NOW + timedelta(hours=23, microseconds=5))
    assert verified(chain, now=NOW + DAY).verified
    assert verified(chain, now=NOW + DAY + timedelta(seconds=1)).trouble is PathTrouble.EXPIRED
    assert verified(chain).verified
    assert verified(chain, name="other.example").trouble is PathTrouble.WRONG_NAME
    assert verify_path(chain.ders, NAME, roots_of(make_root(now=NOW)), NOW).trouble is PathTrouble.MISSING_INTERMEDIATE
    assert verify_path((*chain.ders[1:], chain.ders[0]), NAME, roots_of(chain.root), NOW) is not verified(chain)


def test_certificates_without_an_end_are_judged() -> None:
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    root = make_root(not_after=never, now=NOW)
    leaf = make_leaf([NAME], root, not_after=never, now=NOW)
    assert verify_path((leaf.der,), NAME, roots_of(root), NOW).verified


def test_kept_verdicts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_module, "KEPT_MAX", 3)
    for _ in range(5):
        verified(make_chain([NAME], now=NOW))
    assert len(path_module._kept) == 3


def test_public_roots_load_without_a_warning_and_the_operators_are_added(tmp_path: Path) -> None:
    public = Roots.load()
    assert len(public.sha256s) == len(PEM.findall(Path(certifi.where()).read_bytes()))
    chain = make_chain([NAME], now=NOW)
    (tmp_path / "own.pem").write_bytes(chain.root.pem)
    both = Roots.load(str(tmp_path / "own.pem"))
    assert both.sha256s == public.sha256s | {chain.root.sha256}
    assert both.digest != public.digest
    assert verify_path(chain.ders, NAME, both, NOW).verified
    assert not verify_path(chain.ders, NAME, public, NOW).verified


@pytest.mark.parametrize("content", [None, b"", b"no pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"])
def test_unreadable_roots_of_the_operator_are_refused_in_words(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RootsUnreadable, match=r"Your own roots were not read from .*own\.pem: .*KEYCHEST_EXTRA_ROOTS"):
        Roots.load(str(path))


def key_with_exponent(bits: int) -> rsa.RSAPrivateKey:
    """A sound key whose public exponent has so many bits: libraries make none, and check signatures with any."""
    base = rsa.generate_private_key(65537, 2048).private_numbers()
    phi = (base.p - 1) * (base.q - 1)
    exponent = next(each for each in range(2 ** (bits - 1) + 1, 2**bits, 2) if math.gcd(each, phi) == 1)
    secret = pow(exponent, -1, phi)
    public = rsa.RSAPublicNumbers(exponent, base.p * base.q)
    halves = (secret % (base.p - 1), secret % (base.q - 1), pow(base.q, -1, base.p))
    return rsa.RSAPrivateNumbers(base.p, base.q, secret, *halves, public).private_key()


@pytest.mark.parametrize(("bits", "checked"), [(256, True), (257, False)])
def test_no_signature_is_checked_with_a_key_made_to_keep_us_busy(monkeypatch: pytest.MonkeyPatch, bits: int, *, checked: bool) -> None:
    root, key = make_root(now=NOW), key_with_exponent(bits)
    with monkeypatch.context() as patched:
        patched.setattr("demo.pki.make_key", lambda _kind, _label: key)
        between = make_intermediate(root, now=NOW)
    chain = Chain(make_leaf([NAME], between, now=NOW), (between,), root)
    verdict = verified(chain)
    assert verdict.verified is checked
    assert verdict.trouble is (None if checked else PathTrouble.MISSING_INTERMEDIATE)


def test_a_root_with_a_tls_feature_that_nobody_knows_is_not_trusted_and_does_not_stop_the_start(tmp_path: Path) -> None:
    unheard_of = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24"), bytes.fromhex("3003020163"))  # RFC 7633: 99
    odd = make_leaf([NAME], now=NOW, extensions=[(unheard_of, False)])
    with pytest.raises(KeyError):
        _ = x509.load_der_x509_certificate(odd.der).extensions
    path = tmp_path / "own.pem"
    path.write_bytes(odd.certificate.public_bytes(Encoding.PEM))
    with pytest.raises(RootsUnreadable, match="1 certificates, of which 0 can be read"):
        Roots.load(str(path))
