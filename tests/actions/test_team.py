"""The team of an account: who decides, what holds at once, and that there is always an owner."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.tables import OutboxEvent
from core.actions import team
from core.actions.accounts import switch_account, token_sha256
from core.actions.policy import Actor, NotAllowed, Refused
from core.store.accounts import Account, LoginSession, Membership, User, accounts_allowed, signed_in, user_by_email
from core.store.db import Sessions
from core.store.teams import Invitation, invited, left_since, own_accounts
from core.store.teams import team as members
from tests.make import NOW
from tests.people import HASH, joined, person

DAY = timedelta(days=1)


def seen(session: Session, token: str) -> tuple[str, str]:
    """The account and role that a sign-in's cookie stands for now."""
    found = signed_in(session, token_sha256(token), NOW)
    assert found is not None
    return found.account_ref, found.role


def test_an_invited_person_joins_with_the_role_that_was_offered_and_the_link_works_once(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        token = team.invite(session, owner, email=" Vera@Example.org ", role="viewer", days=7, now=NOW)
        assert [(each.email, each.role, each.expires_at) for each in invited(session, owner.account_id or 0, NOW)] == [
            ("vera@example.org", "viewer", NOW + 7 * DAY)
        ]
        fresh = team.join_as_new(session, token=token, password_hash=HASH, now=NOW + DAY)
        assert seen(session, fresh.token) == (owner.account_ref, "viewer")
        with pytest.raises(Refused, match="used already"):
            team.join_as_new(session, token=token, password_hash=HASH, now=NOW + DAY)
        assert invited(session, owner.account_id or 0, NOW) == ()
        kinds = session.scalars(sa.select(OutboxEvent.kind).order_by(OutboxEvent.id)).all()
        assert kinds[-2:] == ["member.invited.v1", "member.joined.v1"]
        assert token not in str([row.__dict__ for row in session.scalars(sa.select(Invitation))])


@pytest.mark.parametrize("how", ["late", "withdrawn", "replaced", "account"])
def test_an_invitation_that_ended_is_worth_nothing(sessions: Sessions, how: str) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        token = team.invite(session, owner, email="vera@example.org", role="viewer", days=1, now=NOW)
        if how == "withdrawn":
            assert team.withdraw_invitation(session, owner, ref=invited(session, owner.account_id or 0, NOW)[0].ref, now=NOW)
        if how == "replaced":
            team.invite(session, owner, email="vera@example.org", role="owner", days=1, now=NOW)
        if how == "account":
            session.get_one(Account, owner.account_id).deleted_at = NOW
        with pytest.raises(Refused, match="run out"):
            team.join_as_new(session, token=token, password_hash=HASH, now=NOW + (DAY if how == "late" else timedelta()))
        assert user_by_email(session, "vera@example.org") is None


def test_who_is_a_user_already_joins_as_themselves_and_as_nobody_else(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        eve, eves = person(session, "eve@elsewhere.example")
        vera, _ = person(session, "vera@example.org")
        token = team.invite(session, owner, email="eve@elsewhere.example", role="manager", days=7, now=NOW)
        with pytest.raises(Refused, match="There is a user"):
            team.join_as_new(session, token=token, password_hash=HASH, now=NOW)
        with pytest.raises(Refused, match="signed in as vera@"):
            team.join(session, vera, token=token, sign_in_id=0, now=NOW)
        sign_in = session.scalars(sa.select(LoginSession.id).where(LoginSession.user_id == eve.user_id)).one()
        team.join(session, eve, token=token, sign_in_id=sign_in, now=NOW)
        assert seen(session, eves) == (owner.account_ref, "manager")
        assert {each.ref for each in own_accounts(session, eve.user_id or 0)} == {owner.account_ref, eve.account_ref}
        assert switch_account(session, eve, ref=eve.account_ref, sign_in_id=sign_in) is not None
        assert seen(session, eves) == (eve.account_ref, "owner")
        assert switch_account(session, eve, ref=vera.account_ref, sign_in_id=sign_in) is None
        assert seen(session, eves) == (eve.account_ref, "owner")
        with pytest.raises(Refused, match="belongs to this account already"):
            team.invite(session, owner, email="eve@elsewhere.example", role="viewer", days=7, now=NOW)


def test_a_role_holds_from_the_next_request_on(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        max_, token = joined(session, owner, "max@example.org", "manager")
        assert team.change_role(session, owner, user_ref=max_.user_ref, role="viewer", now=NOW) == "max@example.org"
        assert seen(session, token) == (owner.account_ref, "viewer")
        with pytest.raises(Refused, match="Choose a role"):
            team.change_role(session, owner, user_ref=max_.user_ref, role="operator", now=NOW)


def test_a_removed_member_sees_nothing_at_once_and_comes_back_whole_within_30_days(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        max_, token = joined(session, owner, "max@example.org", "manager")
        assert team.remove_member(session, owner, user_ref=max_.user_ref, now=NOW) == "max@example.org"
        assert seen(session, token) == ("", "")
        assert [each.email for each in left_since(session, owner.account_id or 0, NOW - 30 * DAY)] == ["max@example.org"]
        assert team.restore_member(session, owner, user_ref=max_.user_ref, now=NOW + 31 * DAY) is None
        assert team.restore_member(session, owner, user_ref=max_.user_ref, now=NOW + 29 * DAY) == "max@example.org"
        assert [(each.email, each.role) for each in members(session, owner.account_id or 0)][1] == ("max@example.org", "manager")
        assert seen(session, token) == (owner.account_ref, "manager"), "without signing in anew"
        assert team.restore_member(session, owner, user_ref=max_.user_ref, now=NOW + 29 * DAY) is None
        assert left_since(session, owner.account_id or 0, NOW - 30 * DAY) == ()


def test_who_leaves_looks_at_another_account_of_theirs(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        eve, token = person(session, "eve@elsewhere.example")
        link = team.invite(session, owner, email="eve@elsewhere.example", role="viewer", days=7, now=NOW)
        sign_in = session.scalars(sa.select(LoginSession.id).where(LoginSession.user_id == eve.user_id)).one()
        team.join(session, eve, token=link, sign_in_id=sign_in, now=NOW)
        there = Actor(user_id=eve.user_id, user_ref=eve.user_ref, account_id=owner.account_id, account_ref=owner.account_ref, role="viewer")
        team.leave(session, there, now=NOW)
        assert seen(session, token) == (eve.account_ref, "owner")
        team.restore_member(session, owner, user_ref=eve.user_ref, now=NOW)
        assert seen(session, token) == (eve.account_ref, "owner"), "who looks at another account goes on there"


@pytest.mark.parametrize("act", ["change", "remove", "leave"])
def test_the_last_owner_stays(sessions: Sessions, act: str) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        joined(session, owner, "max@example.org", "manager")
        unready = team.invite(session, owner, email="vera@example.org", role="owner", days=7, now=NOW)
        with pytest.raises(Refused, match="would have no owner"):
            step_down(session, owner, act)
        vera = session.get_one(User, team.join_as_new(session, token=unready, password_hash=HASH, now=NOW).user_id)
        vera.deleted_at = NOW  # an owner who cannot sign in is none
        session.flush()
        with pytest.raises(Refused, match="would have no owner"):
            step_down(session, owner, act)
        vera.deleted_at = None
        session.flush()
        step_down(session, owner, act)
        assert owners(session, owner) == ["vera@example.org"]


def step_down(session: Session, owner: Actor, act: str) -> None:
    if act == "change":
        team.change_role(session, owner, user_ref=owner.user_ref, role="viewer", now=NOW)
    elif act == "remove":
        team.remove_member(session, owner, user_ref=owner.user_ref, now=NOW)
    else:
        team.leave(session, owner, now=NOW)


def owners(session: Session, actor: Actor) -> list[str]:
    return [each.email for each in members(session, actor.account_id or 0) if each.role == "owner"]


@pytest.mark.parametrize("acts", [("leave", "leave"), ("change", "remove")])
def test_two_owners_who_step_down_at_once_leave_one_of_them(sessions: Sessions, acts: tuple[str, str]) -> None:
    with sessions.writing() as session:
        mira, _ = person(session, "mira@example.org")
        vera, _ = joined(session, mira, "vera@example.org", "owner")
    refused: list[Refused] = []
    both = threading.Barrier(2)

    def act(owner: Actor, how: str) -> None:
        both.wait()
        try:
            with sessions.writing() as session:
                step_down(session, owner, how)
        except Refused as error:
            refused.append(error)

    threads = [threading.Thread(target=act, args=pair) for pair in zip((mira, vera), acts, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with sessions.reading() as session:
        assert (len(refused), len(owners(session, mira))) == (1, 1)


@pytest.mark.parametrize("role", ["manager", "viewer"])
def test_only_owners_decide_who_belongs_to_the_account(sessions: Sessions, role: str) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        other, _ = joined(session, owner, "max@example.org", role)
        for act in (
            lambda: team.invite(session, other, email="x@example.org", role="owner", days=7, now=NOW),
            lambda: team.withdraw_invitation(session, other, ref="x", now=NOW),
            lambda: team.change_role(session, other, user_ref=other.user_ref, role="owner", now=NOW),
            lambda: team.remove_member(session, other, user_ref=owner.user_ref, now=NOW),
            lambda: team.restore_member(session, other, user_ref=owner.user_ref, now=NOW),
        ):
            with pytest.raises(NotAllowed):
                act()
        assert session.scalars(sa.select(Membership.role).order_by(Membership.id)).all() == ["owner", role]


def test_strangers_members_are_not_found(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        eve, _ = person(session, "eve@elsewhere.example")
        team.invite(session, owner, email="vera@example.org", role="viewer", days=7, now=NOW)
        theirs = invited(session, owner.account_id or 0, NOW)[0].ref
        assert team.change_role(session, eve, user_ref=owner.user_ref, role="viewer", now=NOW) is None
        assert team.remove_member(session, eve, user_ref=owner.user_ref, now=NOW) is None
        assert team.restore_member(session, eve, user_ref=owner.user_ref, now=NOW) is None
        assert not team.withdraw_invitation(session, eve, ref=theirs, now=NOW)
        assert len(invited(session, owner.account_id or 0, NOW)) == 1


@pytest.mark.parametrize(("field", "given"), [("email", "no address"), ("role", "operator"), ("days", 8)])
def test_what_cannot_be_is_refused_by_its_field(sessions: Sessions, field: str, given: str | int) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        asked = {"email": "vera@example.org", "role": "viewer", "days": 7} | {field: given}
        with pytest.raises(Refused) as refused:
            team.invite(session, owner, now=NOW, **asked)  # type: ignore[arg-type]  # fields by name
        assert refused.value.field == field


@pytest.mark.parametrize("how", ["remove", "change", "leave"])
def test_who_is_no_owner_any_more_lets_nobody_in_by_a_link_they_kept(sessions: Sessions, how: str) -> None:
    with sessions.writing() as session:
        mira, _ = person(session, "mira@example.org")
        vera, _ = joined(session, mira, "vera@example.org", "owner")
        kept = team.invite(session, vera, email="friend@example.org", role="owner", days=30, now=NOW)
        others = team.invite(session, mira, email="max@example.org", role="viewer", days=30, now=NOW)
        if how == "leave":
            team.leave(session, vera, now=NOW)
        elif how == "remove":
            team.remove_member(session, mira, user_ref=vera.user_ref, now=NOW)
        else:
            team.change_role(session, mira, user_ref=vera.user_ref, role="viewer", now=NOW)
        with pytest.raises(Refused, match="withdrawn"):
            team.join_as_new(session, token=kept, password_hash=HASH, now=NOW)
        team.join_as_new(session, token=others, password_hash=HASH, now=NOW)


def test_who_is_asked_in_as_an_owner_brings_no_right_to_private_ranges(sessions: Sessions) -> None:
    with sessions.writing() as session:
        eve, _ = person(session, "eve@elsewhere.example")
        mira, _ = person(session, "mira@example.org")
        token = team.invite(session, eve, email="mira@example.org", role="owner", days=7, now=NOW)
        team.join(session, mira, token=token, sign_in_id=0, now=NOW)
        joined(session, eve, "listed@example.org", "owner")
        assert accounts_allowed(session, ["mira@example.org", "listed@example.org"]) == {mira.account_id}
        assert accounts_allowed(session, [eve.account_ref]) == {eve.account_id}
        team.change_role(session, mira, user_ref=joined(session, mira, "next@example.org", "owner")[0].user_ref, role="owner", now=NOW)
        team.leave(session, mira, now=NOW)
        assert accounts_allowed(session, ["mira@example.org"]) == set()


@pytest.mark.slow
def test_an_invitation_and_a_joining_in_one_moment_do_not_wait_for_each_other(sessions: Sessions) -> None:
    """Both take the account first: on PostgreSQL, one that began with the invitation's row was ended as a deadlock."""
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
    for number in range(10):
        with sessions.writing() as session:
            token = team.invite(session, owner, email=f"new{number}@example.org", role="viewer", days=7, now=NOW)
        both, failed = threading.Barrier(2), list[Exception]()

        def run(act: Callable[[Session], object], both: threading.Barrier = both, failed: list[Exception] = failed) -> None:
            both.wait()
            try:
                with sessions.writing() as session:
                    act(session)
            except Refused:
                pass
            except sa.exc.DBAPIError as error:
                failed.append(error)

        again = partial(team.invite, actor=owner, email=f"new{number}@example.org", role="viewer", days=7, now=NOW)
        acts: tuple[Callable[[Session], object], ...] = (again, partial(team.join_as_new, token=token, password_hash=HASH, now=NOW))
        threads = [threading.Thread(target=run, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failed == []
