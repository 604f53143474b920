"""What the feed says, as bytes that travel, and back: `api/v2/keychest.json`, from which a watcher makes the same pages again.

What comes from elsewhere is read strictly: it is whole, of the right types, of a sane size, and nothing in it leads out of the feed's
folder.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from core.status.told import Told

MOST_BYTES: Final = 16 * 1024 * 1024
MOST_ITEMS: Final = 20_000
MOST_CHARS: Final = 100_000
_MOST_NUMBER: Final = 2**53
"""From here on readers of JSON no longer tell whole numbers apart."""
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINK: Final = re.compile(r"(?:[A-Za-z0-9_-]+(?:[/.][A-Za-z0-9_-]+)*/?)?(?:#[a-z-]+)?")
ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~-]+)*")
"""Addresses stand in commands that people copy into a shell: nothing in one means anything there."""


def encode(told: Told) -> bytes:
    """The same bytes for the same value, as UTF-8 JSON with its fields in the order in which `told.py` declares them."""
    return json.dumps(_plain(told), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(raw: bytes) -> Told:
    """The value that `encode` made these bytes of. Raises ValueError, with a sentence, for all others."""
    if len(raw) > MOST_BYTES:
        raise ValueError(f"It is longer than {MOST_BYTES:,} bytes.")
    try:
        read = json.loads(raw.decode(), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_no_number, parse_int=_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"It is not JSON: {error.msg}.") from None
    except UnicodeDecodeError:
        raise ValueError("It is not UTF-8.") from None
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
    told = _read(read, Told, "it")
    require_sound(told)
    return told  # type: ignore[no-any-return]  # _read made one


def require_sound(told: Told) -> None:
    """Raises ValueError, with a sentence, where a reference is no plain word or a link leads elsewhere: files are named by them."""
    for word in (*(each.ref for each in told.incidents), *(each.ref for each in told.accesses), *(each.key for each in told.components)):
        if not _WORD.fullmatch(word):
            raise ValueError(f"{word[:80]!r} is no reference: it may have letters, digits, - and _.")
    for name, keys in (
        ("component", [each.key for each in told.components]),
        ("incident", [each.ref for each in told.incidents]),
    ):
        if len(set(keys)) != len(keys):
            raise ValueError(f"It names one {name} twice.")
    if not 2000 <= told.made_at.year < 2200:  # noqa: PLR2004 - what a clock shows that runs
        raise ValueError("It was made in a year in which nobody made it.")
    for each in told.measures:
        if not _LINK.fullmatch(each.link):
            raise ValueError(f"{each.link[:80]!r} is no link within the feed.")
    for address in (told.address, *filter(None, [told.feed])):
        if not ADDRESS.fullmatch(address):
            raise ValueError(f"{address[:80]!r} is no address of a site: it begins with https:// and has no slash at its end.")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(value: Any, kind: Any, where: str) -> Any:
    """The value as this type, or ValueError that says where it is not one."""
    if is_dataclass(kind) and isinstance(kind, type):
        return _fields(value, kind, where)
    origin = get_origin(kind)
    if origin in {Union, UnionType}:
        return None if value is None else _read(value, next(each for each in get_args(kind) if each is not NoneType), where)
    if origin is tuple:
        return _items(value, get_args(kind), where)
    if origin is Literal:
        if value not in get_args(kind) or not isinstance(value, str):
            raise ValueError(f"{where} is none of {', '.join(get_args(kind))}.")
        return value
    return _moment(value, kind, where) if kind in {date, datetime} else _simple(value, kind, where)


def _fields(value: Any, kind: type, where: str) -> Any:
    if type(value) is not dict:
        raise ValueError(f"{where} is no object.")
    hints = _hints(kind)
    if odd := [name for name in value if name not in hints]:
        raise ValueError(f"{where} has a field that nobody knows: {odd[0][:80]!r}.")
    if missing := [name for name in hints if name not in value]:
        raise ValueError(f"{where} has no field {missing[0]!r}.")
    return kind(**{name: _read(value[name], hint, f"{where}.{name}") for name, hint in hints.items()})


def _items(value: Any, kinds: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if type(value) is not list:
        raise ValueError(f"{where} is no list.")
    if len(value) > MOST_ITEMS:
        raise ValueError(f"{where} has more than {MOST_ITEMS:,} items.")
    if kinds[-1] is Ellipsis:
        return tuple(_read(each, kinds[0], f"{where}[{number}]") for number, each in enumerate(value))
    if len(value) != len(kinds):
        raise ValueError(f"{where} has not {len(kinds)} items.")
    return tuple(_read(each, each_kind, where) for each, each_kind in zip(value, kinds, strict=True))


def _moment(value: Any, kind: type, where: str) -> Any:
    """A date, or a time in UTC, in the one spelling that `encode` gives it."""
    try:
        found = date.fromisoformat(value) if kind is date else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where} is no {'date' if kind is date else 'time'}.") from None
    aware = not isinstance(found, datetime) or found.tzinfo is not None
    if not aware or _plain(found) != value:
        raise ValueError(f"{where} is not written as a {'date' if kind is date else 'time in UTC'} is written here.")
    return found


def _simple(value: Any, kind: type, where: str) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{where} is no {({str: 'text', int: 'whole number', bool: 'yes or no'})[kind]}.")
    return _text(str(value), where) if kind is str else value


def _text(value: str, where: str) -> str:
    if len(value) > MOST_CHARS:
        raise ValueError(f"{where} is longer than {MOST_CHARS:,} characters.")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{where} holds half a character.")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("It says one field twice.")
    return found


def _number(text: str) -> int:
    if len(text) > len(str(_MOST_NUMBER)) + 1 or abs(int(text)) > _MOST_NUMBER:
        raise ValueError("It has a number that is too large.")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"It has {text[:80]} where a whole number belongs.")
