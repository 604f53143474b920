"""The texts that a host signs: one spelling each, short, with nothing in them that a terminal or a page would obey."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Mapping
from typing import Any

FORM = "keychest-access-1"
MOST_NAME = 256
MOST_REASON = 300
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def spelled(told: Mapping[str, Any]) -> str:
    """The one spelling: sorted, without spaces, ASCII."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


def instant(now: float) -> str:
    """2026-11-29T00:45:12.345Z, of seconds since 1970. A clock that no calendar has is told as its nearest end."""
    millis = min(max(int(now * 1000), 0), 253_402_300_799_999)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(millis // 1000)) + f".{millis % 1000:03d}Z"


def plain(words: str, most: int) -> str:
    """What is left of a stranger's words: control characters and what cannot be seen dropped, cut to `most` characters."""
    readable = words.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char for char in readable if unicodedata.category(char) not in _HIDDEN).strip()[:most]


def report(host: str, number: int, at: str, what: str, fields: Mapping[str, str]) -> str:
    """A numbered report."""
    return spelled({"form": FORM, "host": host, "number": number, "at": at, "what": what, **fields})
