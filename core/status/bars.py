"""Ninety days as bars: x in per cent, y in pixels. Colour and height say the same, and a text says it without either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from markupsafe import Markup

from core.status.told import Day

DAYS: Final = 90
_NAMED: Final = 6
"""So many odd days are named in a bar's text; the table has them all."""
_WORDS: Final = {"late": "late or partly down", "down": "down", "unmeasured": "not measured"}
_WIDTH: Final = 100 / DAYS


@dataclass(frozen=True, slots=True)
class Bars:
    """A component's 90 days: drawn, and as a share of what was measured ("99.981 %", "" where nothing was)."""

    drawn: Markup
    share: str
    unmeasured: int


def bars(days: Sequence[Day], until: date) -> Bars:
    """The 90 days to this one. A day of which nothing is said was not measured."""
    known = {each.day: each for each in days}
    shown = [known.get(day) or Day(day, 0, 0, 0) for day in (until - timedelta(days=DAYS - 1 - place) for place in range(DAYS))]
    drawn = Markup('<svg height="24" role="img" aria-label="{}">{}</svg>').format(
        _text(shown, until), Markup("").join(_bar(place, each) for place, each in enumerate(shown))
    )
    return Bars(drawn, share(shown), sum(state_of(each) == "unmeasured" for each in shown))


def state_of(day: Day) -> str:
    """Calm, late, down or unmeasured: the worst that was seen on it."""
    if day.measured_s <= 0:
        return "unmeasured"
    return "down" if day.down_s > 0 else "late" if day.late_s > 0 else "calm"


def share(days: Sequence[Day]) -> str:
    """How much of the measured time was neither late nor down, cut and never rounded up."""
    measured = sum(max(0, each.measured_s) for each in days)
    if not measured:
        return ""
    wrong = min(measured, sum(max(0, each.late_s) + max(0, each.down_s) for each in days))
    return f"{(measured - wrong) * 100_000 // measured / 1_000:.3f}\u00a0%"


def in_full(day: date) -> str:
    """23 Nov 2026."""
    return f"{day.day} {day:%b %Y}"


def _bar(place: int, day: Day) -> Markup:
    state, x = state_of(day), place * _WIDTH + 0.12
    if state == "calm":
        return Markup('<rect class="f-ok" x="{:.2f}%" y="15" width="{:.2f}%" height="9"/>').format(x, _WIDTH - 0.24)
    if state == "unmeasured":
        return Markup('<rect class="s-unk" x="{:.2f}%" y="15.5" width="{:.2f}%" height="8"/>').format(x, _WIDTH - 0.28)
    kind, y = ("f-bad", 0) if state == "down" else ("f-soon", 6)
    title = f"{in_full(day.day)}: {_WORDS[state]}"
    return Markup('<rect class="{}" x="{:.2f}%" y="{}" width="{:.2f}%" height="{}"><title>{}</title></rect>').format(
        kind, x, y, _WIDTH - 0.24, 24 - y, title
    )


def _text(days: Sequence[Day], until: date) -> str:
    states = [state_of(each) for each in days]
    odd = [f"{in_full(each.day)} {_WORDS[state]}" for each, state in zip(days, states, strict=True) if state in {"late", "down"}]
    if len(odd) > _NAMED:
        odd = [f"{states.count(state)} {_WORDS[state]}" for state in ("down", "late") if state in states]
    unmeasured = [f"{states.count('unmeasured')} not measured"] if "unmeasured" in states else []
    return f"90 days to {in_full(until)}: " + "; ".join([f"{states.count('calm')} calm", *unmeasured, *odd])
