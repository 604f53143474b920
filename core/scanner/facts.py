"""The frozen facts of a scan: what was asked, what was seen, and how it failed. No judgement lives here.

Words as in docs/glossary.md: a *probe* is one dial of one address, a *scan* all probes of an endpoint in one run,
an *observation* what one probe saw. The served chain is kept as bytes, exactly as sent; what it means is read later.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

Sha256 = NewType("Sha256", str)
"""A SHA-256 digest as 64 lower-case hexadecimal digits."""


def sha256(data: bytes) -> Sha256:
    """The digest by which a certificate is known."""
    return Sha256(hashlib.sha256(data).hexdigest())


class OtherKey(enum.Enum):
    """What is done about the certificate of the other kind of key, which a server may keep beside the one that it prefers.

    Asking costs a second connection to every address. EXPECTED: it was there before.
    """

    LEFT = "left"
    ASKED = "asked"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True)
class Target:
    """What is dialled: an A-label name for SNI, a port, an upgrade protocol ("" is direct TLS), a fixed address ("" is all)."""

    name: str
    port: int = 443
    starttls: str = ""
    address: str = ""
    other_key: OtherKey = OtherKey.LEFT


class FailureKind(enum.StrEnum):
    """Why a probe gave no certificate. The values are stored and printed: never renamed."""

    NO_SUCH_NAME = "no_such_name"  # NXDOMAIN
    NO_ADDRESS = "no_address"  # the name exists and has neither A nor AAAA
    DNS_ERROR = "dns_error"  # SERVFAIL, no resolver answered, a CNAME loop
    REFUSED_ADDRESS = "refused_address"  # the guard does not dial it; nothing was sent
    TIMEOUT = "timeout"  # the stage says where
    REFUSED = "refused"  # TCP RST to our SYN, or no route
    RESET = "reset"  # the connection ended before the handshake did
    NOT_TLS = "not_tls"  # the answer is another protocol
    NO_UPGRADE = "no_upgrade"  # the server speaks the protocol, and neither offers nor takes STARTTLS
    ALERT = "alert"  # the server ended the handshake with a TLS alert
    CERTIFICATE_TOO_LARGE = "certificate_too_large"  # over the budget of bytes or chain length
    PROTOCOL_ERROR = "protocol_error"  # TLS, but broken


class Stage(enum.StrEnum):
    """How far a probe got."""

    DNS = "dns"
    GUARD = "guard"
    CONNECT = "connect"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"


@dataclass(frozen=True, slots=True)
class Failure:
    """A probe that gave no certificate. `message` is one plain sentence for people."""

    kind: FailureKind
    stage: Stage
    message: str


@dataclass(frozen=True, slots=True)
class Tls:
    """What was agreed: e.g. "TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "h2" ("" where the server chose none)."""

    version: str
    cipher: str
    group: str
    alpn: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What one probe saw. Either `failure` is set, or `tls` and a non-empty `chain` are.

    `address` is the literal address dialled, or "" where the scan failed before one was known.
    `chain` is DER, leaf first, as served. `ocsp_staple` and `scts` are raw bytes as sent, b"" where there are none
    (`scts` is the SignedCertificateTimestampList inside the leaf; pyOpenSSL does not hand out the TLS extension's).
    `key_asked` is "" where every kind of key was offered and the server chose; RSA or ECDSA where only that kind was, and came: such
    an observation stands after the one of the server's own choice, and is never a failure.
    """

    address: str
    perspective: str
    failure: Failure | None = None
    tls: Tls | None = None
    chain: tuple[bytes, ...] = ()
    ocsp_staple: bytes = b""
    scts: bytes = b""
    key_asked: str = ""

    @property
    def chain_sha256(self) -> tuple[Sha256, ...]:
        """The digest of every certificate as served, leaf first."""
        return tuple(sha256(der) for der in self.chain)


@dataclass(frozen=True, slots=True)
class Scan:
    """All probes of one target in one run. `observations` is never empty: a failure is an observation too.

    `partial`: there may be more than was looked at, since the DNS answered for one family only or gave more addresses than are
    dialled, or a server did not answer when it was asked for its other certificate. What is not among the observations may still be.
    """

    target: Target
    scanned_at: datetime
    cname_chain: tuple[str, ...]
    observations: tuple[Observation, ...]
    partial: bool = False

    @property
    def addresses(self) -> int:
        """How many addresses were looked at, or 1 where none was known. One with two certificates is one address."""
        return len({seen.address for seen in self.observations})


class Severity(enum.StrEnum):
    """How bad a finding is."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"


class Status(enum.StrEnum):
    """A check's verdict."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    NOTICE = "notice"
    WARN = "warn"
    ERROR = "error"
    NOT_APPLICABLE = "not_applicable"
    UNKNOWN = "unknown"


STATUS_OF: Mapping[Severity, Status] = {
    Severity.CRITICAL: Status.ERROR,
    Severity.HIGH: Status.ERROR,
    Severity.MEDIUM: Status.WARN,
    Severity.LOW: Status.NOTICE,
    Severity.INFO: Status.NOTICE,
}
"""Design section 3: critical and high give error, medium warn, low and info notice."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A non-pass verdict of one check on one address.

    `message` says what is, in one plain sentence; `cause` why that matters or how it comes about; `fix` what to do.
    `certificate` is the digest of the certificate it is about ("" where it is about none), `evidence` JSON values only.
    """

    check: str
    severity: Severity
    message: str
    cause: str
    fix: str
    address: str
    certificate: str = ""
    evidence: Mapping[str, str | int | list[str]] = field(default_factory=dict)
    unknown: bool = False

    @property
    def status(self) -> Status:
        """Follows from the severity; absence of evidence is `unknown`, never a pass."""
        return Status.UNKNOWN if self.unknown else STATUS_OF[self.severity]
