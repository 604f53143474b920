"""Accounts as a whole: removed by two, brought back whole, named, made, and asking their members for a second factor."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions import own_account, passkeys, removals, team
from core.actions.accounts import UNKNOWN, begin_sign_in, token_sha256
from core.actions.api_tokens import make_token
from core.actions.domains import remove_watches
from core.actions.passwords import Checked
from core.actions.policy import Actor, NotAllowed, Permission, Refused, permissions, require
from core.store.account_rules import binned_accounts
from core.store.accounts import SignedIn, User, signed_in
from core.store.approvals import waiting
from core.store.db import Sessions
from core.store.letters import Letter
from core.store.listing import counts
from core.store.teams import own_accounts
from core.store.tokens import bearer_of
from core.store.watches import Watch
from tests.make import NOW, make_watches
from tests.passkeys import Device, site
from tests.people import HASH, joined, person, proof

MIRA, MAX, VERA = "mira@example.org", "max@example.org", "vera@example.org"
DAY = timedelta(days=1)


def names(session: Session, actor: Actor, count: int) -> list[str]:
    return [added.ref for added in make_watches(session, actor, *(f"n{number}.example.org" for number in range(count)), now=NOW)]


def live(sessions: Sessions) -> set[str]:
    with sessions.reading() as session:
        return set(session.scalars(sa.select(Watch.ref).where(Watch.deleted_at.is_(None))))


def subjects(sessions: Sessions, email: str) -> list[str]:
    with sessions.reading() as session:
        rows = session.scalars(sa.select(Letter).where(Letter.kind == "told", Letter.email == email).order_by(Letter.id))
        return [row.words["subject"] for row in rows]


def looks_at(session: Session, token: str) -> SignedIn:
    found = signed_in(session, token_sha256(token), NOW)
    assert found is not None
    return found


def remove(sessions: Sessions, owner: Actor, checked: Checked) -> removals.Removal:
    with sessions.writing() as session:
        return removals.remove_account(session, owner, checked=checked, now=NOW)


def test_alone_its_owner_removes_it_by_their_password_and_brings_it_back_whole(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, token = person(session, MIRA)
        refs = names(session, owner, 3)
        vera, _ = joined(session, owner, VERA, "viewer")
        remove_watches(session, owner, refs=refs[:1], now=NOW - DAY)
        invitation = team.invite(session, owner, email=MAX, role="manager", days=7, now=NOW)
        api = make_token(session, owner, name="wall", days=30, scopes=("read:domains",), now=NOW).token
    wrong, right = proof(sessions, MIRA, "wrong"), proof(sessions, MIRA)
    with pytest.raises(Refused, match="not your password"):
        remove(sessions, owner, wrong)
    assert remove(sessions, owner, right) == removals.Removal(removed=2, account=True)
    assert live(sessions) == set()
    assert subjects(sessions, VERA) == ["The account example.org was removed"]
    with sessions.writing() as session:
        assert looks_at(session, token).account_id is None
        assert bearer_of(session, token_sha256(api), NOW) is None
        assert own_accounts(session, vera.user_id or 0) == ()
        with pytest.raises(Refused, match="was withdrawn"):
            team.join_as_new(session, token=invitation, password_hash=HASH, now=NOW)
        sign_in = looks_at(session, token).session_id
        (binned,) = binned_accounts(session, owner.user_id or 0, NOW - 30 * DAY)
        with pytest.raises(Refused, match="not in the bin"):
            own_account.restore_account(session, vera, ref=binned.ref, sign_in_id=sign_in, now=NOW)
        with pytest.raises(Refused, match="over 30 days"):
            own_account.restore_account(session, owner, ref=binned.ref, sign_in_id=sign_in, now=NOW + 31 * DAY)
        came = own_account.restore_account(session, owner, ref=binned.ref, sign_in_id=sign_in, now=NOW + 30 * DAY)
    assert came == ("example.org", 2)
    assert live(sessions) == set(refs[1:]), "what was in the bin before stays there"
    with sessions.reading() as session:
        assert (looks_at(session, token).account_ref, looks_at(session, token).role) == (owner.account_ref, "owner")
        assert sum(counts(session, owner.account_id or 0).values()) == 2
        assert [each.role for each in own_accounts(session, vera.user_id or 0)] == ["viewer"]
        assert bearer_of(session, token_sha256(api), NOW) is not None
    with sessions.writing() as session, pytest.raises(Refused, match="was withdrawn"):
        team.join_as_new(session, token=invitation, password_hash=HASH, now=NOW)
    assert subjects(sessions, VERA)[-1] == "The account example.org is back"
    with sessions.writing() as session, pytest.raises(Refused, match="back already"):
        own_account.restore_account(session, owner, ref=binned.ref, sign_in_id=sign_in, now=NOW + DAY)


def test_with_a_second_person_it_waits_for_their_yes(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, token = person(session, MIRA)
        manager, theirs = joined(session, owner, MAX, "manager")
        names(session, owner, 2)
        own, _ = person(session, "max2@example.org")
    right = proof(sessions, MIRA)
    assert remove(sessions, owner, right) == removals.Removal(waiting=1)
    assert len(live(sessions)) == 2
    with pytest.raises(Refused, match="waits under Approvals"):
        remove(sessions, owner, right)
    with sessions.writing() as session:
        (asked,) = waiting(session, owner.account_id or 0, manager.user_id or 0, NOW)
        assert (asked.account, asked.mine) == (True, False)
        with pytest.raises(Refused, match="a second person"):
            removals.approve(session, owner, ref=asked.ref, now=NOW)
        with pytest.raises(Refused):
            removals.approve(session, own, ref=asked.ref, now=NOW)
        assert removals.approve(session, manager, ref=asked.ref, now=NOW) == removals.Removal(removed=2, account=True)
        assert looks_at(session, token).account_id is None
        assert looks_at(session, theirs).account_id is None
    assert subjects(sessions, MAX) == ["example.org is to be removed", "The account example.org was removed"]


@pytest.mark.parametrize("role", ["manager", "viewer"])
def test_only_owners_touch_it_as_a_whole(sessions: Sessions, role: str) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, MIRA)
        other, _ = joined(session, owner, MAX, role)
    checked = proof(sessions, MAX)
    with sessions.writing() as session:
        for act in (
            lambda: removals.remove_account(session, other, checked=checked, now=NOW),
            lambda: own_account.rename_account(session, other, name="Ours", now=NOW),
            lambda: own_account.require_factors(session, other, on=True, checked=checked, now=NOW),
        ):
            with pytest.raises(NotAllowed):
                act()


def test_who_is_no_owner_any_more_asked_in_vain(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, MIRA)
        other, _ = joined(session, owner, MAX, "owner")
    remove(sessions, owner, proof(sessions, MIRA))
    with sessions.writing() as session:
        team.change_role(session, other, user_ref=owner.user_ref, role="manager", now=NOW)
        (asked,) = waiting(session, owner.account_id or 0, other.user_id or 0, NOW)
        with pytest.raises(Refused, match="may not do it any more"):
            removals.approve(session, other, ref=asked.ref, now=NOW)


def test_it_is_named_and_a_second_one_is_made_where_one_may(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, token = person(session, MIRA)
        assert own_account.rename_account(session, owner, name=" Harbour\x00light \n GmbH ", now=NOW) == "Harbour light GmbH"
        for bad in ("", " \n ", "x" * 101):
            with pytest.raises(Refused, match="1 to 100 characters"):
                own_account.rename_account(session, owner, name=bad, now=NOW)
        sign_in = looks_at(session, token).session_id
        with pytest.raises(Refused, match="by the operator"):
            own_account.make_account(session, owner, name="Second", sign_in_id=sign_in, now=NOW, anybody=False)
        for number in range(1, own_account.MOST_OWNED):
            own_account.make_account(session, owner, name=f"Account {number}", sign_in_id=sign_in, now=NOW, anybody=True)
        assert looks_at(session, token).account_name == "Account 9"
        ninth = looks_at(session, token)
        with pytest.raises(Refused, match="own 10 accounts"):
            own_account.make_account(session, owner, name="One more", sign_in_id=sign_in, now=NOW, anybody=True)
    in_the_ninth = Actor(owner.user_id, owner.user_ref, ninth.account_id, ninth.account_ref, "owner")
    remove(sessions, in_the_ninth, proof(sessions, MIRA))
    with sessions.reading() as session:
        assert looks_at(session, token).account_name == "Harbour light GmbH", "the sign-in looks at the first that is left"


def test_who_has_none_left_makes_one_anywhere(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, token = person(session, MIRA)
    remove(sessions, owner, proof(sessions, MIRA))
    with sessions.writing() as session:
        sign_in = looks_at(session, token).session_id
        own_account.make_account(session, owner, name="Anew", sign_in_id=sign_in, now=NOW, anybody=False)
        assert (looks_at(session, token).account_name, looks_at(session, token).role) == ("Anew", "owner")


def with_passkey(sessions: Sessions, actor: Actor, email: str) -> None:
    checked, device = proof(sessions, email), Device()
    with sessions.writing() as session:
        asked = passkeys.ask_to_add_passkey(session, actor, checked=checked, site=site(), now=NOW)
        answer = device.make(asked.options)
        passkeys.add_passkey(session, actor, challenge=asked.challenge, answer=answer, name="", site=site(), keep=0, now=NOW)


def test_where_a_factor_is_asked_for_who_has_none_sees_nothing_until_they_do(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, MIRA)
        vera, token = joined(session, owner, VERA, "viewer")
        api = make_token(session, vera, name="wall", days=30, scopes=("read:domains",), now=NOW).token
    checked = proof(sessions, MIRA)
    with sessions.writing() as session, pytest.raises(Refused, match="lock yourself out"):
        own_account.require_factors(session, owner, on=True, checked=checked, now=NOW)
    with_passkey(sessions, owner, MIRA)
    with sessions.writing() as session:
        with pytest.raises(Refused, match="not your password"):
            own_account.require_factors(session, owner, on=True, checked=proof(sessions, MIRA, "wrong"), now=NOW)
        assert own_account.require_factors(session, owner, on=True, checked=checked, now=NOW) == 1
        assert own_account.require_factors(session, owner, on=True, checked=checked, now=NOW) == 0, "it is so already"
        found = looks_at(session, token)
        assert (found.factor_required, found.has_factor) == (True, False)
        resting = Actor(vera.user_id, vera.user_ref, vera.account_id, vera.account_ref, "viewer", resting=True)
        with pytest.raises(NotAllowed, match="asks its members for a second factor"):
            require(resting, Permission.READ)
        assert permissions(resting) == frozenset()
        assert bearer_of(session, token_sha256(api), NOW) is None
    assert subjects(sessions, VERA) == ["example.org asks its members for a second factor"]
    with_passkey(sessions, vera, VERA)
    with sessions.writing() as session:
        assert bearer_of(session, token_sha256(api), NOW) is not None
        fresh = begin_sign_in(session, session.get_one(User, vera.user_id), NOW, UNKNOWN, proven=True)
        assert (looks_at(session, fresh.token).factor_required, looks_at(session, fresh.token).has_factor) == (True, True)
        own_account.require_factors(session, owner, on=False, checked=checked, now=NOW)
        assert not looks_at(session, fresh.token).factor_required
