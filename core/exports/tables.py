"""Cells of tables that people open in spreadsheets: none is taken for a formula, and each is read back as it was.

A spreadsheet calculates what begins with = + - @, a tab or a line's end (OWASP, CSV Injection), full-width forms included. An apostrophe
before it makes it text; one is put before an apostrophe too, so that taking one away is exact.
"""

from __future__ import annotations

from typing import Final

FORMULAS: Final = frozenset("=+-@\t\r\n＝＋－＠'")  # noqa: RUF001 - full-width forms, which spreadsheets read as the plain ones


def cell(text: str) -> str:
    """The text as a cell that is text to every spreadsheet."""
    return f"'{text}" if text[:1] in FORMULAS else text


def uncell(text: str) -> str:
    """What `cell` was given. An apostrophe that nothing of ours is behind stays: other programs put none."""
    return text[1:] if text[:1] == "'" and text[1:2] in FORMULAS and len(text) > 1 else text
