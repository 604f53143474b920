"""What hosts report of accesses to them: signed texts, read strictly. docs/access.md has the form; the recorder on a host writes it.

A text counts only with a signature by its host's own key, in the namespace that nothing else is signed in.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

FORM: Final = "keychest-access-1"
NAMESPACE: Final = "keychest-access"
MOST_BYTES: Final = 4_096
MOST_OPEN: Final = 200
MOST_REPORTS: Final = 50
"""In one delivery."""
MOST_REASON: Final = 300
WHATS: Final = frozenset({"opened", "closed", "completed", "reason", "lost"})
KINDS: Final = frozenset({"ssh", "sftp", "database"})
ROLES: Final = frozenset({"administrator", "user", "superuser"})
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
_AT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_UNPRINTED: Final = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")
"""Control characters, and halves of characters that no database stores."""
_LARGEST: Final = 2**53
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC)
"""A clock that is further away is wrong anyhow: what it says is taken for the nearest of these, so that the queue goes on."""
_NEEDS: Final = {
    "opened": ("session", "kind", "role", "user", "from"),
    "closed": ("session",),
    "completed": ("session", "kind"),
    "reason": ("session", "reason"),
    "lost": (),
}
_LENGTHS: Final = {"session": 96, "user": 256, "from": 256, "reason": MOST_REASON}


class ReportError(ValueError):
    """A text that is no report. The message is a sentence."""


class ForgedError(ReportError):
    """A signature that is not by the host's key."""


@dataclass(frozen=True, slots=True)
class Report:
    """One numbered report. Fields that do not apply are ""; `origin` is where the person came from."""

    number: int
    at: datetime
    what: str
    session: str = ""
    kind: str = ""
    role: str = ""
    user: str = ""
    origin: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat: `last` is the newest report's number, `open` the sessions that are open; all of them, unless there are MOST_OPEN."""

    beat: int
    at: datetime
    last: int
    boot: str
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a host delivered, every signature of which holds: its heartbeat, and reports, each with its text and signature."""

    beat: Beat
    reports: tuple[tuple[Report, str, str], ...]


def is_host_name(name: str) -> bool:
    """Whether a host may be called so: lower-case letters, digits, dots and hyphens, 64 at most. Strangers read it."""
    return _NAME.fullmatch(name) is not None


def checked_key(line: str) -> str:
    """An Ed25519 public key as OpenSSH writes it, without its comment. Raises ReportError for what is none."""
    kind, _, rest = line.strip().partition(" ")
    coded = rest.strip().partition(" ")[0]
    try:
        whole = base64.b64decode(coded, validate=True)
    except binascii.Error:
        whole = b""
    if kind != "ssh-ed25519" or whole[:15] != b"\0\0\0\x0bssh-ed25519" or len(whole) != 51:  # noqa: PLR2004 - 4+11+4+32 bytes
        raise ReportError("This is no Ed25519 public key as `./keychest access install` prints it: `ssh-ed25519 AAAA…`.")
    return f"ssh-ed25519 {coded}"


def holds(public_key: str, text: str, signature: str) -> bool:
    """Whether this text was signed by the key, as `ssh-keygen -Y sign -n keychest-access` does it."""
    import asyncssh  # a third of a second, which no other page needs

    if len(signature) > MOST_BYTES:
        return False
    signers = f'host namespaces="{NAMESPACE}" {public_key}\n'.encode()
    try:
        return asyncssh.validate_sshsig(text.encode(), signature.encode(), "host", signers)
    except (ValueError, KeyError, TypeError, IndexError):
        return False  # a signature whose parts are none


def host_of(told: Any) -> str:
    """In whose name a delivery comes. Raises ReportError for what is none."""
    host = told.get("host") if isinstance(told, dict) else None
    if not isinstance(host, str) or not is_host_name(host):
        raise ReportError("This is no delivery of reports.")
    return host


def read_delivery(told: dict[str, Any], host: str, public_key: str) -> Delivery:
    """A delivery of this host's, checked by its key. Raises ReportError; ForgedError where a signature does not hold."""
    each = told.get("reports")
    if not isinstance(each, list) or len(each) > MOST_REPORTS:
        raise ReportError(f"A delivery has a list of at most {MOST_REPORTS} reports.")
    beat, _ = _signed(told.get("beat"), public_key)
    texts = [_signed(one, public_key) for one in each]
    return Delivery(read_beat(beat, host), tuple((read_report(text, host), text, signature) for text, signature in texts))


def _signed(one: Any, public_key: str) -> tuple[str, str]:
    """A text and the signature that holds for it. Raises ForgedError."""
    text, signature = (one.get("text"), one.get("signature")) if isinstance(one, dict) else (None, None)
    if not isinstance(text, str) or not isinstance(signature, str) or not holds(public_key, text, signature):
        raise ForgedError("A signature is not by this host's key.")
    return text, signature


def read_report(text: str, host: str) -> Report:
    """A report of this host's. Raises ReportError."""
    told = _read(text, host)
    number, what = _whole(told, "number", 1), told.get("what")
    if not isinstance(what, str) or what not in WHATS:
        raise ReportError("A report says nothing that is known here.")
    needed = _NEEDS[what]
    if set(told) != {"form", "host", "number", "at", "what", *needed}:
        raise ReportError(f"A report of the sort {what} has other fields than it should.")
    said = {name: _text(told, name) for name in needed}
    if said.get("kind", "ssh") not in KINDS or said.get("role", "user") not in ROLES:
        raise ReportError("A report names a kind or a role that is not known here.")
    said["origin"] = said.pop("from", "")
    return Report(number, _instant(told), what, **said)


def read_beat(text: str, host: str) -> Beat:
    """A heartbeat of this host's. Raises ReportError."""
    told = _read(text, host)
    if set(told) != {"form", "host", "beat", "at", "last", "boot", "open"}:
        raise ReportError("A heartbeat has other fields than it should.")
    sessions = told["open"]
    if not isinstance(sessions, list) or len(sessions) > MOST_OPEN or not all(isinstance(each, str) for each in sessions):
        raise ReportError("A heartbeat's open sessions are no list of names.")
    boot = told["boot"]
    if not isinstance(boot, str) or len(boot) > 64:  # noqa: PLR2004 - the column's
        raise ReportError("A heartbeat does not say which run of the machine it is of.")
    return Beat(_whole(told, "beat", 1), _instant(told), _whole(told, "last", 0), boot, tuple(sessions))


def _read(text: str, host: str) -> dict[str, Any]:
    try:
        told = json.loads(text) if len(text) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or told.get("form") != FORM:
        raise ReportError(f"This is no text of the form {FORM}.")
    if json.dumps(told, sort_keys=True, separators=(",", ":")) != text:
        raise ReportError("This text is not in its one spelling: sorted, without spaces, ASCII.")
    if told.get("host") != host:
        raise ReportError("This text is about another host than the one that sends it.")
    return told


def _whole(told: dict[str, Any], name: str, least: int) -> int:
    value = told.get(name)
    if type(value) is not int or not least <= value < _LARGEST:
        raise ReportError(f"`{name}` is no whole number from {least} on.")
    return value


def _text(told: dict[str, Any], name: str) -> str:
    value = told[name]
    if not isinstance(value, str) or len(value) > _LENGTHS.get(name, 32) or _UNPRINTED.search(value):
        raise ReportError(f"`{name}` is no text that is short and printable.")
    if name in {"session", "reason"} and not value.strip():
        raise ReportError(f"`{name}` is empty.")
    return value


def _instant(told: dict[str, Any]) -> datetime:
    value = told.get("at")
    if not isinstance(value, str) or not _AT.fullmatch(value):
        raise ReportError("`at` is no time in UTC, as 2026-11-29T00:45:12.345Z.")
    try:
        at = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ReportError("`at` is a time that no calendar has.") from None
    return min(max(at, _EARLIEST), _LATEST)
