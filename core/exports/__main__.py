"""python -m core.exports check FILE [--key VKEY], and compare ONE OTHER. Offline, and without KeyChest's database.

Exit codes: 0 genuine and whole, or come back whole; 1 not; 2 it could not be read, or the words are wrong.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from core.exports.check import check
from core.exports.compare import differences

_EXITS: Final = {"genuine": 0, "not": 1, "unreadable": 2}


def main(words: Sequence[str] | None = None) -> int:
    """Run one of the two; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m core.exports", description="Look at exports of accounts, offline.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    checking = verbs.add_parser("check", help="say whether an export is genuine and whole")
    checking.add_argument("file", type=Path)
    checking.add_argument("--key", help="the public key it must be signed by, NAME+ID+KEY, as the installation's log tells it")
    comparing = verbs.add_parser("compare", help="say whether the second is the first come back whole")
    comparing.add_argument("one", type=Path)
    comparing.add_argument("other", type=Path)
    asked = parser.parse_args(words)
    try:
        return _check(asked.file, asked.key) if asked.verb == "check" else _compare(asked.one, asked.other)
    except OSError as error:
        _say(f"It cannot be read: {error.strerror or error}.")
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        _say(f"It is no export: {error}")
    return _EXITS["unreadable"]


def _check(file: Path, key: str | None) -> int:
    found = check(file, key)
    words = {"genuine": "Genuine and whole.", "not": "NOT genuine, or not whole.", "unreadable": "It could not be read."}
    _say(words[found.verdict], *found.sentences)
    return _EXITS[found.verdict]


def _compare(one: Path, other: Path) -> int:
    found = differences(one, other)
    _say(*(found or ("The second is the first come back whole.",)))
    return 1 if found else 0


def _say(*sentences: str) -> None:
    """Whatever a stranger's file says of itself, no terminal is told to do anything by it."""
    for each in sentences:
        print("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in each))  # noqa: T201 - a terminal's answer


if __name__ == "__main__":
    sys.exit(main())
