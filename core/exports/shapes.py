"""What lines of a bundle may be: every field there, of its type and size, and no other. Files come from anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from core.exports import form

MOST_LINE: Final = 1 << 20
MOST_TEXT: Final = 100_000
_NAME, _WORD, _ADDRESS, _EMAIL = 253, 64, 64, 320
_INSTANT: Final = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_A_LABELS: Final = re.compile(r"[a-z0-9](?:[a-z0-9.\-]*[a-z0-9])?")
_PORTS: Final = range(1, 65_536)
_MOST_TAGS: Final = 1_000
_MOST_CHAIN: Final = 1_000
_MOST_PLANS: Final = 1_000
Shape = Callable[[Any], bool]


def text(most: int = MOST_TEXT) -> Shape:
    """Text up to so long."""
    return lambda value: isinstance(value, str) and len(value) <= most


def one_of(*words: str) -> Shape:
    """One of these words."""
    return lambda value: isinstance(value, str) and value in words


def or_null(shape: Shape) -> Shape:
    """Either that, or null."""
    return lambda value: value is None or shape(value)


def list_of(shape: Shape, most: int) -> Shape:
    """A list of these, up to so many."""
    return lambda value: isinstance(value, list) and len(value) <= most and all(shape(each) for each in value)


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with exactly these fields."""

    shapes: Mapping[str, Shape]

    def __call__(self, value: Any) -> bool:
        """Whether it is one."""
        return (
            isinstance(value, dict) and value.keys() == self.shapes.keys() and all(shape(value[key]) for key, shape in self.shapes.items())
        )

    def known(self, value: dict[str, Any]) -> dict[str, Any]:
        """Those of its fields that there are here."""
        return value if value.keys() <= self.shapes.keys() else {key: value[key] for key in value if key in self.shapes}


def flag(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def port(value: Any) -> bool:
    """A port."""
    return type(value) is int and value in _PORTS


def instant(value: Any) -> bool:
    """An instant in its one spelling."""
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        return False
    try:
        read_instant(value)
    except ValueError:
        return False
    return True


def read_instant(value: str) -> datetime:
    """The instant. Raises ValueError for one that is in no calendar."""
    return datetime.fromisoformat(value[:-1]).replace(tzinfo=UTC)


def sha256(value: Any) -> bool:
    """A digest."""
    return isinstance(value, str) and bool(_SHA256.fullmatch(value))


def base64_text(value: Any) -> bool:
    """Bytes as base64."""
    return isinstance(value, str) and len(value) % 4 == 0 and bool(_BASE64.fullmatch(value))


def a_labels(value: Any) -> bool:
    """A host name, written as it is dialled. Whether it may be watched is for who adds it."""
    return isinstance(value, str) and len(value) <= _NAME and bool(_A_LABELS.fullmatch(value))


_WATCH: Final[Mapping[str, Shape]] = {"name": a_labels, "port": port, "starttls": text(16), "fixed": text(_ADDRESS)}
_FAILURE: Final = Fields({"kind": text(_WORD), "stage": or_null(text(_WORD)), "message": or_null(text())})
_TLS: Final = Fields({"version": text(_WORD), "cipher": or_null(text(_WORD)), "group": or_null(text(_WORD)), "alpn": or_null(text(_WORD))})
_PLAN: Final = Fields({"every": text(8), "history": text(8), "place": text(8), "address": text(), "recipient": text(128)})
SHAPES: Final[Mapping[str, Fields]] = {
    form.ACCOUNT: Fields({"name": text(), "created_at": instant}),
    form.SETTINGS: Fields({"factor_required": flag, "plans": list_of(_PLAN, _MOST_PLANS)}),
    form.DOMAINS: Fields({
        "name": a_labels, "kind": one_of("exact", "tree"), "created_at": instant, "note": text(), "tags": list_of(text(_WORD), _MOST_TAGS),
        "responsible": text(_EMAIL),
    }),
    form.WATCHES: Fields({**_WATCH, "since_at": instant}),
    form.MEMBERS_OF: Fields({"email": text(_EMAIL), "role": text(16), "since_at": instant}),
    form.CHANNELS: Fields({"kind": text(16), "to": text(_EMAIL)}),
    form.OBSERVATIONS: Fields({
        **_WATCH, "perspective": text(32), "address": text(_ADDRESS), "key_asked": text(8), "seen_at": instant, "content_sha256": sha256,
        "failure": or_null(_FAILURE), "tls": or_null(_TLS), "chain": or_null(sha256), "ocsp_staple": or_null(base64_text),
        "scts": or_null(base64_text),
    }),
    form.INCIDENTS: Fields({
        **_WATCH, "check": text(32), "certificate": text(64), "severity": text(16), "message": text(), "opened_at": instant,
        "closed_at": or_null(instant), "removed": flag, "cleared_at": or_null(instant),
    }),
    form.CHAINS: Fields({"chain": sha256, "certificates": list_of(sha256, _MOST_CHAIN)}),
    form.CERTIFICATES: Fields({
        "sha256": sha256, "subject": or_null(text()), "issuer": or_null(text()), "serial": or_null(text()), "not_before": or_null(instant),
        "not_after": or_null(instant), "key": or_null(text()), "spki_sha256": or_null(sha256), "unreadable": list_of(text(_WORD), 100),
    }),
    form.MANIFEST: Fields({
        "format": text(_WORD), "version": lambda value: type(value) is int, "installation": text(_NAME * 2), "software": text(_WORD),
        "account": Fields({"ref": text(_WORD), "name": text()}), "made_at": instant, "history": text(8), "since": or_null(instant),
        "counts": lambda value: isinstance(value, dict) and all(type(each) is int and each >= 0 for each in value.values()),
        "members": list_of(Fields({"name": text(_WORD), "bytes": lambda value: type(value) is int, "sha256": sha256}), 100),
        "log": or_null(Fields({"origin": text(), "checkpoint": text()})), "signer": text(256),
    }),
}  # fmt: skip
"""The shape of each member's lines, or of the member."""


_encode: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


_text: Final = json.encoder.encode_basestring


def line_of(value: Any) -> str:
    """The one spelling of a value: sorted keys, no blanks, characters as they are."""
    return _encode(value)


def text_of(value: str) -> str:
    """As `line_of`, for text: the part of it that does the work."""
    return _text(value)


def read_line(raw: bytes) -> dict[str, Any]:
    """The object on a line. Raises ValueError, with the end of a sentence, where there is none that all readers agree on."""
    try:
        line = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    try:
        value = json.loads(line, object_pairs_hook=_once, parse_constant=_never, parse_float=_never, parse_int=_whole)
    except json.JSONDecodeError:
        raise ValueError("is not JSON") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 - one kind of error for all that a file may be
    if "\\" in line and _cannot_be_kept(value):
        raise ValueError("has characters that no text may have")
    return value


def _cannot_be_kept(value: Any) -> bool:
    """Half a surrogate pair is no character, and a database keeps no NUL; one behind a backslash is six characters of text."""
    said = json.dumps(value, ensure_ascii=False)
    try:
        said.encode()
    except UnicodeEncodeError:
        return True
    return "\\u0000" in said.replace("\\\\", "")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("names a field twice")
    return found


def _never(_text: str) -> NoReturn:
    raise ValueError("has a number that is not whole")


def _whole(digits: str) -> int:
    if len(digits) > 16:  # noqa: PLR2004 - beyond 2**53 readers of JSON differ
        raise ValueError("has a number that is too large")
    return int(digits)
