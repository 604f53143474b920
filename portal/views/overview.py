"""The overview: what needs somebody now, what will soon, and whether we looked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from flask import Blueprint
from flask.typing import ResponseReturnValue

from core.actions.policy import Actor, Permission, allows, require
from core.store.cards import orphans
from core.store.listing import counts
from core.store.overview import first_of_each_state, looked, open_incidents
from core.store.watches import NO_END
from portal import charts
from portal.gate import gate
from portal.html import page
from portal.parts import now, reading

views = Blueprint("overview", __name__)
_LINES = 10
_INCIDENTS = 3
_BROKEN_AFTER = timedelta(days=33)
"""A bad name whose certificate ends later than this is bad for another reason: a twelfth of the longest lifetime is less."""
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@views.get("/")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """How the account's names stand, in a sentence first."""
    account_id = require(actor, Permission.READ)
    tally = counts(reading(), account_id)
    may_add = allows(actor.role, Permission.ADD_DOMAINS)
    if not sum(tally.values()):
        return page("overview/empty.html", tab="overview", may_add=may_add)
    lines = first_of_each_state(reading(), account_id, _LINES)
    incidents, newest = open_incidents(reading(), account_id, _INCIDENTS)
    looks = looked(reading(), account_id, now())
    return page(
        "overview/show.html",
        part="overview/_overview.html",
        tab="overview",
        verdict=verdict(tally),
        tally=tally,
        names=sum(tally.values()),
        lines=lines,
        incidents=incidents,
        newest=newest,
        orphans=orphans(reading(), account_id) if allows(actor.role, Permission.EDIT_DOMAINS) else 0,
        looks=looks,
        made_today=looks.made.get(now().date().isoformat(), 0),
        days=charts.days(looks.made, looks.missed, now()),
        no_end=NO_END,
        broken_after=_BROKEN_AFTER,
        may_add=may_add,
    )


def verdict(tally: Mapping[str, int]) -> str:
    """How all names stand, in one line."""
    bad, soon, unk, live, ok = (tally[state] for state in ("bad", "soon", "unk", "live", "ok"))
    said = []
    if bad:
        said.append(f"{_counted(bad)} {'needs' if bad == 1 else 'need'} you now.")
    if soon:
        said.append(f"{_word(soon).capitalize()} more will soon." if bad else f"{_counted(soon)} will need you soon.")
    if unk:
        said.append(f"{_word(unk).capitalize()} could not be reached." if said else f"{_counted(unk)} could not be reached.")
    if said:
        return " ".join(said)
    if live and not ok:
        return "The first scan is running." if live == 1 else "The first scans are running."
    return f"All is well so far. {_counted(live)} {'is' if live == 1 else 'are'} being checked." if live else _all_well(ok)


def _all_well(count: int) -> str:
    return "Your name is well." if count == 1 else f"All {_word(count)} names are well."


def _counted(count: int) -> str:
    return f"{_word(count).capitalize()} {'name' if count == 1 else 'names'}"


def _word(count: int) -> str:
    return _WORDS[count] if count < len(_WORDS) else f"{count:,}"
