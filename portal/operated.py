"""Lists of what those who run the installation look at: newest first, sought by a text, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from flask import request
from flask.typing import ResponseReturnValue

from core.actions.policy import Actor, Permission, require_installation
from core.store.operated import AccountRow
from core.store.operated_users import UserRow
from portal.cursors import cursor, read_cursor
from portal.html import page
from portal.parts import reading

_ROWS: Final = 50


def list_page(actor: Actor, at: str, rows_of: Callable[..., Sequence[AccountRow | UserRow]]) -> ResponseReturnValue:
    """The page `operations/<at>.html` with the rows that were sought. `rows_of`: a question to the store, as `users_page`."""
    require_installation(actor, Permission.SEE_OPERATIONS)
    sought, after = request.args.get("q", "").strip()[:253], read_cursor(request.args.get("after", ""))
    rows = rows_of(reading(), text=sought, after=after, most=_ROWS + 1)
    shown = rows[:_ROWS]
    more = cursor(shown[-1].created_at, shown[-1].ref) if len(rows) > _ROWS else ""
    return page(f"operations/{at}.html", tab="operations", at=at, rows=shown, more=more, sought=sought, first=after is None)
