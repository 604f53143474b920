"""What people do by mail: a new password, coming in, another address. Links are read from the mails that leave."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions import doors
from core.actions.accounts import change_password, create_user, sign_in, token_sha256
from core.actions.passwords import check_password, hash_password, kept_of
from core.actions.policy import Actor, Refused
from core.store.accounts import signed_in, user_by_email
from core.store.db import Sessions
from core.store.letters import Letter, letters_due
from tests.mailed import Post, ask, link
from tests.make import NOW, TERMINAL
from tests.people import HASH, person, proof

HOUR = timedelta(hours=1)
OTHER = hash_password("another five words here")


def test_a_new_password_by_mail_ends_what_was_signed_in_before(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        _, before = person(session, "mira@example.org")
    ask(sessions, "reset", " Mira@Example.org ")
    (mail,) = post.send()
    assert "To: mira@example.org" in mail
    token = link(mail, "/reset/")
    with sessions.writing() as session:
        fresh = doors.reset_password(session, token=token, password_hash=OTHER, now=NOW)
        assert signed_in(session, token_sha256(before), NOW) is None
        assert signed_in(session, token_sha256(fresh.token), NOW) is not None
        assert sign_in(session, checked=check_password(kept_of(session, "mira@example.org"), "four or five words"), now=NOW) is None
        assert sign_in(session, checked=check_password(kept_of(session, "mira@example.org"), "another five words here"), now=NOW)
        with pytest.raises(Refused, match="used already"):
            doors.reset_password(session, token=token, password_hash=HASH, now=NOW)
        assert session.scalar(sa.select(OutboxEvent.kind).where(OutboxEvent.kind == "password.reset.v1"))


def test_a_link_runs_out_and_a_newer_use_ends_the_others(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        person(session, "mira@example.org")
    ask(sessions, "reset", "mira@example.org")
    ask(sessions, "reset", "mira@example.org")
    first, second = (link(mail, "/reset/") for mail in post.send())
    with sessions.writing() as session, pytest.raises(Refused, match="run out"):
        doors.reset_password(session, token=first, password_hash=OTHER, now=NOW + HOUR)
    with sessions.writing() as session:
        doors.reset_password(session, token=second, password_hash=OTHER, now=NOW)
    with sessions.writing() as session, pytest.raises(Refused, match="used already"):
        doors.reset_password(session, token=first, password_hash=HASH, now=NOW)


def test_a_link_of_one_kind_opens_no_other_door(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        person(session, "mira@example.org")
    ask(sessions, "reset", "mira@example.org")
    ask(sessions, "sign_up", "new@example.org")
    mails = post.send()
    reset = next(link(mail, "/reset/") for mail in mails if "/reset/" in mail)
    fresh = next(link(mail, "/sign-up/") for mail in mails if "/sign-up/" in mail)
    with sessions.writing() as session:
        with pytest.raises(Refused):
            doors.sign_up(session, token=reset, password_hash=HASH, now=NOW)
        with pytest.raises(Refused):
            doors.reset_password(session, token=fresh, password_hash=HASH, now=NOW)
        with pytest.raises(Refused):
            doors.confirm_email(session, kind="email_new", token=reset, now=NOW)


def test_unknown_people_get_no_mail_and_known_ones_who_sign_up_are_told_so(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        person(session, "mira@example.org")
    ask(sessions, "reset", "nobody@example.org")
    assert post.send() == []
    ask(sessions, "sign_up", "mira@example.org")
    (mail,) = post.send()
    assert "Subject: You use KeyChest already" in mail
    assert "/sign-up/" not in mail
    with sessions.reading() as session:
        assert set(session.execute(sa.select(Letter.kind, Letter.outcome, Letter.token_sha256))) == {
            ("reset", "gone", None),
            ("sign_up", "kept", None),
        }
        assert not letters_due(session, NOW + 24 * HOUR)


def test_who_signs_up_owns_an_account_and_the_address_is_proven_once(sessions: Sessions, post: Post) -> None:
    ask(sessions, "sign_up", "new@example.org")
    ask(sessions, "sign_up", "new@example.org")
    first, second = (link(mail, "/sign-up/") for mail in post.send())
    with sessions.writing() as session:
        fresh = doors.sign_up(session, token=first, password_hash=HASH, now=NOW)
        found = signed_in(session, token_sha256(fresh.token), NOW)
        assert found is not None
        assert (found.email, found.role, found.installation_role) == ("new@example.org", "owner", "")
    with sessions.writing() as session, pytest.raises(Refused):
        doors.sign_up(session, token=second, password_hash=OTHER, now=NOW)


def change(sessions: Sessions, actor: Actor, email: str, at: datetime = NOW) -> None:
    checked = proof(sessions, "mira@example.org")
    with sessions.writing() as session:
        doors.ask_new_email(session, actor, checked=checked, email=email, now=at)


def both(mails: list[str]) -> tuple[str, str]:
    old = next(link(mail, "/email/old/") for mail in mails if "To: mira@example.org" in mail)
    new = next(link(mail, "/email/new/") for mail in mails if "To: vera@example.org" in mail)
    return old, new


@pytest.mark.parametrize("first", ["old", "new"])
def test_an_address_changes_once_it_was_confirmed_at_both(sessions: Sessions, post: Post, first: str) -> None:
    with sessions.writing() as session:
        actor, _ = person(session, "mira@example.org")
    change(sessions, actor, "Vera@example.org")
    old, new = both(post.send())

    def use(which: str) -> str:
        with sessions.writing() as session:
            return doors.confirm_email(
                session, kind="email_old" if which == "old" else "email_new", token=old if which == "old" else new, now=NOW
            )

    assert use(first) == ""
    with sessions.reading() as session:
        assert user_by_email(session, "mira@example.org") is not None
    with pytest.raises(Refused, match="used already"):
        use(first)
    assert use("new" if first == "old" else "old") == "vera@example.org"
    with sessions.reading() as session:
        assert user_by_email(session, "mira@example.org") is None
        assert user_by_email(session, "vera@example.org") is not None


def test_an_address_does_not_change_with_a_wrong_password_or_to_one_that_is_taken_meanwhile(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        actor, _ = person(session, "mira@example.org")
    wrong = proof(sessions, "mira@example.org", "not this one at all")
    with sessions.writing() as session, pytest.raises(Refused, match="not your password"):
        doors.ask_new_email(session, actor, checked=wrong, email="vera@example.org", now=NOW)
    change(sessions, actor, "vera@example.org")
    old, new = both(post.send())
    with sessions.writing() as session:
        person(session, "vera@example.org")
        doors.confirm_email(session, kind="email_old", token=old, now=NOW)
    with pytest.raises(Refused, match="somebody else here"), sessions.writing() as session:
        doors.confirm_email(session, kind="email_new", token=new, now=NOW)
    with sessions.reading() as session:
        assert user_by_email(session, "mira@example.org") is not None


def test_asking_for_another_address_again_ends_the_links_before(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        actor, _ = person(session, "mira@example.org")
    change(sessions, actor, "vera@example.org")
    old, _ = both(post.send())
    change(sessions, actor, "other@example.org")
    with sessions.writing() as session, pytest.raises(Refused):
        doors.confirm_email(session, kind="email_old", token=old, now=NOW)


def test_a_changed_password_and_address_are_told(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        actor, _ = person(session, "mira@example.org")
    checked = proof(sessions, "mira@example.org")
    with sessions.writing() as session:
        change_password(session, actor, checked=checked, password_hash=HASH, keep=0, now=NOW)
    (mail,) = post.send()
    assert "Subject: Your password for KeyChest was changed" in mail
    change(sessions, actor, "vera@example.org")
    old, new = both(post.send())
    with sessions.writing() as session:
        doors.confirm_email(session, kind="email_old", token=old, now=NOW)
        doors.confirm_email(session, kind="email_new", token=new, now=NOW)
    (mail,) = post.send()
    assert "To: mira@example.org" in mail, "the one who may not have wanted it"
    assert "You sign in with vera@example.org" in mail


def test_a_link_lets_nobody_in_who_has_the_address_now_and_had_it_not_then(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        person(session, "mira@example.org")
    ask(sessions, "reset", "mira@example.org")
    token = link(post.send()[0], "/reset/")
    with sessions.writing() as session:
        user = user_by_email(session, "mira@example.org")
        assert user is not None
        user.deleted_at = NOW
        session.flush()
        create_user(session, TERMINAL, email="mira@example.org", operator=False, now=NOW)
    with pytest.raises(Refused, match="used already"), sessions.writing() as session:
        doors.reset_password(session, token=token, password_hash=OTHER, now=NOW)
