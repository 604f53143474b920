"""The one Jinja environment over `templates/`: pages, mails and files are rendered here, without Flask.

Everything is escaped, and a value that a template names and nobody gave is an error. What strangers wrote goes through
`visible`, `breakable` or `display_name`, never through `safe`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

import jinja2
from markupsafe import Markup, escape

from core.net.names import mixed_script, u_label
from core.net.text import visible
from core.net.upgrades import WORDS

_ROOT: Final = Path(__file__).resolve().parents[1]
TEMPLATES: Final = _ROOT / "templates"
STATIC: Final = _ROOT / "static"
LONG_NAME: Final = 60
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
STATE_WORDS: Final = {"bad": "Needs you", "soon": "Soon", "unk": "Not reached", "live": "Checking", "ok": "Well"}
"""What the states of a watch are called, worst first."""
LANGUAGES: Final[Mapping[str, str]] = {
    "en": "28 Nov 2026 (English)",
    "iso": "2026-11-28 (ISO 8601)",
    "cs": "28. 11. 2026 (čeština)",
    "de": "28.11.2026 (Deutsch)",
    "es": "28 nov 2026 (español)",
    "fr": "28 nov. 2026 (français)",
    "it": "28 nov 2026 (italiano)",
    "nl": "28 nov 2026 (Nederlands)",
    "pl": "28 lis 2026 (polski)",
    "pt": "28 de nov. de 2026 (português)",
    "sk": "28. 11. 2026 (slovenčina)",
    "sv": "28 nov. 2026 (svenska)",
}
"""How dates may be written, each with an example."""


@functools.cache
def environment() -> jinja2.Environment:
    """The environment. Templates are read again only by a new process."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters |= {
        "ago": ago,
        "breakable": breakable,
        "coded": coded,
        "date": date,
        "days_left": days_left,
        "mixed_script": mixed_script,
        "moment": moment,
        "number": number,
        "plural": plural,
        "u_label": u_label,
        "upgrade": WORDS.__getitem__,
        "visible": visible_markup,
    }
    env.globals |= {"asset": asset, "display_name": display_name, "STATE_WORDS": STATE_WORDS}
    return env


def render(template: str, **values: Any) -> str:
    """A template with these values. Raises jinja2.UndefinedError for a value that is missing."""
    return environment().get_template(template).render(values)


def asset(path: str) -> str:
    """The address of a file under `static/`, with its content's digest, so that it may be kept for a year."""
    return f"{_TOP.get()}static/{path}?v={_digest(path)}"


@functools.cache
def _digest(path: str) -> str:
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:16]


_TOP: ContextVar[str] = ContextVar("top", default="/")


@contextmanager
def under(top: str) -> Iterator[None]:
    """Until the block ends, `static/` is found below this: "" or "../" where pages are files in a folder that is copied elsewhere."""
    before = _TOP.set(top)
    try:
        yield
    finally:
        _TOP.reset(before)


@dataclass(frozen=True, slots=True)
class Shown:
    """In which zone times are shown, and how dates are written: one of LANGUAGES."""

    zone: tzinfo = UTC
    dates: str = "en"


_USUAL: Final = Shown()
_SHOWN: ContextVar[Shown] = ContextVar("shown", default=_USUAL)


@functools.cache
def time_zones() -> tuple[str, ...]:
    """Every zone there is, UTC first."""
    return ("UTC", *sorted(zone for zone in available_timezones() if zone != "UTC" and zone[:6] not in {"posix/", "right/"}))


@contextmanager
def shown_in(time_zone: str, dates: str) -> Iterator[None]:
    """Show times and dates this way until the block ends; "" for either is as everybody sees it who chose nothing."""
    zone = ZoneInfo(time_zone) if time_zone and time_zone in time_zones() else UTC
    before = _SHOWN.set(Shown(zone, dates if dates in LANGUAGES else "en"))
    try:
        yield
    finally:
        _SHOWN.reset(before)


def date(at: datetime) -> Markup:
    """28 Nov 2026, as a `<time>`, in the zone that times are shown in."""
    local = _local(at)
    return Markup('<time datetime="{}">{}</time>').format(local.date().isoformat(), _day(local))


def moment(at: datetime) -> Markup:
    """28 Nov 2026, 11:02, as a `<time>`, in the zone that times are shown in."""
    local = _local(at)
    return Markup('<time datetime="{}">{}, {}</time>').format(_iso(at.astimezone(UTC)), _day(local), f"{local:%H:%M}")


def ago(at: datetime, now: datetime) -> Markup:
    """38 s ago, 4 min ago, 3 h ago, else the date; the exact time is its title. Never for what must be proven."""
    utc = at.astimezone(UTC)
    seconds = max(0, int((now - utc).total_seconds()))
    if seconds >= _DAY:
        return date(at)
    words = f"{seconds} s ago" if seconds < _MINUTE else f"{seconds // _MINUTE} min ago" if seconds < _HOUR else f"{seconds // _HOUR} h ago"
    local = _local(at)
    exact = f"{local:%H:%M:%S} {local.tzname()}"
    return Markup('<time datetime="{}" title="{}, {}">{}</time>').format(_iso(utc), _day(local), exact, words)


def days_left(at: datetime, now: datetime) -> str:
    """12 days, 5 hours, ended 3 days ago: how long it is until then."""
    seconds = int((at - now).total_seconds())
    size, word = (abs(seconds) // _DAY, "day") if abs(seconds) >= 2 * _DAY else (abs(seconds) // _HOUR, "hour")
    length = plural(size, word)
    return length if seconds >= 0 else f"ended {length} ago"


def number(value: int) -> str:
    """1,912."""
    return f"{value:,}"


def plural(count: int, one: str, many: str = "") -> str:
    """1 name, 1,912 names. The space does not break."""
    return f"{count:,}\u00a0{one if count == 1 else many or one + 's'}"


def visible_markup(text: object) -> Markup:
    """Text from strangers: what cannot be seen is spelled out as U+202E."""
    return _marked(str(text), "")


def breakable(text: object) -> Markup:
    """As `visible`, and it may be broken after each dot, @ and slash."""
    return _marked(str(text), ".@/")


def coded(text: str) -> Markup:
    """Our own words, in which `this` is code."""
    code = Markup("<code>{}</code>")
    return Markup().join(code.format(part) if number % 2 else escape(part) for number, part in enumerate(text.split("`")))


def _marked(text: str, break_after: str) -> Markup:
    whole = Markup()
    for hidden, run in visible(text):
        shown = escape(run)
        for char in break_after:
            shown = shown.replace(char, Markup("{}<wbr>").format(char))
        whole += Markup('<span class="esc">{}</span>').format(run) if hidden else shown
    return whole


def display_name(name: str) -> dict[str, Any]:
    """How a host name is shown: `shown` (as people read it), `ace` ("" when it is the same), `mixed`, and for long ones `head`, `tail`.

    `tail` are the last two labels, which stay when the middle is cut.
    """
    shown = u_label(name)
    labels = shown.split(".")
    tail = "." + ".".join(labels[-2:]) if len(labels) > 2 else ""  # noqa: PLR2004 - the registered domain, nearly always
    long = len(shown) > LONG_NAME and 0 < len(tail) <= LONG_NAME // 2
    return {
        "shown": shown,
        "ace": name if shown != name else "",
        "mixed": mixed_script(name),
        "head": shown.removesuffix(tail) if long else "",
        "tail": tail if long else "",
    }


def _local(at: datetime) -> datetime:
    return at.astimezone(_SHOWN.get().zone)


def _day(local: datetime) -> str:
    dates = _SHOWN.get().dates
    if dates == "en":
        return f"{local.day} {local:%b %Y}"
    if dates == "iso":
        return f"{local:%Y-%m-%d}"
    from babel.dates import format_date

    return format_date(local.date(), "medium", locale=dates)


def _iso(utc: datetime) -> str:
    return utc.isoformat(timespec="seconds").replace("+00:00", "Z")
