"""An entry as strangers see it, and what only its commitments tell of: how an event becomes the bytes of a leaf.

The bytes are canonical JSON (RFC 8785; here that is sorted ASCII keys, no spaces, UTF-8): `v` 1, `kind`, `at` (when it happened) and
`logged` (when the sequencer took it), both to the minute, `by` (what kind of actor), `said` (what strangers see), and `c`: for each field
that they do not see, SHA-256(32-byte salt || canonical JSON of the value), in hex. `back_s` tells that the clock was set back by so many
seconds since the entry before.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from audit.kinds import KINDS, UNKNOWN

Value = str | int | bool
Sealed = dict[str, list[Any]]
"""What only commitments tell of: field to [salt in hex, value]."""

VERSION: Final = 1
SALT_BYTES: Final = 32
_ACTOR = re.compile(r"user:[a-z0-9]+")
_ACTORS: Final = frozenset({"terminal", "worker", "nobody", "log"})
PERSON: Final = "person"
_TEN = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """The bytes of a leaf, and the salts and values behind its commitments."""

    body: bytes
    sealed: Sealed


def canonical(value: object) -> bytes:
    """The one way to write it down. Only text, whole numbers, true and false, and objects of these."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def commitment(salt: bytes, value: Value) -> str:
    """What stands in an entry for a value. Without the salt nobody can try values against it."""
    return hashlib.sha256(salt + canonical(value)).hexdigest()


def to_the_minute(at: datetime) -> str:
    """A time as entries have it: 2026-11-28T21:05Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def magnitude(count: int) -> str:
    """About how many: a count that would tell one account from another is not told."""
    if count <= 0:
        return "0"
    low = 1
    while count >= low * _TEN:
        low *= _TEN
    return f"{low:,} to {low * _TEN - 1:,}"


def actor_kind(actor: str) -> str:
    """What kind of actor it was, for strangers."""
    return actor if actor in _ACTORS else PERSON if _ACTOR.fullmatch(actor) else "nobody"


def make_entry(
    kind: str,
    *,
    at: datetime,
    logged: datetime,
    actor: str,
    account: str,
    public: Mapping[str, Value],
    private: Mapping[str, Value],
    back_s: int = 0,
    salt: Callable[[], bytes] = lambda: os.urandom(SALT_BYTES),
) -> Entry:
    """The entry of an event. `public` is shown as far as `KINDS` says so; all else is committed to."""
    known = KINDS.get(kind, UNKNOWN)
    said: dict[str, Value] = {name: public[name] for name in known.shown if name in public}
    said |= {name: magnitude(int(public[name])) for name in known.counted if name in public}
    hidden: dict[str, Value] = {"account": account, "actor": actor, "at": at.astimezone(UTC).isoformat(timespec="milliseconds")}
    hidden |= {name: value for name, value in public.items() if name not in known.shown}
    hidden |= dict(private)
    sealed: Sealed = {name: [salt().hex(), hidden[name]] for name in sorted(hidden)}
    told: dict[str, Any] = {
        "v": VERSION,
        "kind": kind,
        "at": to_the_minute(at),
        "logged": to_the_minute(logged),
        "by": actor_kind(actor),
        "said": said,
        "c": {name: commitment(bytes.fromhex(kept), value) for name, (kept, value) in sealed.items()},
    }
    return Entry(canonical(told | ({"back_s": back_s} if back_s else {})), sealed)


def read_entry(body: bytes) -> dict[str, Any]:
    """What an entry says. Raises ValueError with a sentence for bytes that no entry consists of."""
    try:
        found = json.loads(body)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(found, dict) or canonical(found) != body:
        raise ValueError("it is not canonical JSON")
    shape = {"v": int, "kind": str, "at": str, "logged": str, "by": str, "said": dict, "c": dict}
    if any(not isinstance(found.get(name), kind) for name, kind in shape.items()):
        raise ValueError("a field is missing")
    if found["v"] != VERSION:
        raise ValueError(f"it is of version {found['v']}, which this program does not know")
    return found


def opens(body: bytes, sealed: Mapping[str, list[Any]]) -> list[str]:
    """Which of these fields the entry does not commit to with this salt and value: [] where all of them hold."""
    told = read_entry(body)["c"]
    return [name for name, (salt, value) in sealed.items() if told.get(name) != commitment(bytes.fromhex(salt), value)]
