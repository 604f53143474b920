"""What a request says of where it comes from, in words that its person knows again. Nothing is decided by it: anybody can say anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flask import request

from core.actions.accounts import Caller
from portal.limits import network

_BROWSERS: Final = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"), ("curl/", "curl"),
)  # fmt: skip
"""In this order: most browsers name some of the others as well."""
_SYSTEMS: Final = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def caller() -> Caller:
    """The browser and the network of the request at hand."""
    return Caller(browser_of(request.headers.get("User-Agent", "")), network())


def browser_of(user_agent: str) -> str:
    """Like "Firefox on Linux"; "" for what is not known."""
    browser, system = _first(user_agent, _BROWSERS), _first(user_agent, _SYSTEMS)
    return f"{browser} on {system}" if browser and system else browser or system


def _first(user_agent: str, known: Sequence[tuple[str, str]]) -> str:
    return next((name for mark, name in known if mark in user_agent), "")
