from datetime import timedelta

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions import accounts
from core.actions.accounts import Refused
from core.actions.policy import Actor, NotAllowed
from core.store.accounts import LoginSession, OneTimeLink, User, signed_in
from core.store.db import Sessions
from tests.make import NOW, TERMINAL

PASSWORD = "four or five words"


def set_up(sessions: Sessions) -> accounts.NewSignIn:
    with sessions.writing() as session:
        token = accounts.issue_setup_link(session, TERMINAL, now=NOW)
        return accounts.set_up_operator(session, token=token, email=" Mira@Example.org ", password=PASSWORD, now=NOW)


def test_the_first_operator_sets_up_and_is_signed_in(sessions: Sessions) -> None:
    fresh = set_up(sessions)
    with sessions.reading() as session:
        who = signed_in(session, accounts.token_sha256(fresh.token), NOW)
        assert who is not None
        assert (who.email, who.installation_role, who.role, who.account_name) == ("mira@example.org", "operator", "owner", "example.org")
        stored = [*session.scalars(sa.select(LoginSession.token_sha256)), *session.scalars(sa.select(OneTimeLink.token_sha256))]
        assert fresh.token not in stored
        assert session.scalars(sa.select(User.password_hash)).one().startswith("$argon2id$")


def test_a_setup_link_works_once_for_a_day_and_for_nobody_later(sessions: Sessions) -> None:
    with sessions.writing() as session:
        first = accounts.issue_setup_link(session, TERMINAL, now=NOW)
        second = accounts.issue_setup_link(session, TERMINAL, now=NOW)
        with pytest.raises(Refused, match="run out"):
            accounts.set_up_operator(session, token=first, email="a@b.example", password=PASSWORD, now=NOW + timedelta(hours=25))
        accounts.set_up_operator(session, token=first, email="a@b.example", password=PASSWORD, now=NOW)
        for token in (first, second, "guess"):
            with pytest.raises(Refused, match="used already"):
                accounts.set_up_operator(session, token=token, email="c@d.example", password=PASSWORD, now=NOW)
        with pytest.raises(NotAllowed, match="operator already"):
            accounts.issue_setup_link(session, TERMINAL, now=NOW)


@pytest.mark.parametrize(
    "email", ["", "mira", "mira@", "@x.example", "a b@x.example", "a@b\r\nBcc: c@d.example", "a" * 65 + "@x.example", "x@y@z"]
)
def test_what_is_no_address_is_refused(sessions: Sessions, email: str) -> None:
    with sessions.writing() as session, pytest.raises(Refused, match="e-mail address") as refused:
        accounts.create_user(session, TERMINAL, email=email, operator=True, now=NOW)
    assert refused.value.field == "email"


def test_a_user_made_at_the_terminal_chooses_a_password_once(sessions: Sessions) -> None:
    with sessions.writing() as session:
        token = accounts.create_user(session, TERMINAL, email="ann@example.org", operator=True, now=NOW)
        with pytest.raises(Refused, match="at least 12"):
            accounts.accept_welcome(session, token=token, password="short", now=NOW)
        accounts.accept_welcome(session, token=token, password=PASSWORD, now=NOW)
        with pytest.raises(Refused, match="used already"):
            accounts.accept_welcome(session, token=token, password=PASSWORD, now=NOW)
        with pytest.raises(Refused, match="already"):
            accounts.create_user(session, TERMINAL, email="ANN@example.org", operator=False, now=NOW)
        with pytest.raises(NotAllowed):
            accounts.create_user(session, Actor(user_id=1, role="owner"), email="x@example.org", operator=True, now=NOW)


def test_signing_in_needs_the_right_password_and_failures_are_told_in_the_log(sessions: Sessions) -> None:
    set_up(sessions)
    with sessions.writing() as session:
        assert accounts.sign_in(session, email="MIRA@example.org", password=PASSWORD, now=NOW) is not None
        assert accounts.sign_in(session, email="mira@example.org", password="wrong", now=NOW) is None
        assert accounts.sign_in(session, email="nobody@example.org", password=PASSWORD, now=NOW) is None
        kinds = session.scalars(sa.select(OutboxEvent.kind)).all()
    assert kinds.count("sign_in.failed.v1") == 2
    assert kinds.count("user.signed_in.v1") == 1


def test_a_sign_in_ends_when_it_is_ended_or_runs_out(sessions: Sessions) -> None:
    first, second = set_up(sessions), None
    with sessions.writing() as session:
        second = accounts.sign_in(session, email="mira@example.org", password=PASSWORD, now=NOW)
        assert second is not None
        who = signed_in(session, accounts.token_sha256(first.token), NOW)
        assert who is not None
        actor = Actor(user_id=who.user_id, user_ref=who.user_ref)
        accounts.sign_out(session, Actor(user_id=who.user_id + 1), session_id=who.session_id, now=NOW)
        assert signed_in(session, accounts.token_sha256(first.token), NOW) is not None
        accounts.sign_out(session, actor, session_id=who.session_id, now=NOW)
        assert signed_in(session, accounts.token_sha256(first.token), NOW) is None
        assert signed_in(session, accounts.token_sha256(second.token), NOW) is not None
        assert signed_in(session, accounts.token_sha256(second.token), NOW + accounts.SIGN_IN_LASTS) is None
