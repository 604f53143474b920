"""Bringing data in: a file is handed in, looked through, chosen from, applied, and undone."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlencode

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.import_plan import OUTCOMES, Choices
from core.actions.imports import drop_import, hand_in, keep_choices, undo_import, want_import
from core.actions.policy import Actor, Permission, Refused, require
from core.render import plural
from core.store.base import IN_BIN_FOR
from core.store.imported import import_by_ref, imports_of
from core.store.imports import Import
from portal.gate import found, gate
from portal.html import page, tell
from portal.limits import by_address
from portal.parts import acting, now, parts, reading
from portal.security import UPLOAD_BYTES

views = Blueprint("imports", __name__, url_prefix="/imports")
_ROWS: Final = 100
_MOST_LEFT: Final = 1_000
_GOING_ON: Final = frozenset({"waiting", "reading", "wanted", "applying"})
_FLAGS: Final = ("names", "cards", "history", "settings", "factor", "theirs", "trusted")
_BLOCK: Final = 1 << 20


@views.get("")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """The page."""
    return _page(actor)


@views.post("")
@gate(Permission.IMPORT)
@by_address
def hand(actor: Actor) -> ResponseReturnValue:
    """Take a file, or what was pasted, to be looked through."""
    given = request.files.get("file")
    pasted = request.form.get("names", "")
    file = given if given is not None and given.filename else None
    if file is None and not pasted.strip():
        return _page(actor, refused=Refused("Choose a file, or paste a list. Nothing was handed in.", "file"))
    stream: IO[bytes] = file.stream if file is not None else BytesIO(pasted.encode())
    try:
        ref = _keep(actor, stream, (file.filename if file is not None else "") or "a pasted list")
    except Refused as refused:
        return _page(actor, refused=refused)
    return redirect(f"/imports/{ref}", 303)


def _keep(actor: Actor, stream: IO[bytes], name: str) -> str:
    """The file lies in the data folder before anything is told of it. Raises Refused."""
    folder = parts().plan.data / "imports"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f"{os.urandom(12).hex()}.new"
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            while block := stream.read(_BLOCK):
                size += len(block)
                digest.update(block)
                file.write(block)
        with acting() as session:
            ref = hand_in(session, actor, name=name, size=size, sha256=digest.hexdigest(), now=now())
            fresh.replace(folder / ref)
    finally:
        fresh.unlink(missing_ok=True)
    return ref


@views.get("/<ref>")
@gate(Permission.READ)
def show_one(actor: Actor, ref: str) -> ResponseReturnValue:
    """What the file would do, or did. The fragment asks for itself again while a worker is at it."""
    return _one(found(import_by_ref(reading(), require(actor, Permission.IMPORT), ref)))


@views.post("/<ref>")
@gate(Permission.IMPORT)
def decide(actor: Actor, ref: str) -> ResponseReturnValue:
    """Apply what was chosen, leave it, or undo it."""
    act = {"apply": _apply, "more": _more, "drop": _drop, "undo": _undo}.get(request.form.get("do", ""))
    try:
        told = found(act)(actor, ref)
    except Refused as refused:
        row = found(import_by_ref(reading(), require(actor, Permission.IMPORT), ref))
        return _one(row, refused=refused)
    if told:
        tell("ok", told)
    onward = f"?{urlencode({'show': request.form.get('show', ''), 'from': request.form.get('from', '')})}" if act is _more else ""
    return redirect("/imports" if act is _drop else f"/imports/{ref}{onward}", 303)


def _chosen(ref: str, actor: Actor) -> Choices:
    """What is ticked now; names that were left out on other pages of the list stay so."""
    row = found(import_by_ref(reading(), require(actor, Permission.IMPORT), ref))
    flags = {flag: flag in request.form for flag in _FLAGS}
    ticked = {each[:400] for each in request.form.getlist("leave")[:_MOST_LEFT]}
    before = Choices.read(row.choices).leave - set(request.form.getlist("shown"))
    return Choices(**flags, leave=frozenset(before | ticked))


def _apply(actor: Actor, ref: str) -> str:
    with acting() as session:
        want_import(session, actor, ref=ref, choices=_chosen(ref, actor), now=now())
    return ""


def _more(actor: Actor, ref: str) -> str:
    with acting() as session:
        keep_choices(session, actor, ref=ref, choices=_chosen(ref, actor))
    return ""


def _drop(actor: Actor, ref: str) -> str:
    with acting() as session:
        drop_import(session, actor, ref=ref, now=now())
    return "The file was left. Nothing of it was taken."


def _undo(actor: Actor, ref: str) -> str:
    with acting() as session:
        done = undo_import(session, actor, ref=ref, now=now())
    names, cards = plural(done.names, "name"), plural(done.cards, "card")
    kept = f" {plural(done.kept, 'name')} were written on since and stay as they are." if done.kept else ""
    return " ".join((f"The import was undone: {names} went into the bin, {cards} are as they were.{kept}", *done.told))


def _items(row: Import, outcome: str, start: int) -> tuple[list[tuple[str, str, str]], bool]:
    """A page of what becomes of each name, and whether there are more."""
    path = parts().plan.data / "imports" / f"{row.ref}.items"
    if not path.exists():
        return [], False
    shown = list(islice((each for each in _read(path) if outcome in {"", each[0]}), start, start + _ROWS + 1))
    return shown[:_ROWS], len(shown) > _ROWS


def _read(path: Path) -> Iterator[tuple[str, str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            outcome, name, why = json.loads(line)
            yield outcome, name, why


def _one(row: Import, *, refused: Refused | None = None) -> ResponseReturnValue:
    outcome = request.args.get("show", "")
    start = min(request.args.get("from", 0, type=int) or 0, 10_000_000)
    outcome = outcome if outcome in OUTCOMES else ""
    items, more = _items(row, outcome, max(0, start)) if row.state not in _GOING_ON else ([], False)
    return page(
        "imports/one.html",
        part="imports/_one.html",
        status=200 if refused is None else 422,
        row=row,
        going_on=row.state in _GOING_ON,
        summary=defaultdict(int, row.summary),
        history=defaultdict(int, row.summary.get("history") or {}),
        told=row.summary.get("told", []),
        people=row.summary.get("people", []),
        outcomes=OUTCOMES,
        outcome=outcome,
        items=items,
        start=start,
        next_start=start + _ROWS if more else None,
        untrusted=row.trust in {"foreign", "unsigned", "broken"},
        may_undo=row.state == "applied" and row.applied_at is not None and now() - row.applied_at <= IN_BIN_FOR,
        until=row.applied_at + IN_BIN_FOR if row.applied_at else None,
        chosen=Choices.read(row.choices),
        errors=_errors(refused),
    )


def _errors(refused: Refused | None) -> dict[str, str]:
    return defaultdict(str, {refused.field: str(refused)} if refused is not None else {})


def _page(actor: Actor, *, refused: Refused | None = None) -> ResponseReturnValue:
    values: dict[str, Any] = {"imports": imports_of(reading(), require(actor, Permission.IMPORT)), "most": UPLOAD_BYTES // 1_000_000}
    typed = request.form.get("names", "") if refused is not None else ""
    return page("imports/show.html", status=200 if refused is None else 422, typed=typed, errors=_errors(refused), **values)
