"""/api/v1: what a program may read of an account, as JSON. docs/api.md says how."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from core.scanner.certificate import read_certificate
from core.store.listing import Row, Wanted, is_cursor, listing
from core.store.served import Served, served_now
from core.store.standing import ders
from core.store.tokens import Bearer
from core.store.watches import NO_END
from portal.bearer import bearer, refused
from portal.cursors import cursor, read_cursor
from portal.parts import reading

views = Blueprint("api", __name__, url_prefix="/api/v1")
_PAGE: Final = 50
_MOST: Final = 200
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_BAD_LIMIT: Final = f"`limit` is a number from 1 to {_MOST}. Leave it out for {_PAGE}."
_BAD_CURSOR: Final = "`after` is none of our cursors. Take it from `next` of the page before, or leave it out for the first page."


@views.get("/me")
@bearer()
def me(holder: Bearer) -> ResponseReturnValue:
    """Who the token speaks for, and what it may."""
    return jsonify(
        account={"ref": holder.account_ref, "name": holder.account_name},
        person={"ref": holder.user_ref, "email": holder.email, "role": holder.role},
        token={"name": holder.token_name, "scopes": list(holder.scopes), "expires_at": _iso(holder.expires_at)},
    )


@views.get("/domains")
@bearer("read:domains")
def domains(holder: Bearer) -> ResponseReturnValue:
    """The account's live watches, by name."""
    size, after = _limit(), request.args.get("after", "")
    if size is None:
        return refused(400, _BAD_LIMIT)
    if "after" in request.args and not is_cursor(reading(), holder.account_id, "name", after):
        return refused(400, _BAD_CURSOR)
    found = listing(reading(), holder.account_id, Wanted(sort="name", after=after), size)
    return _answer([_domain(row) for row in found.rows], found.next)


@views.get("/certificates")
@bearer("read:certificates")
def certificates(holder: Bearer) -> ResponseReturnValue:
    """What the account's live watches serve now, those that end first at the top."""
    size, after = _limit(), read_cursor(request.args.get("after", ""))
    if size is None:
        return refused(400, _BAD_LIMIT)
    if "after" in request.args and (after is None or not _DIGEST.fullmatch(after[1])):
        return refused(400, _BAD_CURSOR)
    rows = served_now(reading(), holder.account_id, after=after, most=size + 1)
    shown = rows[:size]
    stored = ders(reading(), [row.sha256 for row in shown])
    more = cursor(shown[-1].not_after or NO_END, shown[-1].sha256) if len(rows) > size else ""
    return _answer([_certificate(row, stored.get(row.sha256)) for row in shown], more)


def _limit() -> int | None:
    """How many are asked for; None for what is no such number."""
    text = request.args.get("limit", str(_PAGE))
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(_MOST)) else 0
    return number if 1 <= number <= _MOST else None


def _answer(items: list[dict[str, Any]], following: str) -> ResponseReturnValue:
    return jsonify({"items": items, "next": following or None})


def _domain(row: Row) -> dict[str, Any]:
    return {"ref": row.ref, "name": row.name, "port": row.port, "state": row.state, "ends_at": _iso(row.ends_at)}


def _certificate(row: Served, der: bytes | None) -> dict[str, Any]:
    return {
        "sha256": row.sha256,
        "subject": row.subject,
        "issuer": row.issuer,
        "not_before": _iso(row.not_before),
        "not_after": _iso(row.not_after),
        "names": list(dict.fromkeys(read_certificate(der).sans)) if der is not None else [],
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")
