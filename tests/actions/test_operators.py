"""Users who are kept out, by every way in; and who runs the installation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions import team
from core.actions.accounts import UNKNOWN, accept_welcome, begin_sign_in, create_user, issue_welcome_link, sign_in, token_sha256
from core.actions.api_tokens import make_token
from core.actions.doors import reset_password
from core.actions.operators import disable_user, enable_user, give_installation_role
from core.actions.policy import Actor, NotAllowed, Refused
from core.store.accounts import LoginSession, OneTimeLink, User, accounts_allowed, members_of, signed_in, user_by_email
from core.store.attempts import KEPT_FOR, FailedAttempt
from core.store.base import new_ref
from core.store.db import Sessions
from core.store.factors import half_signed_in
from core.store.letters import Letter
from core.store.passkeys import Passkey, passkey_named
from core.store.tokens import bearer_of
from tests.mailed import Post, ask, link
from tests.make import NOW, TERMINAL
from tests.people import HASH, PASSWORD, joined, person, proof

OPERATOR = "ops@example.org"


def operator(sessions: Sessions, email: str = OPERATOR) -> Actor:
    with sessions.writing() as session:
        accept_welcome(session, token=create_user(session, TERMINAL, email=email, operator=True, now=NOW), password_hash=HASH, now=NOW)
        user = user_by_email(session, email)
        assert user is not None
        return Actor(user_id=user.id, user_ref=user.ref, installation_role="operator")


def test_who_is_kept_out_comes_in_by_no_way_and_back_by_all_but_the_old_ones(sessions: Sessions, post: Post) -> None:
    ops = operator(sessions)
    with sessions.writing() as session:
        mira, token = person(session, "mira@example.org")
        vera, _ = joined(session, mira, "vera@example.org", "owner")
        made = make_token(session, mira, name="ci", days=30, scopes=["read:domains"], now=NOW)
        invitation = team.invite(session, mira, email="alter@example.org", role="owner", days=7, now=NOW)
        welcome = issue_welcome_link(session, TERMINAL, email="mira@example.org", now=NOW)
        session.add(
            Passkey(
                ref=new_ref(), user_id=mira.user_id or 0, name="", credential_id="k", public_key="", sign_count=0, transports="",
                backed_up=False, created_at=NOW, last_used_at=None, deleted_at=None,
            )
        )  # fmt: skip
        session.flush()
        half = begin_sign_in(session, session.get_one(User, mira.user_id), NOW, UNKNOWN)
        assert half.factor_due
    ask(sessions, "reset", "mira@example.org")
    [mail] = [each for each in post.send() if "/reset/" in each]
    checked = proof(sessions, "mira@example.org")
    with sessions.writing() as session:
        assert disable_user(session, ops, user_ref=mira.user_ref, now=NOW) == "mira@example.org"
        row = session.scalars(sa.select(LoginSession).where(LoginSession.token_sha256 == token_sha256(token))).one()
        row.ended_at = None  # the row alone keeps them out
        session.execute(sa.update(LoginSession).where(LoginSession.token_sha256 == token_sha256(half.token)).values(ended_at=None))
        session.execute(sa.update(Letter).where(Letter.kind == "reset").values(used_at=None))
        session.execute(sa.update(OneTimeLink).values(used_at=None))
    ask(sessions, "reset", "mira@example.org")
    assert not [each for each in post.send() if "/reset/" in each]
    wrong = proof(sessions, "mira@example.org")
    assert not wrong.right
    with sessions.writing() as session:
        assert signed_in(session, token_sha256(token), NOW) is None
        assert half_signed_in(session, token_sha256(half.token), NOW) is None
        assert bearer_of(session, token_sha256(made.token), NOW) is None
        assert passkey_named(session, "k") is None
        assert sign_in(session, checked=wrong, now=NOW) is None
        assert [each.email for each in members_of(session, [mira.account_id or 0])] == ["vera@example.org"]
        assert accounts_allowed(session, ["mira@example.org"]) == set()
        for refused in (
            lambda: accept_welcome(session, token=welcome, password_hash=HASH, now=NOW),
            lambda: reset_password(session, token=link(mail, "/reset/"), password_hash=HASH, now=NOW),
            lambda: team.join_as_new(session, token=invitation, password_hash=HASH, now=NOW),
            lambda: issue_welcome_link(session, TERMINAL, email="mira@example.org", now=NOW),
            lambda: team.leave(session, vera, now=NOW),  # nobody else could decide who belongs to it
        ):
            _refused(refused)
    with sessions.writing() as session:
        assert enable_user(session, ops, user_ref=mira.user_ref, now=NOW) == "mira@example.org"
        assert signed_in(session, token_sha256(token), NOW) is None
        assert half_signed_in(session, token_sha256(half.token), NOW) is None
        assert bearer_of(session, token_sha256(made.token), NOW) is not None
        assert sign_in(session, checked=checked, now=NOW) is not None
        kinds = session.scalars(sa.select(OutboxEvent.kind).where(OutboxEvent.kind.in_(("user.disabled.v1", "user.enabled.v1")))).all()
        assert kinds == ["user.disabled.v1", "user.enabled.v1"]
        told = session.scalars(sa.select(Letter).where(Letter.kind == "told", Letter.email == "mira@example.org").order_by(Letter.id)).all()
        assert [each.words["subject"] for each in told] == ["You cannot sign in to KeyChest any more", "You can sign in to KeyChest again"]


def _refused(act: Callable[[], object]) -> None:
    with pytest.raises(Refused):
        act()


def test_oneself_and_the_last_operator_stay_and_a_role_needs_the_password(sessions: Sessions) -> None:
    ops = operator(sessions)
    with sessions.writing() as session:
        mira, _ = person(session, "mira@example.org")
    mine, wrong = proof(sessions, OPERATOR), proof(sessions, OPERATOR, "not the password")
    with sessions.writing() as session:
        for act in (
            lambda: disable_user(session, ops, user_ref=ops.user_ref, now=NOW),
            lambda: disable_user(session, TERMINAL, user_ref=ops.user_ref, now=NOW),
            lambda: give_installation_role(session, ops, user_ref=ops.user_ref, role="", checked=mine, now=NOW),
            lambda: give_installation_role(session, ops, user_ref=mira.user_ref, role="operator", checked=wrong, now=NOW),
            lambda: give_installation_role(session, ops, user_ref=mira.user_ref, role="king", checked=mine, now=NOW),
        ):
            _refused(act)
        assert give_installation_role(session, ops, user_ref="nobody", role="", checked=mine, now=NOW) is None
        assert disable_user(session, ops, user_ref="nobody", now=NOW) is None
        before = begin_sign_in(session, session.get_one(User, mira.user_id), NOW, UNKNOWN).token
        own = begin_sign_in(session, session.get_one(User, ops.user_id), NOW, UNKNOWN).token
        assert give_installation_role(session, ops, user_ref=mira.user_ref, role="operator", checked=mine, now=NOW) == "mira@example.org"
        assert signed_in(session, token_sha256(before), NOW) is None, "they sign in anew"
        assert give_installation_role(session, ops, user_ref=ops.user_ref, role="auditor", checked=mine, now=NOW) == OPERATOR
        assert signed_in(session, token_sha256(own), NOW) is not None, "one's own goes on, with the role that is read now"
        with pytest.raises(NotAllowed):  # who acts by a page that was open already
            disable_user(session, ops, user_ref=mira.user_ref, now=NOW)
        _refused(lambda: disable_user(session, TERMINAL, user_ref=mira.user_ref, now=NOW))
        subjects = [words["subject"] for words in session.scalars(sa.select(Letter.words).order_by(Letter.id))]
        assert subjects == ["You are an operator of this KeyChest now", "You are an auditor of this KeyChest now"]
        last = session.scalars(sa.select(OutboxEvent).order_by(OutboxEvent.id.desc())).first()
        assert last is not None
        assert (last.kind, last.public, last.private) == (
            "installation_role.changed.v1", {"from": "operator", "to": "auditor"}, {"user": ops.user_ref},
        )  # fmt: skip


@pytest.mark.parametrize("actor", [Actor(user_id=1, installation_role="auditor"), Actor(user_id=1, role="owner", account_id=1)])
def test_nobody_else_acts(sessions: Sessions, actor: Actor) -> None:
    with sessions.writing() as session, pytest.raises(NotAllowed):
        disable_user(session, actor, user_ref="x", now=NOW)
    with sessions.writing() as session, pytest.raises(NotAllowed):
        enable_user(session, actor, user_ref="x", now=NOW)


def test_attempts_are_kept_for_known_and_unknown_and_go_after_90_days(sessions: Sessions) -> None:
    with sessions.writing() as session:
        mira, _ = person(session, "mira@example.org")
    known, unknown = proof(sessions, "mira@example.org", "not the password"), proof(sessions, "nobody@example.org", PASSWORD)
    with sessions.writing() as session:
        assert sign_in(session, checked=known, now=NOW) is sign_in(session, checked=unknown, now=NOW) is None
        assert session.scalars(sa.select(FailedAttempt.user_id).order_by(FailedAttempt.id)).all() == [mira.user_id, None]
        sign_in(session, checked=unknown, now=NOW + KEPT_FOR + timedelta(seconds=1))
        assert session.scalars(sa.select(FailedAttempt.user_id)).all() == [None]
