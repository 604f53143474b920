"""The list of watched names: add, search, sort, watch them turn, check now, edit, stop watching."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.cards import AT_ONCE, Bulk, edit_domains
from core.actions.domains import add_domains, restore_watches
from core.actions.policy import Actor, Permission, Refused, require
from core.actions.removals import ProofNeeded, remove_names
from core.actions.watches import scan_now
from core.net.lists import ListRefused, read_list
from core.net.upgrades import PROTOCOLS
from core.render import plural
from core.store.accounts import accounts_allowed
from core.store.cards import MOST_WORD, tags_counted, written_on
from core.store.listing import MOST_TEXT, PAGE, Wanted, all_matching, counts, listing, means_beginning, rows_by_ref
from core.store.teams import team
from portal import cards, proof
from portal.gate import gate
from portal.html import fragment, page, tell
from portal.htmx import into_main
from portal.limits import by_proof
from portal.parts import acting, now, parts, reading
from portal.pasted import Results, results, wanted

views = Blueprint("domains", __name__)
_QUICK_ASKS = 30
MOST_WHO = 16
"""As long as a person's reference."""
_NO_BULK = Bulk()
_NONE = "Nothing was selected, so nothing was changed. Tick the names first."
_EMPTY = "There is no name in this list. Paste at least one, for example www.example.org."


@views.get("/domains")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """The list, or for htmx the part of it that changes with filters and pages."""
    return page("domains/page.html", part="domains/_list.html", **_page_values(actor, _wanted(request.args)))


@views.get("/domains/rows")
@gate(Permission.READ)
def show_rows(actor: Actor) -> ResponseReturnValue:
    """The rows that were being checked, as they are now; settled ones are not asked for again, so asking ends by itself."""
    account_id = require(actor, Permission.READ)
    asked = request.args.get("n", 0, int)
    rows = rows_by_ref(reading(), account_id, request.args.getlist("ref")[:PAGE])
    by_state = counts(reading(), account_id)
    return fragment(
        "domains/_rows.html",
        rows=rows,
        cards=written_on(reading(), [row.domain_id for row in rows]),
        ticked=frozenset(),
        place=place,
        counts=by_state,
        total=sum(by_state.values()),
        wanted=_wanted(request.args),
        address=address,
        asked=max(0, asked) + 1,
        patience=2 if asked < _QUICK_ASKS else 10,
    )


@views.post("/domains")
@gate(Permission.ADD_DOMAINS)
def add(actor: Actor) -> ResponseReturnValue:
    """Take on a pasted list. Answered with its results at once: sending it again changes nothing."""
    text = request.form.get("names", "")
    try:
        lines = read_list(text)
    except ListRefused as refused:
        return _answer(actor, typed=text, error=str(refused))
    if not lines:
        return _answer(actor, typed=text, error=_EMPTY)
    with acting() as session:
        private = actor.account_id in accounts_allowed(session, parts().scan_allow_accounts)
        added = add_domains(session, actor, listed=wanted(lines), private_ranges=private, now=now())
    told = results(lines, added)
    return _answer(actor, typed=told.bad_text, told=told)


@views.post("/domains/remove")
@by_proof
@gate(Permission.REMOVE_DOMAINS)
def remove(actor: Actor) -> ResponseReturnValue:
    """Put the selected names into the bin, and offer to take it back."""
    refs = request.form.getlist("ref")[:PAGE]
    checked = proof.typed("proof") if "proof" in request.form else None
    try:
        with acting() as session:
            done = remove_names(session, actor, refs=refs, checked=checked, now=now())
    except Refused as refused:
        return _ask_proof(refs, "" if isinstance(refused, ProofNeeded) else str(refused))
    if done.waiting:
        tell("info", f"{plural(done.waiting, 'name')} wait for somebody else's yes: an owner or manager was asked by mail.")
        return redirect("/approvals", 303)
    removed = done.removed
    if removed:
        fields = (*(("ref", ref) for ref in refs), *place(_wanted(request.form)))
        tell("ok", f"{plural(removed, 'name')} moved to the bin, kept there for 30 days.", undo="/domains/restore", fields=fields)
    else:
        tell("info", _NONE)
    return _back()


def _ask_proof(refs: Sequence[str], error: str) -> ResponseReturnValue:
    """The same removal again, with a field for the password."""
    fields = [*(("ref", ref) for ref in refs), *place(_wanted(request.form))]
    return into_main(page("domains/prove.html", status=422 if error else 200, tab="domains", fields=fields, count=len(refs), error=error))


@views.post("/domains/restore")
@gate(Permission.RESTORE_DOMAINS)
def restore(actor: Actor) -> ResponseReturnValue:
    """Take back a removal."""
    with acting() as session:
        restored = restore_watches(session, actor, refs=request.form.getlist("ref")[:PAGE], now=now())
    tell("ok" if restored else "info", f"{plural(restored, 'name')} brought back, and scanned again.")
    return _back()


@views.post("/domains/check")
@gate(Permission.SCAN_NOW)
def check(actor: Actor) -> ResponseReturnValue:
    """Ask for a scan of the selected names now."""
    refs = request.form.getlist("ref")[:PAGE]
    with acting() as session:
        asked = scan_now(session, actor, refs=refs, now=now())
    outcomes = Counter(one.outcome for one in asked)
    sentences = [
        (outcomes["asked"], f"A scan of {plural(outcomes['asked'], 'name')} was asked for."),
        (outcomes["running"], f"{plural(outcomes['running'], 'is', 'are')} being checked already."),
        (outcomes["too_soon"], f"{plural(outcomes['too_soon'], 'was', 'were')} scanned a moment ago."),
    ]
    tell("info", " ".join(text for count, text in sentences if count) or _NONE)
    return _back()


@views.post("/domains/edit")
@gate(Permission.EDIT_DOMAINS)
def edit(actor: Actor) -> ResponseReturnValue:
    """Change tags and responsible person of the selected names, or of all that match; or of none, and what was refused stays typed."""
    refs, asked = request.form.getlist("ref"), cards.bulk(request.form)
    matching, every = replace(_wanted(request.form), reader_id=actor.user_id), "every" in request.form
    try:
        with acting() as session:
            meant = all_matching(session, require(actor, Permission.READ), matching, AT_ONCE + 1) if every else refs
            edited = edit_domains(session, actor, refs=meant, bulk=asked, now=now())
    except Refused as refused:
        values = _page_values(actor, matching, ticked=frozenset(refs), bulk=asked, every=every, refused=str(refused))
        return page("domains/page.html", part="domains/_list.html", status=422, **values)
    tell("ok" if edited.changed else "info", cards.said(edited, asked))
    return _back()


def place(wanted: Wanted) -> tuple[tuple[str, str], ...]:
    """Where somebody is in the list, as the fields that forms carry along."""
    given = {"q": wanted.text, "state": wanted.state, "sort": wanted.sort, "tag": wanted.tag, "who": wanted.who}
    return tuple((name, value) for name, value in (given | {"after": wanted.after, "before": wanted.before}).items() if value)


def address(wanted: Wanted, **changed: str) -> str:
    """The address of the list with these wishes; what is not changed is kept, but for the place in the list."""
    sort = wanted.sort if wanted.sort != "worst" else ""
    given = {"q": wanted.text, "state": wanted.state, "sort": sort, "tag": wanted.tag, "who": wanted.who} | changed
    query = urlencode({name: value for name, value in given.items() if value})
    return f"/domains?{query}" if query else "/domains"


def _wanted(asked: Mapping[str, str]) -> Wanted:
    return Wanted(
        text=asked.get("q", "").strip()[:MOST_TEXT],
        state=asked.get("state", ""),
        sort=asked.get("sort", "worst"),
        after=asked.get("after", ""),
        before=asked.get("before", ""),
        tag=asked.get("tag", "")[:MOST_WORD],
        who=asked.get("who", "")[:MOST_WHO],
    )


def _back() -> ResponseReturnValue:
    """To the list as it was: htmx follows and gets the fragment of the same address."""
    asked = _wanted(request.form)
    return redirect(address(asked, after=asked.after, before=asked.before), 303)


def _page_values(
    actor: Actor, asked: Wanted, *, typed: str = "", error: str = "", told: Results | None = None,
    ticked: frozenset[str] = frozenset(), bulk: Bulk = _NO_BULK, every: bool = False, refused: str = "",
) -> dict[str, Any]:  # fmt: skip
    account_id = require(actor, Permission.READ)
    by_state = counts(reading(), account_id)
    listed = listing(reading(), account_id, replace(asked, reader_id=actor.user_id))
    return {
        "tab": "domains",
        "wanted": asked,
        "short": means_beginning(asked.text),
        "listing": listed,
        "cards": written_on(reading(), [row.domain_id for row in listed.rows]),
        "tags": tags_counted(reading(), account_id),
        "people": team(reading(), account_id),
        "ticked": ticked,
        "bulk": bulk,
        "every": every,
        "refused": refused,
        "place": place,
        "counts": by_state,
        "total": sum(by_state.values()),
        "address": address,
        "typed": typed,
        "error": error,
        "told": told,
        "asked": 0,
        "patience": 2,
        "protocols": PROTOCOLS,
    }


def _answer(actor: Actor, *, typed: str, error: str = "", told: Results | None = None) -> ResponseReturnValue:
    status = 200 if told is not None and told.all_taken else 422
    values = _page_values(actor, Wanted(), typed=typed, error=error, told=told)
    return page("domains/page.html", part="domains/_domains.html", status=status, **values)
