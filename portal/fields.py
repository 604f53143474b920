"""A certificate's fields as people read them, for its page and for its text file, and the short names that lists show.

What is absent is left out; what could not be read is named. Values are as the server sent them: templates make them safe to look at.
"""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from core.net.names import u_label
from core.net.text import visible
from core.scanner.certificate import Certificate

_ATTRIBUTE = re.compile(r"(?:^|[,+])\s*([A-Za-z0-9.-]+)=((?:\\.|[^\\,+])*)", re.DOTALL)
_ESCAPED = re.compile(r"\\([ \"#+,;<=>\\])")
_LINKED = frozenset({"http", "https"})
_USES = {
    "digitalSignature": "digital signature",
    "contentCommitment": "content commitment",
    "keyEncipherment": "key encipherment",
    "dataEncipherment": "data encipherment",
    "keyAgreement": "key agreement",
    "keyCertSign": "signing certificates",
    "cRLSign": "signing revocation lists",
    "encipherOnly": "encipher only",
    "decipherOnly": "decipher only",
    "serverAuth": "server authentication",
    "clientAuth": "client authentication",
    "codeSigning": "code signing",
    "emailProtection": "e-mail",
    "timeStamping": "time stamping",
    "OCSPSigning": "signing OCSP answers",
}
_POLICIES = {  # CA/Browser Forum Baseline Requirements section 7.1.6.1
    "2.23.140.1.1": "extended validation",
    "2.23.140.1.2.1": "domain validated",
    "2.23.140.1.2.2": "organisation validated",
    "2.23.140.1.2.3": "individual validated",
}
_LABELS = {
    "subject": "Subject",
    "issuer": "Issuer",
    "not_before": "Valid from",
    "not_after": "Ends",
    "key": "Key",
    "signature": "Signature",
    "serial": "Serial number",
    "spki_sha256": "SHA-256 of the key",
    "sans": "Names",
    "is_ca": "CA",
    "key_usage": "Use",
    "extended_key_usage": "Extended use",
    "policies": "Policy",
    "aia_ca_issuers": "Issuer's certificate",
    "crl_urls": "Revocation list",
    "ski": "Subject key id",
    "aki": "Issuer key id",
    "certificate": "The whole certificate",
    "extensions": "Extensions",
    "subject_cn": "Common name",
    "signature_hash": "Signature's hash",
    "scts_raw": "Log stamps",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One line. `at` is set for an instant; `kind` is "text", "mono", "hex" (grouped), "url" (linked if http) or "unreadable"."""

    label: str
    values: tuple[str, ...] = ()
    kind: str = "text"
    note: str = ""
    at: datetime | None = None


def fields_of(cert: Certificate) -> tuple[Field, ...]:
    """Every field that is there, in the order of a certificate, then what could not be read."""
    return (*_identity(cert), *_extensions(cert), *_unreadable(cert))


def _identity(cert: Certificate) -> Iterator[Field]:
    if cert.subject is not None:
        yield Field("Subject", (cert.subject or "empty",), note="" if cert.subject else "the names below count")
    if cert.issuer is not None:
        yield Field("Issuer", (cert.issuer or "empty",))
    if cert.not_before is not None:
        yield Field("Valid from", at=cert.not_before)
    if cert.not_after is not None:
        yield Field("Ends", at=cert.not_after, note=_whole_life(cert))
    if cert.key:
        odd = cert.key_exponent is not None and cert.key_exponent != 65537  # noqa: PLR2004 - the usual one
        yield Field("Key", (cert.key,), note=f"exponent {cert.key_exponent}" if odd else "")
    if cert.signature:
        yield Field("Signature", (cert.signature,))
    if cert.serial:
        yield Field("Serial number", (pairs(cert.serial, " "),), "mono")
    yield Field("SHA-256", (fours(cert.sha256),), "hex")
    if cert.spki_sha256:
        yield Field("SHA-256 of the key", (fours(cert.spki_sha256),), "hex")


def _extensions(cert: Certificate) -> Iterator[Field]:
    uses = tuple(_USES.get(use, use) for use in (*(cert.key_usage or ()), *(cert.extended_key_usage or ())))
    if uses:
        yield Field("Use", ("; ".join(uses),))
    if cert.is_ca is not None:
        yield Field("CA", ("Yes" if cert.is_ca else "No",))
    if cert.other_sans:
        yield Field("Other identities", cert.other_sans)
    for policy in cert.policies:
        yield Field("Policy", (policy,), note=_POLICIES.get(policy, ""))
    for label, urls in (("Issuer's certificate", cert.aia_ca_issuers), ("OCSP", cert.ocsp_urls), ("Revocation list", cert.crl_urls)):
        if urls:
            yield Field(label, urls, "url")
    for label, digits in (("Subject key id", cert.ski), ("Issuer key id", cert.aki)):
        if digits:
            yield Field(label, (pairs(digits, ":"),), "mono")
    if cert.unknown_extensions:
        yield Field("Unknown extension", cert.unknown_extensions, "mono")


def _unreadable(cert: Certificate) -> Iterator[Field]:
    for field in cert.unreadable:
        yield Field(_LABELS.get(field, field[:1].upper() + field[1:]), ("could not be read",), "unreadable")


def _whole_life(cert: Certificate) -> str:
    if cert.not_before is None or cert.not_after is None or cert.not_after < cert.not_before:
        return ""
    life = cert.not_after - cert.not_before
    days = life.days + (life.seconds > 43_200)  # noqa: PLR2004 - issuers leave a second out
    return f"{days:,} days in all" if days != 1 else "1 day in all"


def title_of(cert: Certificate) -> str:
    """What a certificate is called: its common name, else its first name, else what it lacks."""
    return (
        cert.subject_cn or next(iter((*cert.sans, *cert.other_sans)), "") or ("No name" if cert.is_readable else "Unreadable certificate")
    )


def attributes(rfc4514: str) -> dict[str, str]:
    """The attributes of a distinguished name as text, the first of each kind; what cannot be told apart stays as it is."""
    found: dict[str, str] = {}
    for kind, value in _ATTRIBUTE.findall(rfc4514):
        found.setdefault(kind.upper(), _ESCAPED.sub(r"\1", value))
    return found


def short_name(rfc4514: str | None) -> str:
    """A distinguished name in a list: the organisation and the common name, without saying one thing twice."""
    if not rfc4514:
        return ""
    named = attributes(rfc4514)
    cn, organisation = named.get("CN", ""), named.get("O", "")
    if cn and organisation and organisation.split()[0].lower() not in cn.lower():
        return f"{organisation} {cn}"
    return cn or organisation or rfc4514


def listed_name(subject: str | None) -> str:
    """A subject's common name, "" where it has none."""
    return attributes(subject or "").get("CN", "")


def fours(digest: str) -> str:
    """9F3A 61C2 …: a fingerprint in upper case and fours."""
    return " ".join(textwrap.wrap(digest.upper(), 4))


def short(digest: str) -> str:
    """The first eight digits of a fingerprint."""
    return f"{fours(digest[:8])}…"


def pairs(digits: str, between: str) -> str:
    """Hexadecimal digits in pairs; a minus stays in front."""
    sign, plain = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    return sign + between.join(textwrap.wrap(("0" * (len(plain) % 2) + plain).upper(), 2))


def linkable(url: str) -> bool:
    """Whether an address from a certificate may be clicked: plain http or https, and nothing hidden in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in _LINKED and bool(parts.hostname) and url.isascii() and url.isprintable() and " " not in url


def pem(der: bytes) -> str:
    """RFC 7468 section 2."""
    lines = textwrap.wrap(base64.b64encode(der).decode("ascii"), 64)
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def as_text(cert: Certificate) -> str:
    """Every field and every name in plain text, and the certificate itself. What cannot be seen is spelled out, as in [U+202E]."""
    lines = [f"{'Title':20} {_plain(title_of(cert))}"]
    for field in fields_of(cert):
        values = (f"{field.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",) if field.at else field.values
        lines += [f"{field.label:20} {_plain(value)}" for value in values]
    lines += ["", f"Names ({len(cert.sans)})"]
    lines += [f"  {_plain(name)}" if u_label(name) == name else f"  {_plain(u_label(name))}  ({_plain(name)})" for name in cert.sans]
    return "\n".join([*lines, "", pem(cert.der)])


def _plain(text: str) -> str:
    return "".join(f"[{run}]" if hidden else run for hidden, run in visible(text))
