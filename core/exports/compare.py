"""Two bundles side by side: whether the second is the first come back whole. Both are held for sound; `check` says whether they are."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, Final

from core.exports.form import MAY_DIFFER, MEMBERS

MOST_TOLD: Final = 20
_SHOWN: Final = 120


def differences(one: Path, other: Path) -> tuple[str, ...]:
    """What differs and should not, in sentences, at most twenty; () where the one is the other come back whole.

    Raises OSError, zipfile.BadZipFile, KeyError and ValueError for what is no bundle.
    """
    found: list[str] = []
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        for member in MEMBERS:
            if MAY_DIFFER.get(member) == ():
                continue
            with first.open(member) as left, second.open(member) as right:
                for sentence in _differ(member, left, right):
                    found.append(sentence)
                    if len(found) == MOST_TOLD:
                        return tuple(found)
    return tuple(found)


def _differ(member: str, left: IO[bytes], right: IO[bytes]) -> Iterator[str]:
    """One sentence for each line that is not the same in both. Memory stays flat: lines are read one by one."""
    ignored = MAY_DIFFER.get(member, ())
    for number, (a, b) in enumerate(zip_longest(left, right), 1):
        if a is None or b is None:
            yield f"{member} ends at line {number - 1:,} in the {'first' if a is None else 'second'} bundle and goes on in the other."
            return
        if a != b and (not ignored or _rest(a, ignored) != _rest(b, ignored)):
            yield f"{member}, line {number:,}: {_shown(a)} became {_shown(b)}."


def _rest(line: bytes, ignored: tuple[str, ...]) -> bytes:
    """The line without what may differ; its spelling counts still."""
    value: dict[str, Any] = json.loads(line)
    return json.dumps({key: each for key, each in value.items() if key not in ignored}, ensure_ascii=False).encode()


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace").rstrip("\n")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
