"""Text from strangers made safe to look at: what cannot be seen is spelled out, what is written in mixed scripts is told."""

from __future__ import annotations

import functools
import itertools
import unicodedata
from typing import Final

import idna

_UNSEEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that draw nothing: grapheme joiner, Hangul fillers, Khmer inherent vowels, braille blank.
_UNSEEN: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# What is written together as a matter of course (UTS 39 section 5.2, "highly restrictive").
_TOGETHER: Final = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)


def invisible(char: str) -> bool:
    """Whether a character draws nothing, or changes how its neighbours are drawn: controls, bidi marks, fillers, selectors."""
    if char == " ":
        return False
    category = unicodedata.category(char)
    selector = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
    return category in _UNSEEN_CATEGORIES or category == "Zs" or char in _UNSEEN or selector


def named(char: str) -> str:
    """A character spelled out, like U+202E (RIGHT-TO-LEFT OVERRIDE)."""
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X} ({name})" if name else f"U+{ord(char):04X}"


def visible(text: str) -> list[tuple[bool, str]]:
    """The text in runs: (False, what can be shown as it is) and, for each invisible character, (True, "U+202E")."""
    runs: list[tuple[bool, str]] = []
    for hidden, group in itertools.groupby(text, invisible):
        if hidden:
            runs.extend((True, f"U+{ord(char):04X}") for char in group)
        else:
            runs.append((False, "".join(group)))
    return runs


def one_line(text: str) -> str:
    """Text that people typed as the name of something: in one line, without what is not drawn, in Unicode's form C."""
    return unicodedata.normalize("NFC", " ".join("".join(each if each.isprintable() else " " for each in text).split()))


def u_label(name: str) -> str:
    """A name as people read it. A label that does not decode by the rules of IDNA 2008 stays an A-label."""
    return ".".join(_u_label(label) for label in name.split("."))


@functools.lru_cache(maxsize=4_096)  # a page shows a label many times, and decoding by the rules is dear
def _u_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        decoded = idna.ulabel(label)
    except (idna.IDNAError, UnicodeError):
        return label
    return label if any(map(invisible, decoded)) else decoded


def mixed_script(name: str) -> bool:
    """Whether one label of this name mixes scripts that are not written together, as Latin and Cyrillic."""
    return any(_mixed(label) for label in u_label(name).split("."))


def _mixed(label: str) -> bool:
    scripts = {_script(char) for char in label if unicodedata.category(char).startswith("L")}
    return len(scripts) > 1 and not any(scripts <= group for group in _TOGETHER)


def _script(char: str) -> str:
    """The first word of a letter's name, which is its script's for every script that a host name can be written in."""
    return unicodedata.name(char, "UNNAMED").partition(" ")[0].partition("-")[0]
