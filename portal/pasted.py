"""What became of a pasted list, line by line: what was taken on, and what needs a correction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.actions.domains import Added
from core.net.lists import Line
from core.net.names import Listed
from core.render import plural

MOST_BAD: Final = 200
MOST_GOOD: Final = 100
_WORDS: Final = {"added": ("ok", "Added"), "restored": ("ok", "Restored"), "here": ("unk", "Was here")}
_SENTENCES: Final = {
    "added": "Its first scan is on its way.",
    "restored": "It came back from the bin with its history, and is scanned again.",
    "here": "It is in your list already. Nothing changed.",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the results. `text` is set for a line that is no name, `name` and `port` for one that is."""

    state: str
    word: str
    sentence: str
    name: str = ""
    port: int = 443
    how: str = ""
    text: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """`summary` says it all in one sentence; `items` hold the bad lines first; `unlisted` are lines that are not shown one by one.

    `bad_text` is the list reduced to what needs a correction, as it was typed.
    """

    summary: str
    items: tuple[Item, ...]
    unlisted: int
    bad_text: str

    @property
    def all_taken(self) -> bool:
        """Whether there is nothing to correct."""
        return not self.bad_text


def wanted(lines: Sequence[Line]) -> tuple[Listed, ...]:
    """The names of a list, each once, in their order."""
    return tuple(line.listed for line in lines if line.listed is not None and line.first_seen_at_line is None)


def results(lines: Sequence[Line], added: Sequence[Added]) -> Results:
    """What to tell of a list and of what `add_domains` made of it."""
    became = {item.listed: item for item in added}
    times = Counter(line.listed for line in lines if line.listed is not None)
    bad: list[Item] = []
    good: list[Item] = []
    bad_lines: list[str] = []
    for line in lines:
        if line.listed is None:
            bad.append(Item("bad", f"Was line {line.number}", line.refusal or "", text=line.text))
            bad_lines.append(line.text)
        elif line.first_seen_at_line is None:
            item = became[line.listed]
            if item.outcome == "refused":
                bad.append(Item("bad", f"Was line {line.number}", item.message, line.listed.name, line.listed.port, line.listed.how))
                bad_lines.append(line.text)
            else:
                good.append(_good(item, times[line.listed]))
    counts = Counter(item.outcome for item in added)
    twice = sum(1 for count in times.values() if count > 1)
    listed = bad[:MOST_BAD] + good[:MOST_GOOD]
    return Results(_summary(counts, twice, len(bad)), tuple(listed), len(bad) + len(good) - len(listed), "\n".join(bad_lines))


def _good(item: Added, times: int) -> Item:
    state, word = _WORDS[item.outcome]
    sentence = _SENTENCES[item.outcome]
    if times > 1:
        sentence += f" It was given {times:,} times, and is watched once."
    return Item(state, word, sentence, item.listed.name, item.listed.port, item.listed.how, ref=item.ref)


def _summary(counts: Counter[str], twice: int, bad: int) -> str:
    parts = [
        (counts["added"], f"{counts['added']:,} added"),
        (counts["restored"], f"{counts['restored']:,} restored from the bin"),
        (counts["here"], f"{plural(counts['here'], 'was', 'were')} here already"),
        (twice, f"{twice:,} given more than once"),
        (bad, f"{plural(bad, 'line needs', 'lines need')} a correction"),
    ]
    return f"{', '.join(text for count, text in parts if count)}."
