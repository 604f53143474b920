"""Any chain a test needs, forged in milliseconds: real keys, real signatures, nothing read from disk.

    chain = make_chain(["good.example"])                        # leaf, one intermediate, root; valid now
    chain = make_chain(["x.example"], not_after=yesterday)      # keywords go to make_leaf
    certificate, key = chain.write(tmp_path)                    # the full chain file a server should have
    Forged.pem_of(chain.leaf)                                   # what a badly configured one sends
    make_chain(now=day)                                         # valid around that day instead of today

Keys: "p256" (fresh each time), "p384", "p521", "p192", "p224", "secp256k1", "ed25519"; "rsa1024", "rsa2048", ... (kept per label).
Hashes: "sha256", "sha384", "sha512", and "sha1" or "md5" (signed by hand, RSA issuers only).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ObjectIdentifier

from demo.forge import WEAK_RSA, Forged, Key, forge, key_pem, make_key, make_name

__all__ = [
    "DAY",
    "Chain",
    "Forged",
    "Key",
    "forge",
    "key_pem",
    "make_chain",
    "make_intermediate",
    "make_key",
    "make_leaf",
    "make_name",
    "make_root",
]

EKU: Final = {
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "any": "2.5.29.37.0",
}
USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
DAY: Final = timedelta(days=1)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Chain:
    """A leaf, what a good server sends with it, and the root that it does not send."""

    leaf: Forged
    intermediates: tuple[Forged, ...]
    root: Forged

    @property
    def key(self) -> Key:
        return self.leaf.key

    @property
    def key_pem(self) -> bytes:
        return self.leaf.key_pem

    @property
    def pem(self) -> bytes:
        """fullchain.pem: leaf and intermediates."""
        return Forged.pem_of(self.leaf, *self.intermediates)

    @property
    def ders(self) -> tuple[bytes, ...]:
        """The chain as it should be served, leaf first."""
        return (self.leaf.der, *(forged.der for forged in self.intermediates))

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Write fullchain.pem, privkey.pem and root.pem; give the first two paths."""
        directory.mkdir(parents=True, exist_ok=True)
        files = {"fullchain.pem": self.pem, "privkey.pem": self.key_pem, "root.pem": self.root.pem}
        for name, content in files.items():
            (directory / name).write_bytes(content)
        return directory / "fullchain.pem", directory / "privkey.pem"


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(names: Sequence[str]) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in names for usage in USAGES})


def make_root(
    name: str = "Test Root",
    *,
    key: str = "p256",
    hash: str = "sha256",  # noqa: A002
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    now: datetime | None = None,
) -> Forged:
    """A self-signed authority with a key of its own: two calls give two strangers (with RSA keys: unless they share name and size)."""
    now = now or _now()
    return forge(
        make_name(name, "KeyChest made-up"),
        None,
        make_key(key, name),
        not_before=not_before or now - 3650 * DAY,
        not_after=not_after or now + 3650 * DAY,
        hash=hash,
        extensions=[(x509.BasicConstraints(ca=True, path_length=None), True), (_key_usage(["key_cert_sign", "crl_sign"]), True)],
    )


def make_intermediate(
    issuer: Forged,
    name: str = "Test Intermediate",
    *,
    key: str = "p256",
    hash: str = "sha256",  # noqa: A002
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    path_length: int | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    now: datetime | None = None,
) -> Forged:
    """An authority below `issuer`."""
    now = now or _now()
    return forge(
        make_name(name, "KeyChest made-up"),
        issuer,
        make_key(key, name),
        not_before=not_before or now - 1825 * DAY,
        not_after=not_after or now + 1825 * DAY,
        hash=hash,
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=path_length), True),
            (_key_usage(["key_cert_sign", "crl_sign"]), True),
            *extensions,
        ],
    )


def make_leaf(
    names: Sequence[str] = ("good.example",),
    issuer: Forged | None = None,
    *,
    san: Sequence[str] | None = (),
    cn: str | None = "",
    key: str | Key = "p256",
    hash: str = "sha256",  # noqa: A002
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    eku: Sequence[str] | None = ("serverAuth",),
    usage: Sequence[str] | None = ("digital_signature",),
    ca: bool = False,
    basic_constraints: bool = True,
    serial: int | None = None,
    aia: str = "",
    organisation: str = "",
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    now: datetime | None = None,
) -> Forged:
    """A server's certificate for 89 days around now, good in every way but those asked for. No issuer: self-signed.

    `san=None` leaves the extension out, `san=[...]` differs from `names`; `cn=None` gives none, "" the first name.
    `eku` and `usage` None leave theirs out; `aia` is a caIssuers address.
    """
    now = now or _now()
    subject = make_name((names[0] if names else None) if cn == "" else cn, organisation)
    wanted: list[tuple[x509.ExtensionType, bool]] = []
    if basic_constraints:
        wanted.append((x509.BasicConstraints(ca=ca, path_length=None), True))
    if usage is not None:
        wanted.append((_key_usage(usage), True))
    if eku is not None:
        wanted.append((x509.ExtendedKeyUsage([ObjectIdentifier(EKU.get(name, name)) for name in eku]), False))
    if san is not None:
        wanted.append((x509.SubjectAlternativeName([_general_name(name) for name in san or names]), not list(subject)))
    if aia:
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(aia))
        wanted.append((x509.AuthorityInformationAccess([access]), False))
    return forge(
        subject,
        issuer,
        make_key(key) if isinstance(key, str) else key,
        not_before=not_before or (min(now, not_after) if not_after else now) - 29 * DAY,
        not_after=not_after or (max(now, not_before) if not_before else now) + 60 * DAY,
        hash=hash,
        serial=serial,
        extensions=[*wanted, *extensions],
    )


def make_chain(
    names: Sequence[str] = ("good.example",),
    *,
    root: Forged | None = None,
    depth: int = 1,
    key: str | Key = "p256",
    hash: str = "sha256",  # noqa: A002
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    san: Sequence[str] | None = (),
    now: datetime | None = None,
    **leaf: object,
) -> Chain:
    """A leaf below `depth` intermediates below `root` (a new one when none is given). What else is asked for goes to make_leaf."""
    issuer_key = "rsa2048" if hash in WEAK_RSA else "p256"
    top = root or make_root(key=issuer_key, now=now)
    intermediates: list[Forged] = []
    for number in range(depth, 0, -1):
        issuer = intermediates[0] if intermediates else top
        intermediates.insert(0, make_intermediate(issuer, f"Test Intermediate {number}", key=issuer_key, now=now))
    issuer = intermediates[0] if intermediates else top
    options: dict[str, object] = {
        "key": key,
        "hash": hash,
        "not_before": not_before,
        "not_after": not_after,
        "san": san,
        "now": now,
        **leaf,
    }
    forged = make_leaf(names, issuer, **options)  # type: ignore[arg-type]  # the rest is make_leaf's to check
    return Chain(forged, tuple(intermediates), top)
