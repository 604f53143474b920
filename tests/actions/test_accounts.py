from datetime import timedelta
from email.headerregistry import Address

import argon2
import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions import accounts, passwords
from core.actions.policy import Actor, NotAllowed, Refused
from core.store.accounts import LoginSession, OneTimeLink, User, signed_in
from core.store.db import Sessions
from tests.make import NOW, TERMINAL

PASSWORD = "four or five words"
HASH = passwords.hash_password(PASSWORD)


def check(sessions: Sessions, email: str, password: str) -> passwords.Checked:
    with sessions.reading() as session:
        kept = passwords.kept_of(session, email)
    return passwords.check_password(kept, password)


def sign_in(sessions: Sessions, email: str, password: str = PASSWORD) -> accounts.NewSignIn | None:
    checked = check(sessions, email, password)
    with sessions.writing() as session:
        return accounts.sign_in(session, checked=checked, now=NOW)


def set_up(sessions: Sessions) -> accounts.NewSignIn:
    with sessions.writing() as session:
        token = accounts.issue_setup_link(session, TERMINAL, now=NOW)
        return accounts.set_up_operator(session, token=token, email=" Mira@Example.org ", password_hash=HASH, now=NOW)


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
            accounts.set_up_operator(session, token=first, email="a@b.example", password_hash=HASH, now=NOW + timedelta(hours=25))
        accounts.set_up_operator(session, token=first, email="a@b.example", password_hash=HASH, now=NOW)
        for token in (first, second, "guess"):
            with pytest.raises(Refused, match="used already"):
                accounts.set_up_operator(session, token=token, email="c@d.example", password_hash=HASH, now=NOW)
        with pytest.raises(NotAllowed, match="operator already"):
            accounts.issue_setup_link(session, TERMINAL, now=NOW)


@pytest.mark.parametrize(
    "email", ["", "mira", "mira@", "@x.example", "a b@x.example", "a@b\r\nBcc: c@d.example", "a" * 65 + "@x.example", "x@y@z"]
)
def test_what_is_no_address_is_refused(sessions: Sessions, email: str) -> None:
    with sessions.writing() as session, pytest.raises(Refused, match="e-mail address") as refused:
        accounts.create_user(session, TERMINAL, email=email, operator=True, now=NOW)
    assert refused.value.field == "email"


@pytest.mark.parametrize("email", ["a..b@x.example", ".a@x.example", "a.@x.example"])
def test_what_no_mail_can_be_addressed_to_is_refused(sessions: Sessions, email: str) -> None:
    with sessions.writing() as session, pytest.raises(Refused, match="not an e-mail address") as refused:
        accounts.create_user(session, TERMINAL, email=email, operator=True, now=NOW)
    assert refused.value.field == "email"


def test_letters_that_mail_does_not_carry_are_named(sessions: Sessions) -> None:
    with sessions.writing() as session, pytest.raises(Refused, match="letters like ö before the @") as refused:
        accounts.create_user(session, TERMINAL, email="jörg@example.org", operator=True, now=NOW)
    assert refused.value.field == "email"


@pytest.mark.parametrize("email", ["mira.k+keychest@example.org", "a-b_c@xn--bcher-kva.example", "x@localhost"])
def test_what_mail_can_be_addressed_to_is_taken(sessions: Sessions, email: str) -> None:
    with sessions.writing() as session:
        accounts.create_user(session, TERMINAL, email=email, operator=True, now=NOW)
    assert Address(addr_spec=email).addr_spec == email


@pytest.mark.parametrize("password", ["eleven char", "x" * 1025])
def test_a_password_of_a_bad_length_is_refused(password: str) -> None:
    with pytest.raises(Refused, match="at least 12") as refused:
        passwords.hash_password(password)
    assert refused.value.field == "password"


def test_a_password_that_was_changed_since_it_was_checked_lets_nobody_in(sessions: Sessions) -> None:
    set_up(sessions)
    checked = check(sessions, "mira@example.org", PASSWORD)
    assert checked.right
    with sessions.writing() as session:
        session.execute(sa.update(User).values(password_hash=passwords.hash_password("another of five words")))
        assert accounts.sign_in(session, checked=checked, now=NOW) is None


@pytest.mark.slow
@pytest.mark.usefixtures("real_hashing")
def test_a_hash_of_less_than_todays_measure_is_renewed_at_sign_in(sessions: Sessions) -> None:
    set_up(sessions)
    weak = argon2.PasswordHasher(time_cost=1).hash(PASSWORD)
    with sessions.writing() as session:
        session.execute(sa.update(User).values(password_hash=weak))
    assert sign_in(sessions, "mira@example.org", "wrong") is None
    with sessions.reading() as session:
        assert session.scalars(sa.select(User.password_hash)).one() == weak
    assert sign_in(sessions, "mira@example.org") is not None
    with sessions.reading() as session:
        assert "$m=65536,t=3,p=4$" in session.scalars(sa.select(User.password_hash)).one(), "RFC 9106, section 4: the second choice"
    assert sign_in(sessions, "mira@example.org") is not None


def test_a_user_made_at_the_terminal_chooses_a_password_once(sessions: Sessions) -> None:
    with sessions.writing() as session:
        token = accounts.create_user(session, TERMINAL, email="ann@example.org", operator=True, now=NOW)
        accounts.accept_welcome(session, token=token, password_hash=HASH, now=NOW)
        with pytest.raises(Refused, match="used already"):
            accounts.accept_welcome(session, token=token, password_hash=HASH, now=NOW)
        with pytest.raises(Refused, match="already"):
            accounts.create_user(session, TERMINAL, email="ANN@example.org", operator=False, now=NOW)
        with pytest.raises(NotAllowed):
            accounts.create_user(session, Actor(user_id=1, role="owner"), email="x@example.org", operator=True, now=NOW)


def test_signing_in_needs_the_right_password_and_failures_are_told_in_the_log(sessions: Sessions) -> None:
    set_up(sessions)
    assert sign_in(sessions, "MIRA@example.org") is not None
    assert sign_in(sessions, "mira@example.org", "wrong") is None
    assert sign_in(sessions, "nobody@example.org") is None
    with sessions.reading() as session:
        kinds = session.scalars(sa.select(OutboxEvent.kind)).all()
    assert kinds.count("sign_in.failed.v1") == 2
    assert kinds.count("user.signed_in.v1") == 1


def test_a_sign_in_ends_when_it_is_ended_or_runs_out(sessions: Sessions) -> None:
    first, second = set_up(sessions), sign_in(sessions, "mira@example.org")
    assert second is not None
    with sessions.writing() as session:
        who = signed_in(session, accounts.token_sha256(first.token), NOW)
        assert who is not None
        actor = Actor(user_id=who.user_id, user_ref=who.user_ref)
        accounts.sign_out(session, Actor(user_id=who.user_id + 1), session_id=who.session_id, now=NOW)
        assert signed_in(session, accounts.token_sha256(first.token), NOW) is not None
        accounts.sign_out(session, actor, session_id=who.session_id, now=NOW)
        assert signed_in(session, accounts.token_sha256(first.token), NOW) is None
        assert signed_in(session, accounts.token_sha256(second.token), NOW) is not None
        assert signed_in(session, accounts.token_sha256(second.token), NOW + accounts.SIGN_IN_LASTS) is None


def test_a_new_password_ends_every_other_sign_in_and_link(sessions: Sessions) -> None:
    old = set_up(sessions)
    with sessions.writing() as session:
        first, second = (accounts.issue_welcome_link(session, TERMINAL, email="mira@example.org", now=NOW) for _ in range(2))
        fresh = accounts.accept_welcome(session, token=first, password_hash=HASH, now=NOW)
        assert signed_in(session, accounts.token_sha256(old.token), NOW) is None
        assert signed_in(session, accounts.token_sha256(fresh.token), NOW) is not None
        with pytest.raises(Refused, match="used already"):
            accounts.accept_welcome(session, token=second, password_hash=HASH, now=NOW)
