"""Tags and notes as people type them: read, or refused in words that never repeat what was typed."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from core.actions.policy import Refused
from core.net.text import invisible, named
from core.store.cards import MOST_WORD

MOST_TAGS: Final = 12
"""So many tags one name may bear."""
MOST_WORDS: Final = 500
"""So many different tags an account may use: a list to choose from stays one."""
MOST_NOTE: Final = 2_000
_BETWEEN: Final = re.compile(r"[,;\n\r]")
_BESIDE: Final = frozenset("-_.:/ ")
_MOST_MARKS: Final = 2
"""So many marks may stand on one letter: scripts need no more, and towers of them run over the lines beside."""


def read_tags(text: str, *, field: str = "tags") -> tuple[str, ...]:
    """Tags out of a line with commas between them: lower case, in Unicode's form C, each once. Raises Refused."""
    words = [word for each in _BETWEEN.split(text) if (word := _plain(each))]
    for number, word in enumerate(words, 1):
        _require_word(word, f"Tag {number}" if len(words) > 1 else "The tag", field)
    return tuple(dict.fromkeys(words))


def _plain(text: str) -> str:
    """Lower case first: of some letters it is two, which form C puts together again."""
    return " ".join(part for part in unicodedata.normalize("NFC", text.lower()).split(" ") if part)


def _require_word(word: str, which: str, field: str) -> None:
    if len(word) > MOST_WORD:
        raise Refused(f"{which} has {len(word):,} characters, and {MOST_WORD} fit. Nothing was changed; shorten it.", field)
    marks = 0
    for char in word:
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in {"Mn", "Mc"} else 0
        fits = kind.startswith("L") or kind == "Nd" or char in _BESIDE or 0 < marks <= _MOST_MARKS
        if invisible(char) or not fits:
            raise Refused(
                f"{which} holds {named(char)}. Tags are made of letters, digits, spaces and - _ . : / such as shop or team:web, with "
                "commas between them. Nothing was changed.",
                field,
            )
    if not any(unicodedata.category(char)[0] in "LN" for char in word):
        raise Refused(f"{which} has neither a letter nor a digit. Nothing was changed; write one, such as shop.", field)


def read_note(text: str) -> str:
    """The note as it is kept: its lines as they are, no empty space around them. Raises Refused."""
    note = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(note) > MOST_NOTE:
        raise Refused(f"The note has {len(note):,} characters, and {MOST_NOTE:,} fit. Nothing was changed; shorten it.", "note")
    if odd := next((char for char in note if char == "\0" or unicodedata.category(char) == "Cs"), ""):
        raise Refused(f"The note holds {named(odd)}, which no database keeps. Nothing was changed; take it out.", "note")
    return note
