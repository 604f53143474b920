"""How a handshake failed, in a kind that is stored and one plain sentence. What the server wrote is never repeated."""

from __future__ import annotations

import re
from typing import Final

from OpenSSL import SSL

from core.scanner.facts import Failure, FailureKind, Stage

_RECEIVED_ALERT: Final = re.compile(r"(?:(?:tls|sslv3|ssl/tls) alert|tlsv13?(?: alert)?) (?P<name>.+)")
_RECORD_TYPES: Final = frozenset({20, 21, 22, 23})  # RFC 8446 section 5.1
_MAJOR_VERSION: Final = 3
_GREETINGS: Final = (
    (b"HTTP/", "HTTP without TLS"),
    (b"SSH-", "SSH"),
    (b"220", "a mail or FTP server before STARTTLS"),
    (b"* OK", "IMAP before STARTTLS"),
    (b"+OK", "POP3 before STARTTLS"),
)
_ALERT_WORDS: Final = {
    "handshake failure": "It shares no protocol setting with us, or knows no certificate for this name.",
    "protocol version": "It speaks only TLS versions that we do not, such as SSL 3.0.",
    "unrecognized name": "It knows no certificate for this name.",
    "no application protocol": "It speaks neither HTTP nor HTTP/2.",
    "internal error": "Something is broken on the server.",
}
_TOO_LARGE: Final = "excessive message size"
_TOO_LARGE_WORDS: Final = "The server sent a larger message (most often its certificates) than TLS libraries read, which is 100 KB."


def failed(kind: FailureKind, message: str) -> Failure:
    """A failure of the handshake."""
    return Failure(kind, Stage.HANDSHAKE, message)


def not_tls(first: bytes) -> Failure | None:
    """A failure when the first bytes a server sends are not the head of a TLS record."""
    if first[0] in _RECORD_TYPES and first[1:2] in {b"", bytes([_MAJOR_VERSION])}:
        return None
    speaks = next((what for greeting, what in _GREETINGS if first.startswith(greeting)), "")
    return failed(FailureKind.NOT_TLS, f"The server does not speak TLS on this port{f': this looks like {speaks}' if speaks else ''}.")


def alert_failure(error: SSL.Error) -> Failure | None:
    """The alert with which the server ended the handshake, by its name in RFC 8446 section 6; None when it was no alert."""
    reasons = _reasons(error)
    if reasons == [""]:  # OpenSSL has no text for this number; its own errors all have one
        return failed(FailureKind.ALERT, "The server ended the handshake with a TLS alert of an unknown kind.")
    for reason in reasons:
        received = _RECEIVED_ALERT.fullmatch(reason)
        if received:
            name = received["name"]
            words = _ALERT_WORDS.get(name, "")
            return failed(FailureKind.ALERT, f"The server ended the handshake with the TLS alert “{name}”.{words and f' {words}'}")
    return None


def engine_failure(error: SSL.Error) -> Failure:
    """What OpenSSL could not go on with."""
    reasons = _reasons(error)
    if _TOO_LARGE in reasons:
        return failed(FailureKind.CERTIFICATE_TOO_LARGE, _TOO_LARGE_WORDS)
    if "wrong version number" in reasons:
        return failed(FailureKind.NOT_TLS, "The server does not speak TLS on this port.")
    why = ", ".join(dict.fromkeys(reason for reason in reasons if reason)) or "no reason given"
    return failed(FailureKind.PROTOCOL_ERROR, f"The server's TLS is broken, and OpenSSL could not go on ({why}).")


def _reasons(error: SSL.Error) -> list[str]:
    """What OpenSSL said: pyOpenSSL gives a list of (library, function, reason), or nothing at all."""
    return [str(entry[2]) for entry in error.args[0]] if error.args else []
