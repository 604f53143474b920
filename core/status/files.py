"""Every file of the published folder but the log's, made of one value: the same value gives the same bytes, here and on another host."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from core.render import STATIC
from core.status.api import api
from core.status.badges import badges
from core.status.codec import encode, require_sound
from core.status.feeds import feeds
from core.status.pages import pages
from core.status.told import Told

ITSELF: Final = "api/v2/keychest.json"
_LOOKS: Final = ("css/tokens.css", "css/base.css", "css/ui.css", "css/pages.css", "img/icon.svg", "img/icons.svg")
"""What the pages need to look as they should. They need no script, and no font but the reader's own."""
_PATH: Final = re.compile(r"(?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+\.[a-z]+")


def files_of(told: Told) -> dict[str, bytes]:
    """The folder's files by their path in it. Raises ValueError, with a sentence, where what is told names a file that cannot be."""
    require_sound(told)
    found = pages(told) | feeds(told) | api(told) | badges(told) | {ITSELF: encode(told)} | looks()
    if odd := [path for path in found if not _PATH.fullmatch(path)]:
        raise ValueError(f"{odd[0]!r} is no name of a file.")
    return found


@cache
def looks() -> dict[str, bytes]:
    """Style and pictures, under the addresses that the pages name."""
    return {f"static/{path}": (STATIC / path).read_bytes() for path in _LOOKS}
