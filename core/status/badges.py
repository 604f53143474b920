"""Badges: small pictures for other people's pages. They carry their own ground, so that they are legible on light and on dark."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from core.status.pages import BADGE_WORDS
from core.status.told import Told
from core.status.verdict import name_of, verdict

_COLOURS: Final = {"ok": "#1a7346", "soon": "#8a5300", "bad": "#b3261e", "unk": "#5b6270", "info": "#1f5f9e"}
"""White words on each of them have a contrast of 5 or more."""
_STATES: Final = {"ok": "ok", "late": "soon", "down": "bad", "unmeasured": "unk"}
_SIDE: Final = 8
_NARROW, _WIDE = frozenset(" ijlt.,:If'()"), frozenset("mwMWAN@")
_PICTURE: Final = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{says}"><title>{says}</title>'
    '<rect width="{width}" height="20" rx="4" fill="#3d4450"/>'
    '<path fill="{colour}" d="M{at} 0h{right}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4H{at}z"/>'
    '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
    '<text x="{pad}" y="14" textLength="{name_wide}">{name}</text>'
    '<text x="{word_at}" y="14" textLength="{word_wide}">{word}</text></g></svg>\n'
)


def badges(told: Told) -> dict[str, bytes]:
    """`badge/status.svg` and one of each component."""
    whole = verdict(told)
    found = {"badge/status.svg": badge("KeyChest", whole.badge, whole.state)}
    for each in told.components:
        known = told.unreachable_since is None
        word, state = (BADGE_WORDS[each.state], _STATES[each.state]) if known else ("not reached", "unk")
        found[f"badge/{each.key}.svg"] = badge(name_of(each.key), word, state)
    return found


def badge(name: str, word: str, state: str) -> bytes:
    """A name and how it is."""
    name_wide, word_wide = _width(name), _width(word)
    at = name_wide + 2 * _SIDE
    return _PICTURE.format(
        width=at + word_wide + 2 * _SIDE,
        at=at,
        right=word_wide + 2 * _SIDE - 4,
        colour=_COLOURS[state],
        pad=_SIDE,
        word_at=at + _SIDE,
        name_wide=name_wide,
        word_wide=word_wide,
        name=name,
        word=word,
        says=f"{name}: {word}",
    ).encode()


def _width(text: str) -> int:
    """About how many pixels it is wide; the picture then sets it to exactly that."""
    return sum(4 if char in _NARROW else 10 if char in _WIDE else 7 for char in text)
