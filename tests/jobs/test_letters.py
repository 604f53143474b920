"""Letters as they leave: with links that nobody else holds, not too many, not too late, and not when they were withdrawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.actions import doors, team
from core.actions.accounts import token_sha256
from core.actions.letters import claim_letters, end_letters, write_letter
from core.actions.policy import Refused
from core.store.db import Sessions
from core.store.letters import Letter, letters_due, newest_about, purge_letters
from core.store.teams import invited
from tests.mailed import Post, ask, link
from tests.make import NOW
from tests.people import HASH, joined, person, proof

HOUR = timedelta(hours=1)


def test_no_more_than_three_an_hour_leave_for_one_address(sessions: Sessions, post: Post) -> None:
    for _ in range(5):
        ask(sessions, "sign_up", "new@example.org")
    assert len(post.send()) == 3
    post.at = NOW + HOUR + timedelta(seconds=1)
    ask(sessions, "sign_up", "new@example.org", post.at)
    assert len(post.send()) == 1


def test_no_owner_fills_a_stranger_s_letter_box(sessions: Sessions, post: Post) -> None:
    for turn in range(4):
        with sessions.writing() as session:
            owner, _ = person(session, f"owner{turn}@example.org")
            team.invite(session, owner, email="vera@example.net", role="viewer", days=1, now=NOW, by_mail=True)
    assert len(post.send()) == 3
    with sessions.reading() as session:
        assert sorted(session.scalars(sa.select(Letter.outcome))) == ["gone", "kept", "kept", "kept"]


def test_an_invitation_is_mailed_with_a_link_that_its_owner_never_saw(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        told = team.invite(session, owner, email="vera@example.org", role="viewer", days=1, now=NOW, by_mail=True)
    (mail,) = post.send()
    token = link(mail, "/invitation/")
    assert "mira@example.org invites you" in mail
    with sessions.writing() as session:
        with pytest.raises(Refused):
            team.join_as_new(session, token=told, password_hash=HASH, now=NOW)
        team.join_as_new(session, token=token, password_hash=HASH, now=NOW)


def test_an_invitation_that_is_withdrawn_before_it_leaves_is_not_mailed(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        team.invite(session, owner, email="vera@example.org", role="viewer", days=1, now=NOW, by_mail=True)
        (mine,) = invited(session, owner.account_id or 0, NOW)
        team.withdraw_invitation(session, owner, ref=mine.ref, now=NOW)
    assert post.send() == []


@pytest.mark.slow
def test_what_cannot_be_sent_is_told_and_tried_again_with_another_link(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        team.invite(session, owner, email="vera@example.org", role="viewer", days=1, now=NOW, by_mail=True)
        (mine,) = invited(session, owner.account_id or 0, NOW)
    post.smtp_url = "smtp://127.0.0.1:1"
    assert post.send() == []
    with sessions.reading() as session:
        letter = newest_about(session, "invitation", [mine.ref])[mine.ref]
        assert (letter.outcome, letter.handed_at) == ("", None)
        assert letter.last_error
        assert not letters_due(session, NOW)
    post.smtp_url, post.at = "", NOW + timedelta(minutes=2)
    (mail,) = post.send()
    assert link(mail, "/invitation/")


def test_a_letter_is_not_sent_after_its_time_and_is_dropped_later(sessions: Sessions, post: Post) -> None:
    ask(sessions, "sign_up", "new@example.org")
    post.at = NOW + 25 * HOUR
    assert post.send() == []
    with sessions.writing() as session:
        assert session.scalar(sa.select(Letter.outcome)) == "failed"
        purge_letters(session, NOW + timedelta(days=30))
        assert session.scalar(sa.select(sa.func.count()).select_from(Letter)) == 1
        purge_letters(session, NOW + timedelta(days=33))
        assert session.scalar(sa.select(sa.func.count()).select_from(Letter)) == 0


def test_no_token_stands_in_the_database(sessions: Sessions, post: Post, dump: Callable[[], str]) -> None:
    with sessions.writing() as session:
        person(session, "mira@example.org")
    ask(sessions, "reset", "mira@example.org")
    token = link(post.send()[0], "/reset/")
    assert token_sha256(token) in dump()
    assert token not in dump()


@pytest.fixture
def dump(sessions: Sessions) -> Callable[[], str]:
    def all_letters() -> str:
        with sessions.reading() as session:
            return str(session.execute(sa.select(Letter.__table__)).all())

    return all_letters


def test_letters_that_were_ended_stay_here(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        actor, _ = person(session, "mira@example.org")
    checked = proof(sessions, "mira@example.org")
    with sessions.writing() as session:
        doors.ask_new_email(session, actor, checked=checked, email="vera@example.org", now=NOW)
    with sessions.writing() as session:
        about = session.scalar(sa.select(Letter.about).limit(1))
        end_letters(session, Letter.about == about, now=NOW)
    assert post.send() == []


def test_a_mail_to_somebody_else_s_address_lets_nobody_choose_their_password(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        actor, _ = person(session, "mira@example.org")
        person(session, "vera@example.org")
    checked = proof(sessions, "mira@example.org")
    with sessions.writing() as session:
        doors.ask_new_email(session, actor, checked=checked, email="vera@example.org", now=NOW)
    assert len(post.send()) == 2
    with sessions.reading() as session:
        assert set(session.scalars(sa.select(Letter.user_id))) == {actor.user_id}, "still the letters of who asked"


def test_a_subject_takes_no_second_line_from_a_name(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        session.execute(sa.text("UPDATE accounts SET name = :name"), {"name": "Mine\r\nBcc: all@example.org"})
        team.invite(session, owner, email="vera@example.org", role="viewer", days=1, now=NOW, by_mail=True)
    (mail,) = post.send()
    head = mail.partition("\n\n")[0]
    assert "\nBcc:" not in head
    assert "To: vera@example.org" in head


def test_who_is_removed_or_given_another_role_is_told_by_mail(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        vera, _ = joined(session, owner, "vera@example.org", "viewer")
        team.change_role(session, owner, user_ref=vera.user_ref, role="manager", now=NOW)
        team.remove_member(session, owner, user_ref=vera.user_ref, now=NOW)
        team.restore_member(session, owner, user_ref=vera.user_ref, now=NOW)
    mails = post.send()
    assert all("To: vera@example.org" in mail for mail in mails)
    subjects = sorted(re.findall(r"^Subject: (.*)$", "\n".join(mails), re.MULTILINE))
    assert subjects == [
        "You are a manager of example.org now",
        "You belong to example.org again",
        "You do not belong to example.org any more",
    ]


def test_what_goes_to_many_lets_what_one_person_waits_for_go_first(sessions: Sessions) -> None:
    with sessions.writing() as session:
        for number in range(3):
            write_letter(session, "status_told", email=f"{number}@example.net", lasts=HOUR, words={}, now=NOW - HOUR / 2)
    ask(sessions, "reset", "mira@example.org")
    with sessions.writing() as session:
        assert [letter.kind for letter in claim_letters(session, most=2, now=NOW)] == ["reset", "status_told"]
