"""One endpoint: how it stands, what every address serves, what is wrong with it, and what changed."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.cards import Typed, edit_card
from core.actions.domains import add_domains
from core.actions.policy import Actor, Permission, Refused, allows, require
from core.actions.watches import scan_now
from core.net.lists import read_address
from core.net.names import Listed, NameRefused
from core.scanner.certificate import known_certificate
from core.scanner.checks import CHECKS
from core.store.accounts import accounts_allowed
from core.store.cards import written_on
from core.store.imported import brought_of, incidents_brought_of
from core.store.standing import Found, Standing, ders, found_now, history, seen_now, standing
from core.store.teams import team
from core.store.watches import Key
from portal import charts, drawn
from portal.cards import card_values, typed_card
from portal.cursors import place_after, read_place
from portal.gate import found, gate
from portal.html import page, tell
from portal.parts import acting, now, parts, reading

views = Blueprint("endpoints", __name__, url_prefix="/endpoints")
_CHANGES, _BROUGHT = 12, 20
_MACHINE = {
    "added": "{} is watched on its own from now on. Its first scan is on its way.",
    "restored": "The watch of {} came back from the bin, and is scanned again.",
    "here": "{} is watched on its own already. Nothing changed.",
}
_SAVED = "Note, tags and responsible person were saved."
_SAME = "It stood so already. Nothing was changed."
_OUTCOMES = {"asked": "live", "running": "live", "too_soon": "soon"}


@views.get("/<ref>")
@gate(Permission.READ)
def show(actor: Actor, ref: str) -> ResponseReturnValue:
    """The page; its fragment is all of it below the way here, and asks for itself again while a scan is pending."""
    return _page(actor, ref)


@views.post("/<ref>/scan")
@gate(Permission.SCAN_NOW)
def scan(actor: Actor, ref: str) -> ResponseReturnValue:
    """Ask for a scan, and back to the page, which then waits for it."""
    with acting() as session:
        asked = scan_now(session, actor, refs=[ref], now=now())
    answer = found(next(iter(asked), None))
    tell(_OUTCOMES[answer.outcome], answer.message)
    return redirect(f"/endpoints/{ref}", 303)


@views.post("/<ref>/machine")
@gate(Permission.ADD_DOMAINS)
def watch_machine(actor: Actor, ref: str) -> ResponseReturnValue:
    """Watch the same name at one address, whatever the DNS says; what is no address comes back as it was typed."""
    watched = found(standing(reading(), require(actor, Permission.READ), ref))
    typed = request.form.get("address", "").strip()
    try:
        listed = Listed(watched.name, watched.port, watched.starttls, read_address(typed))
    except NameRefused as refused:
        return _page(actor, ref, status=422, typed=typed, error=str(refused))
    with acting() as session:
        private = actor.account_id in accounts_allowed(session, parts().scan_allow_accounts)
        (added,) = add_domains(session, actor, listed=[listed], private_ranges=private, now=now())
    if added.outcome == "refused":
        return _page(actor, ref, status=422, typed=typed, error=added.message)
    tell("info" if added.outcome == "here" else "live", _MACHINE[added.outcome].format(listed.address))
    return redirect(f"/endpoints/{added.ref}", 303)


@views.post("/<ref>/card")
@gate(Permission.EDIT_DOMAINS)
def write(actor: Actor, ref: str) -> ResponseReturnValue:
    """Write on the name's card; what is refused, or was written over meanwhile, comes back as it was typed."""
    typed = typed_card(request.form)
    try:
        with acting() as session:
            changed = found(edit_card(session, actor, ref=ref, typed=typed, now=now()))
    except Refused as refused:
        return _page(actor, ref, status=422, card=typed, refused=refused)
    tell("ok" if changed else "info", _SAVED if changed else _SAME)
    return redirect(f"/endpoints/{ref}#card", 303)


def _page(
    actor: Actor, ref: str, *, status: int = 200, typed: str = "", error: str = "",
    card: Typed | None = None, refused: Refused | None = None,
) -> ResponseReturnValue:  # fmt: skip
    account_id = require(actor, Permission.READ)
    watched = found(standing(reading(), account_id, ref))
    shown = _standing(watched) | _history(watched, request.args.get("before", ""))
    shown |= card_values(written_on(reading(), [watched.domain_id])[watched.domain_id], card, refused)
    key = (watched.name, watched.port, watched.starttls, watched.address)
    shown["people"] = team(reading(), account_id)
    shown |= _brought(account_id, key, request.args.get("elsewhere", ""))
    may = {
        "may_scan": allows(actor.role, Permission.SCAN_NOW),
        "may_remove": allows(actor.role, Permission.REMOVE_DOMAINS),
        "may_add": allows(actor.role, Permission.ADD_DOMAINS) and not watched.address,
    }
    shown |= may | {"typed": typed, "error": error}
    return page("endpoints/show.html", part="endpoints/_standing.html", status=status, tab="domains", watched=watched, **shown)


def _brought(account_id: int, key: Key, before: str) -> dict[str, Any]:
    until, skip = read_place(before)
    lines, count = brought_of(reading(), account_id, key, until=until, skip=skip, most=_BROUGHT + 1)
    shown = lines[:_BROUGHT]
    older = place_after([each.seen_at for each in shown], until, skip) if len(lines) > _BROUGHT else ""
    troubles = () if until else incidents_brought_of(reading(), account_id, key, most=_BROUGHT)
    return {"brought": shown, "brought_in_all": count, "brought_older": older, "is_elsewhere": until is not None, "troubles": troubles}


def _standing(watched: Standing) -> dict[str, Any]:
    session = reading()
    seen, findings = seen_now(session, watched), found_now(session, watched)
    letters, held = drawn.letters(seen), {each.address for each in seen if not each.gone}
    wanted = {digest for each in seen if not each.gone for digest in (*each.chain, *each.path)}
    known = {digest: known_certificate(der) for digest, der in ders(session, sorted(wanted)).items()}
    leading = drawn.first_to_end(letters.values())
    life = charts.life(leading.not_before, leading.not_after, now()) if leading and leading.not_before and leading.not_after else ""
    return {
        "letters": letters,
        "rows": drawn.address_rows(seen, findings),
        "gone": [each for each in seen if each.gone and not (each.key_asked and each.address in held)],
        "unpaired": [each for each in seen if each.gone and each.key_asked and each.address in held],
        "perspectives": sorted({each.perspective for each in seen}),
        "findings": drawn.grouped(findings),
        "tally": _tally(findings),
        "passed": _passed(findings) if any(look.judged_at for look in watched.looks) and letters else None,
        "chains": drawn.chains(seen, known, letters),
        "leading": leading,
        "life": life,
        "marks": drawn.MARKS,
    }


def _tally(findings: tuple[Found, ...]) -> dict[str, int]:
    """How many different findings there are of each status."""
    kinds = {(finding.check, finding.certificate, finding.message): finding.status for finding in findings}
    return {status: sum(1 for each in kinds.values() if each == status) for status in drawn.MARKS}


def _passed(findings: tuple[Found, ...]) -> int:
    """How many rules found nothing."""
    return len({check.ID for check in CHECKS} - {finding.check for finding in findings})


def _history(watched: Standing, before: str) -> dict[str, Any]:
    until, skip = read_place(before)
    changes = history(reading(), watched, until=until, skip=skip, most=_CHANGES + 1)
    shown = changes[:_CHANGES]
    older = place_after([change.at for change in shown], until, skip) if len(changes) > _CHANGES else ""
    return {"changes": drawn.together(shown), "older": older, "is_older": until is not None}
