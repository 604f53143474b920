"""An inclusion proof as a picture: the way from an entry up to the root, and the hash beside each step. SVG as in portal/charts.py.

Only numbers, and hashes in hex, are put into the markup here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from audit.published import Bounds, Step

ROW: Final = 56
_TOP, _BOTTOM, _LABEL = 18, 36, 4
_MIDDLE, _LEFT, _RIGHT = 50, 18, 82


def proof_path(index: int, leaf: bytes, steps: Sequence[Step], *, holds: bool) -> Markup:
    """The root on top, the entry at the bottom, between them a row for each hash of the proof, on the side on which it stands."""
    last = _TOP + ROW * len(steps)
    ends = "which is the root of the checkpoint" if holds else "which is NOT the root of the checkpoint"
    says = (
        f"From entry {index:,} upwards, {len(steps)} hashes stand beside the path. Together they make {_short(_top(leaf, steps))}, {ends}."
    )
    parts = [Markup('<svg height="{}" role="img" aria-label="{}">').format(last + _BOTTOM, says)]
    for row, step in enumerate(reversed(steps)):
        parts += _row(_TOP + ROW * row, step, "Root" if row == 0 else bounds(step.made_of))
    if steps:
        parts.append(_node(_MIDDLE, last, "f-acc", 6))
    parts.append(_node(_MIDDLE, _TOP, "f-ok" if holds else "f-bad", 7))
    parts.append(Markup('<text class="strong mid" x="50%" y="{}">Entry {}</text>').format(last + 26, f"{index:,}"))
    return Markup("").join([*parts, Markup("</svg>")])


def bounds(of: Bounds) -> str:
    """Entry 7, entries 0 to 255."""
    first, end = of
    return f"{first:,}" if end - first == 1 else f"{first:,} to {end - 1:,}"


def _row(y: int, step: Step, words: str) -> list[Markup]:
    """From a node at `y` down to both that it is made of: ours straight below, the other to its side. Its words stand on the free side."""
    x, below = _LEFT if step.left else _RIGHT, y + ROW
    return [
        Markup('<line class="axis" x1="50%" y1="{}" x2="{}%" y2="{}"/>').format(y, x, below),
        Markup('<line class="way" x1="50%" y1="{}" x2="50%" y2="{}"/>').format(y, below),
        _node(x, below, "f-unk", 5),
        Markup('<text class="mid" x="{}%" y="{}">{}</text>').format(x, below + 17, bounds(step.beside_of)),
        Markup('<text class="mid digits" x="{}%" y="{}">{}</text>').format(x, below + 30, _short(step.beside)),
        _node(_MIDDLE, y, "f-acc", 5),
        _label(_MIDDLE, y, words, _short(step.made), right=step.left),
    ]


def _label(x: int, y: int, words: str, digits: str, *, right: bool) -> Markup:
    """Beside a node of the path; on a phone beside the root alone: there is no room, and all of it is in the table."""
    side, at = ("", x + _LABEL) if right else (" end", x - _LABEL)
    room = "" if y == _TOP else " m3"
    return Markup('<text class="strong{}" x="{}%" y="{}">{}</text><text class="digits{}" x="{}%" y="{}">{}</text>').format(
        side + room, at, y - 1, words, side + room, at, y + 12, digits
    )


def _node(x: int, y: int, fill: str, radius: int) -> Markup:
    return Markup('<circle class="{}" cx="{}%" cy="{}" r="{}"/>').format(fill, x, y, radius)


def _short(digest: bytes) -> str:
    digits = digest.hex().upper()
    return f"{digits[:4]} {digits[4:8]}…"


def _top(leaf: bytes, steps: Sequence[Step]) -> bytes:
    return steps[-1].made if steps else leaf
