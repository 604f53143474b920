"""Charts as SVG: x in per cent, y in pixels, so that text never scales. Classes only, and a text alternative that states the result.

Only numbers and dates are put into the markup here, never what strangers wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from markupsafe import Markup

DAY = timedelta(days=1)
RENEW_AT = 2 / 3
"""The share of its life after which a certificate should have been replaced; the first mail goes out then."""
_LONG, _SHORT = 300 * DAY, 3 * DAY
_LABEL_ROOM = 12


def life(not_before: datetime, not_after: datetime, now: datetime) -> Markup:
    """A certificate's life: what is past in grey, the renewal window in amber as far as it is used, the rest pale, and now as a line."""
    whole = not_after - not_before
    if whole <= timedelta(0):
        return Markup("")
    share = max(0.0, min(1.0, (now - not_before) / whole))
    renew_at = not_before + whole * RENEW_AT
    ended = now > not_after
    begin, renew, end = (_tick(at, whole) for at in (not_before, renew_at, not_after))
    ends, today = "ended" if ended else "ends", _now(not_before, not_after, now)
    says = f"Issued {_full(not_before)}, renewal due from {_full(renew_at)}, {ends} {_full(not_after)}. {today}."
    used, late = 100 * min(share, RENEW_AT), 100 * max(0.0, share - RENEW_AT)
    at = 100 * share
    anchor = "end" if at > 100 - _LABEL_ROOM else "mid" if at > _LABEL_ROOM else "start"
    parts = [
        Markup('<svg height="86" role="img" aria-label="{}">').format(says),
        Markup('<text x="0" y="12">Issued</text><text x="66.7%" y="12" class="mid">Renew from</text>'),
        Markup('<text x="100%" y="12" class="end">{}</text>').format(ends.capitalize()),
        Markup('<rect class="f-line" x="0" y="30" width="100%" height="12"/>'),
        Markup('<rect class="f-unk" x="0" y="30" width="{:.1f}%" height="12"/>').format(used),
        Markup('<rect class="{}" x="66.7%" y="30" width="{:.1f}%" height="12"/>').format("f-bad" if ended else "f-soon", late),
        *(Markup('<line class="axis" x1="{0}%" x2="{0}%" y1="18" y2="48"/>').format(x) for x in ("0", "66.7", "100")),
        Markup('<rect class="f-text" x="{:.1f}%" y="24" width="3" height="24"/>').format(min(at, 99)),
        Markup('<text x="0" y="60">{}</text><text x="66.7%" y="60" class="mid">{}</text>').format(begin, renew),
        Markup('<text x="100%" y="60" class="end">{}</text>').format(end),
        Markup('<text class="strong {}" x="{:.1f}%" y="80">{}</text></svg>').format(anchor, at, today),
    ]
    return Markup("").join(parts)


def mini_life(not_before: datetime | None, not_after: datetime | None, now: datetime) -> Markup:
    """How much of a life is used, beside words that say how much is left."""
    if not_before is None or not_after is None or not_after <= not_before:
        return Markup("")
    share = max(0.0, min(1.0, (now - not_before) / (not_after - not_before)))
    kind = "bad" if now > not_after else "soon" if share > RENEW_AT else "unk"
    return Markup(
        '<svg class="mini" height="4" aria-hidden="true"><rect class="f-line" width="100%" height="4" rx="2"/>'
        '<rect class="f-{}" width="{:.0f}%" height="4" rx="2"/></svg>'
    ).format(kind, 100 * share)


def days(made: Mapping[str, int], missed: Mapping[str, int], now: datetime, *, count: int = 30) -> Markup:
    """The last days: low where all was looked at, higher where something was missed, hollow where nothing was scanned.

    Both mappings are by day, as YYYY-MM-DD.
    """
    shown = [(now.astimezone(UTC) - DAY * back).date() for back in reversed(range(count))]
    late = [day for day in shown if missed.get(day.isoformat())]
    hollow = [day for day in shown if not made.get(day.isoformat()) and day not in late]
    width = 100 / count
    calm = count - len(late) - len(hollow)
    says = f"{count} days to {_full(now)}: {calm} without a gap, {len(late)} with missed scans, {len(hollow)} without scans"
    parts = [Markup('<svg height="24" role="img" aria-label="{}">').format(says)]
    for number, day in enumerate(shown):
        x = number * width + width * 0.1
        if day in late:
            words = f"{day.day} {day:%b %Y}: {missed[day.isoformat()]} missed"
            bar = Markup('<rect class="f-soon" x="{:.2f}%" y="6" width="{:.2f}%" height="18"><title>{}</title></rect>')
            parts.append(bar.format(x, width * 0.8, words))
        elif day in hollow:
            parts.append(Markup('<rect class="s-unk" x="{:.2f}%" y="15.5" width="{:.2f}%" height="8"/>').format(x, width * 0.8))
        else:
            parts.append(Markup('<rect class="f-ok" x="{:.2f}%" y="15" width="{:.2f}%" height="9"/>').format(x, width * 0.8))
    return Markup("").join([*parts, Markup("</svg>")])


def _full(at: datetime) -> str:
    utc = at.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y}"


def _tick(at: datetime, whole: timedelta) -> str:
    """As much of a date as tells the three of them apart."""
    utc = at.astimezone(UTC)
    return f"{utc:%b %Y}" if whole > _LONG else f"{utc:%H:%M}" if whole < _SHORT else f"{utc.day} {utc:%b}"


def _now(not_before: datetime, not_after: datetime, now: datetime) -> str:
    """Where today is in this life."""
    if now > not_after:
        gone = (now - not_after) // DAY
        return f"Today, {gone} {'day' if gone == 1 else 'days'} after the end" if gone else "Today, just after the end"
    if now < not_before:
        return "Today, before it begins"
    if not_after - not_before < _SHORT:
        hour = timedelta(hours=1)
        return f"Now, hour {(now - not_before) // hour + 1} of {-((not_before - not_after) // hour)}"
    return f"Today, day {(now - not_before) // DAY + 1} of {-((not_before - not_after) // DAY)}"
