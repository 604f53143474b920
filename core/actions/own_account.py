"""What owners do with an account as a whole: name it, ask its members for a second factor, bring it back; and making another one.

Removing one stands in core/actions/removals.py, with what makes it slow.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.accounts import look_at, open_account
from core.actions.domains import bring_back_removed
from core.actions.letters import tell_by_mail
from core.actions.passwords import Checked, require_password
from core.actions.policy import Actor, Permission, Refused, require, require_person
from core.net.text import one_line
from core.store.account_rules import AccountRules, binned_accounts, factor_required
from core.store.accounts import Account, LoginSession, Membership, User, members_of
from core.store.base import IN_BIN_FOR
from core.store.factors import has_factor
from core.store.teams import own_accounts

LONGEST_NAME: Final = 100
MOST_OWNED: Final = 10


def rename_account(session: Session, actor: Actor, *, name: str, now: datetime) -> str:
    """The account's new name. Raises Refused for none, and for one that is too long."""
    account = session.get_one(Account, require(actor, Permission.MANAGE_ACCOUNT))
    account.name = _plain(name)
    append(session, Event("account.renamed.v1", now, actor.name, actor.account_ref))
    return account.name


def make_account(session: Session, actor: Actor, *, name: str, sign_in_id: int, now: datetime, anybody: bool) -> str:
    """The name of a new account of the actor's, which they look at from now on. Raises Refused.

    `anybody`: everybody may make accounts here; else those alone who belong to none.
    """
    user = session.get_one(User, require_person(actor), with_for_update=True)
    mine = own_accounts(session, user.id)
    if mine and not anybody:
        raise Refused("Accounts are made by the operator of this installation. Ask them for another one. Nothing was made.", "name")
    if len([each for each in mine if each.role == "owner"]) >= MOST_OWNED:
        raise Refused(f"You own {MOST_OWNED} accounts already. Nothing was made.", "name")
    account = open_account(session, user, _plain(name), now)
    look_at(session, sign_in_id, account.id)
    append(session, Event("account.made.v1", now, actor.name, account.ref))
    return account.name


def require_factors(session: Session, actor: Actor, *, on: bool, checked: Checked, now: datetime) -> int:
    """Ask every member for a second factor from now on, or no more. How many have none yet: their roles here rest until they do.

    Raises Refused for a wrong password, and for an owner who has none themselves.
    """
    account_id = require(actor, Permission.MANAGE_ACCOUNT)
    user = require_password(session, require_person(actor), checked, _not_yours())
    if on and not has_factor(session, user.id):
        raise Refused("Set up a second factor of your own first, under Security: else you would lock yourself out. Nothing was changed.")
    return 0 if on == factor_required(session, account_id) else set_factor_rule(session, actor, on=on, now=now)


def set_factor_rule(session: Session, actor: Actor, *, on: bool, now: datetime) -> int:
    """Write the rule down, and tell those by mail who have no factor yet; how many. The caller knows that it is them."""
    account_id = require(actor, Permission.MANAGE_ACCOUNT)
    rules = session.get(AccountRules, account_id) or AccountRules(account_id=account_id)
    rules.factor_since = now if on else None
    session.add(rules)
    session.flush()
    without = [each for each in members_of(session, [account_id]) if not has_factor(session, each.user_id)] if on else []
    name = session.get_one(Account, account_id).name
    for each in without:
        text = "Until you set one up, under Security, you see nothing of the account. Nothing of it is lost meanwhile."
        tell_by_mail(session, each.email, f"{name} asks its members for a second factor", text, account_id=account_id, now=now)
    append(session, Event("account.factor_required.v1", now, actor.name, actor.account_ref, {"on": on}))
    return len(without)


def restore_account(session: Session, actor: Actor, *, ref: str, sign_in_id: int, now: datetime) -> tuple[str, int]:
    """The name of an account that its owner brought back from the bin whole, and how many names came with it. Raises Refused."""
    user_id = require_person(actor)
    found = next((each for each in binned_accounts(session, user_id, now - IN_BIN_FOR) if each.ref == ref), None)
    account = session.get(Account, found.id, with_for_update=True, populate_existing=True) if found is not None else None
    if account is None or account.deleted_at is None:
        raise Refused("This account is not in the bin: it is back already, or lay there for over 30 days. Nothing was changed.")
    removed_at, account.deleted_at = account.deleted_at, None
    session.flush()
    as_owner = Actor(user_id=user_id, user_ref=actor.user_ref, account_id=account.id, account_ref=account.ref, role="owner")
    names = bring_back_removed(session, as_owner, removed_at=removed_at, now=now)
    theirs = sa.select(Membership.user_id).where(Membership.account_id == account.id, Membership.deleted_at.is_(None))
    nowhere = (LoginSession.user_id.in_(theirs), LoginSession.account_id.is_(None), LoginSession.ended_at.is_(None))
    session.execute(sa.update(LoginSession).where(*nowhere).values(account_id=account.id).execution_options(synchronize_session=False))
    look_at(session, sign_in_id, account.id)
    for each in members_of(session, [account.id]):
        text = f"An owner brought it back, with {names} names. Everybody has the role that they had."
        tell_by_mail(session, each.email, f"The account {account.name} is back", text, account_id=account.id, now=now)
    append(session, Event("account.restored.v1", now, actor.name, account.ref, {"names": names}))
    return account.name, names


def _plain(name: str) -> str:
    """A name in one line. Raises Refused."""
    plain = one_line(name)
    if not plain or len(plain) > LONGEST_NAME:
        raise Refused(f"Give the account a name of 1 to {LONGEST_NAME} characters. Nothing was changed.", "name")
    return plain


def _not_yours() -> Refused:
    return Refused("This is not your password. Nothing was changed.", "factor_proof")
