"""Bringing a file into an account: handed in, looked through, chosen from, applied in one transaction, and undone within 30 days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.domains import add_domains, remove_watches
from core.actions.import_cards import CARDS, say_again, take_back, write_cards
from core.actions.import_history import Brought, Whose, bring
from core.actions.import_plan import Choices, Plan, domains_by_name, plan
from core.actions.own_account import set_factor_rule
from core.actions.policy import Actor, Permission, Refused, allows, require
from core.exports.content import Content
from core.net.text import one_line
from core.store.account_rules import factor_required
from core.store.accounts import Account
from core.store.base import IN_BIN_FOR, new_ref
from core.store.db import CHUNK, rowcount
from core.store.endpoints import Domain
from core.store.factors import has_factor
from core.store.imported import changes_of, import_by_ref
from core.store.imports import (
    Import,
    ImportChange,
    ImportedCertificate,
    ImportedChain,
    ImportedIncident,
    ImportedObservation,
    ImportedPerson,
)  # fmt: skip

OPEN_AT_MOST: Final = 10
"""So many files of an account lie here unapplied at once."""
KEPT_FOR: Final = timedelta(days=7)
"""So long a file that was handed in waits to be applied."""
_ADDED, _NAME, _FACTOR = "added", "name", "factor"
_HISTORY: Final = (ImportedObservation, ImportedIncident, ImportedCertificate, ImportedChain, ImportedPerson)
_GONE: Final = "This import is not there any more, or was applied already. Nothing was changed."


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen. `history` is None where the file has none, or it is not taken."""

    plan: Plan
    history: Brought | None
    told: tuple[str, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, as they are kept."""
        return self.plan.counts | {"history": self.history.counts if self.history else {}, "told": list(self.told)}


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back: names that went into the bin, cards that are as they were, lines of history.

    `kept`: cards that stay; `told`: what else stays, and why.
    """

    names: int
    cards: int
    kept: int
    lines: int
    told: tuple[str, ...] = ()


def hand_in(session: Session, actor: Actor, *, name: str, size: int, sha256: str, now: datetime) -> str:
    """The reference under which the file is looked through. Raises Refused where too many wait."""
    account_id = require(actor, Permission.IMPORT)
    session.scalar(sa.select(Account.id).where(Account.id == account_id).with_for_update())
    unfinished = (Import.account_id == account_id, Import.state.in_(("waiting", "reading", "previewed", "wanted", "applying")))
    if (session.scalar(sa.select(sa.func.count()).where(*unfinished)) or 0) >= OPEN_AT_MOST:
        raise Refused(f"{OPEN_AT_MOST} files wait here already. Apply or drop one of them first. Nothing was kept of this one.", "file")
    row = Import(
        ref=new_ref(), account_id=account_id, handed_in_by=actor.user_id, handed_in_at=now, name=one_line(name)[:160] or "file",
        bytes=size, sha256=sha256, summary={}, choices=Choices().kept,
    )  # fmt: skip
    session.add(row)
    session.flush()
    append(session, Event("import.handed_in.v1", now, actor.name, actor.account_ref, {"bytes": size}, {"name": row.name, "sha256": sha256}))
    return row.ref


def look_through(session: Session, actor: Actor, content: Content, choices: Choices, *, now: datetime) -> Preview:
    """What the file would do to the account. Nothing is changed. Raises BundleRefused where its history is none."""
    account_id = require(actor, Permission.IMPORT)
    made = plan(session, account_id, content, choices, now)
    keys = frozenset(each.key for each in made.taken)
    history = bring(session, content.bundle, Whose(account_id, keys)) if content.bundle is not None and choices.history else None
    return Preview(made, history, (*content.told, *(history.told if history else ())))


def require_trusted(content: Content, choices: Choices) -> None:
    """Raises Refused for a bundle that nobody here vouches for, unless its person takes it all the same."""
    if content.trust in {"foreign", "unsigned", "broken"} and not choices.trusted:
        raise Refused("Nobody here vouches for this file. Say that you take it all the same. Nothing was changed.", "trusted")


def apply_import(
    session: Session, actor: Actor, row: Import, content: Content, choices: Choices, *, private_ranges: bool, now: datetime
) -> Preview:
    """Do what the preview said, as far as it holds still; what it says is what was done. Raises Refused and BundleRefused.

    All of it is in the caller's transaction. What was written on cards and what came is kept, so that it can be undone.
    """
    account_id = require(actor, Permission.IMPORT)
    require_trusted(content, choices)
    session.scalar(sa.select(Account.id).where(Account.id == account_id).with_for_update())
    made = plan(session, account_id, content, choices, now)
    added = add_domains(session, actor, listed=made.wanted, private_ranges=private_ranges, now=now)
    refs = [each.ref for each in added if each.outcome in {"added", "restored"}]
    for start in range(0, len(refs), CHUNK):
        session.add(ImportChange(import_id=row.id, what=_ADDED, before=[], after=refs[start : start + CHUNK]))
    _write_cards(session, actor, row, made, now)
    told = [*content.told, *_settle(session, actor, row, content, choices, now=now)]
    history = None
    if content.bundle is not None and choices.history:
        keys = frozenset(each.key for each in made.taken)
        history = bring(session, content.bundle, Whose(account_id, keys, row.id))
        told += history.told
    done = Preview(made, history, tuple(told))
    row.state, row.applied_at, row.summary, row.choices = "applied", now, done.summary, choices.kept
    row.form, row.version, row.trust, row.signer = content.form, content.version, content.trust or "", content.signer
    session.flush()
    public: dict[str, Any] = {"import": row.ref, "form": content.form, **made.counts}
    append(session, Event("import.applied.v1", now, actor.name, actor.account_ref, public, {"name": row.name, "sha256": row.sha256}))
    return done


def _write_cards(session: Session, actor: Actor, row: Import, made: Plan, now: datetime) -> None:
    wanted = {name: change for name, change in made.cards.items() if change.changes}
    domains = domains_by_name(session, row.account_id, {*wanted, *made.kinds})
    changes = {domains[name][0]: change for name, change in wanted.items()}
    write_cards(session, row.account_id, row.id, changes, by=actor.user_id, now=now)
    for name, kind in made.kinds.items():
        session.execute(sa.update(Domain).where(Domain.id == domains[name][0]).values(kind=kind))


def _settle(session: Session, actor: Actor, row: Import, content: Content, choices: Choices, *, now: datetime) -> list[str]:
    """The account's name and rule, as far as the file has them, they are wanted, and the actor may; what to tell of it."""
    account_id, import_id = row.account_id, row.id
    account = session.get_one(Account, account_id)
    told: list[str] = []
    name = one_line(content.name or "")[:100]
    if choices.settings and name and name != account.name:
        if not allows(actor.role, Permission.MANAGE_ACCOUNT):
            return ["The account's name and rules are its owners' to change, and stay as they are."]
        session.add(ImportChange(import_id=import_id, what=_NAME, before=account.name, after=name))
        account.name = name
        told.append("The account has the name that it has in the file.")
    if choices.factor and content.factor_required and not factor_required(session, account_id):
        if not allows(actor.role, Permission.MANAGE_ACCOUNT):
            return [*told, "The account's rules are its owners' to change, and stay as they are."]
        if actor.user_id is not None and not has_factor(session, actor.user_id):
            return [*told, "Set up a second factor of your own before you ask others for one. The account does not ask for it."]
        session.add(ImportChange(import_id=import_id, what=_FACTOR, before=False, after=True))
        set_factor_rule(session, actor, on=True, now=now)
        told.append("The account asks its members for a second factor from now on.")
    return told


def want_import(session: Session, actor: Actor, *, ref: str, choices: Choices, now: datetime) -> None:
    """Have it applied by a worker, who may no more than the actor, whoever handed it in. Raises Refused."""
    row = _own(session, require(actor, Permission.IMPORT), ref, "previewed")
    if row.trust in {"foreign", "unsigned", "broken"} and not choices.trusted:
        raise Refused("Nobody here vouches for this file. Tick that you take it all the same. Nothing was changed.", "trusted")
    row.choices, row.state, row.lease_until, row.error = choices.kept, "wanted", None, ""
    row.handed_in_by = actor.user_id
    append(session, Event("import.wanted.v1", now, actor.name, actor.account_ref, {"import": row.ref}))


def keep_choices(session: Session, actor: Actor, *, ref: str, choices: Choices) -> None:
    """Keep what was ticked so far, while its person looks at more names. Raises Refused."""
    _own(session, require(actor, Permission.IMPORT), ref, "previewed").choices = choices.kept


def drop_import(session: Session, actor: Actor, *, ref: str, now: datetime) -> None:
    """Leave it: nothing of it was taken, and the file is removed. Raises Refused for one that was applied."""
    row = _own(session, require(actor, Permission.IMPORT), ref, "previewed", "refused", "waiting")
    row.state = "dropped"
    append(session, Event("import.dropped.v1", now, actor.name, actor.account_ref, {"import": row.ref}))


def undo_import(session: Session, actor: Actor, *, ref: str, now: datetime) -> Undone:
    """Take back what an import changed, for 30 days. Names that it added go into the bin. Raises Refused."""
    account_id = require(actor, Permission.IMPORT)
    row = _own(session, account_id, ref, "applied")
    if row.applied_at is None or now - row.applied_at > IN_BIN_FOR:
        raise Refused(f"It was applied more than {IN_BIN_FOR.days} days ago, and stays. Nothing was changed.")
    session.scalar(sa.select(Account.id).where(Account.id == account_id).with_for_update())
    names = kept = 0
    cards: list[int] = []
    told: list[str] = []
    for change in list(changes_of(session, row.id)):
        if change.what == _ADDED:
            names += remove_watches(session, actor, refs=change.after, now=now)
        elif change.what == CARDS:
            back = take_back(session, account_id, change.before, by=actor.user_id, now=now)
            cards, kept = [*cards, *back], kept + len(change.before) - len(back)
        else:
            told += _unsettle(session, actor, account_id, change)
    applied_at = row.applied_at
    lines = sum(_unbring(session, table, row.id, now) for table in _HISTORY)
    say_again(session, cards, account_id, let_go_at=applied_at)
    row = _own(session, account_id, ref, "applied")
    row.state, row.undone_at = "undone", now
    undone = Undone(names, len(cards), kept, lines, tuple(told))
    public: dict[str, Any] = {"import": ref, "names": names, "cards": undone.cards, "kept": kept}
    append(session, Event("import.undone.v1", now, actor.name, actor.account_ref, public))
    return undone


def _unsettle(session: Session, actor: Actor, account_id: int, change: ImportChange) -> list[str]:
    """The name as it was, where an owner asks for it. The rule stays: whoever drops it proves that it is them."""
    if change.what == _FACTOR:
        return ["The account still asks for a second factor. An owner may end that on the account's page."]
    if not allows(actor.role, Permission.MANAGE_ACCOUNT):
        return ["The account's name is its owners' to change, and stays as it is."]
    account = session.get_one(Account, account_id)
    if account.name != change.after:
        return ["The account was given another name since, and keeps it."]
    account.name = change.before
    return []


def _unbring(session: Session, table: Any, import_id: int, now: datetime) -> int:
    there = (table.import_id == import_id, table.deleted_at.is_(None))
    gone = sa.update(table).where(*there).values(deleted_at=now).execution_options(synchronize_session=False)
    count = rowcount(session.execute(gone))
    return count if table in {ImportedObservation, ImportedIncident} else 0


def _own(session: Session, account_id: int, ref: str, *states: str) -> Import:
    row = import_by_ref(session, account_id, ref, hold=True)
    if row is None or row.state not in states:
        raise Refused(_GONE)
    return row
