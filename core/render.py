"""The one Jinja environment over `templates/`: pages, mails and files are rendered here, without Flask.

Everything is escaped, and a value that a template names and nobody gave is an error. What strangers wrote goes through
`visible`, `breakable` or `display_name`, never through `safe`.
"""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

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


@functools.cache
def asset(path: str) -> str:
    """The address of a file under `static/`, with its content's digest, so that it may be kept for a year."""
    digest = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:16]
    return f"/static/{path}?v={digest}"


def date(at: datetime) -> Markup:
    """28 Nov 2026, as a `<time>`, in UTC."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(utc.date().isoformat(), _day(utc))


def moment(at: datetime) -> Markup:
    """28 Nov 2026, 11:02, as a `<time>`, in UTC."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}, {}</time>').format(_iso(utc), _day(utc), f"{utc:%H:%M}")


def ago(at: datetime, now: datetime) -> Markup:
    """38 s ago, 4 min ago, 3 h ago, else the date; the exact time is its title. Never for what must be proven."""
    utc = at.astimezone(UTC)
    seconds = max(0, int((now - utc).total_seconds()))
    if seconds >= _DAY:
        return date(at)
    words = f"{seconds} s ago" if seconds < _MINUTE else f"{seconds // _MINUTE} min ago" if seconds < _HOUR else f"{seconds // _HOUR} h ago"
    return Markup('<time datetime="{}" title="{}, {} UTC">{}</time>').format(_iso(utc), _day(utc), f"{utc:%H:%M:%S}", words)


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


def _day(utc: datetime) -> str:
    return f"{utc.day} {utc:%b %Y}"


def _iso(utc: datetime) -> str:
    return utc.isoformat(timespec="seconds").replace("+00:00", "Z")
