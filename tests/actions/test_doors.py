"""What people do by mail: a new password, coming in, another address. Links are read from the mails that leave."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions import doors, team
from core.actions.accounts import change_password, sign_in, token_sha256
from core.actions.letters import cancel_letters
from core.actions.passwords import Checked, check_password, hash_password, kept_of
from core.actions.policy import Actor, Refused
from core.backups.plan import Plan
from core.store.accounts import signed_in, user_by_email
from core.store.db import Sessions
from core.store.letters import Letter, letters_due, newest_about, purge_letters
from core.store.teams import invited
from jobs.context import Context
from jobs.letters import send_letters
from tests.actions.test_team import HASH, joined, person
from tests.make import NOW

HOUR = timedelta(hours=1)
OTHER = hash_password("another five words here")


@dataclass
class Post:
    """Sends letters into an outbox folder, at a time that tests set."""

    sessions: Sessions
    folder: Path
    at: datetime = NOW
    read: set[Path] = field(default_factory=set)
    smtp_url: str = ""

    def send(self) -> list[str]:
        """All that leaves now, as it is written, oldest first."""
        context = Context(
            sessions=self.sessions, now=lambda: self.at, data=self.folder, public_url="https://keys.example.org", scan_allow=(),
            scan_allow_accounts=(), extra_roots="", resolvers=(), scan_interval_s=1, scan_lease_s=1, smtp_url=self.smtp_url,
            mail_from="KeyChest <keychest@example.org>", plan=Plan(self.folder, production=False, database_url="sqlite:///:memory:"),
        )  # fmt: skip
        send_letters(context)
        fresh = set((self.folder / "outbox").glob("*.eml")) - self.read
        self.read |= fresh
        return [each.read_text() for each in sorted(fresh, key=lambda path: path.stat().st_mtime_ns)]


@pytest.fixture
def post(sessions: Sessions, tmp_path: Path) -> Post:
    return Post(sessions, tmp_path)


def link(mail: str, path: str) -> str:
    """The token of the only link below this path."""
    found = re.findall(rf"https://keys\.example\.org{path}(\S+)", mail.replace("=\n", ""))
    assert len(found) == 1, mail
    return str(found[0])


def ask(sessions: Sessions, kind: doors.AskedKind, email: str, at: datetime = NOW) -> None:
    with sessions.writing() as session:
        doors.ask_by_mail(session, kind, email=email, now=at)


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


def proven(sessions: Sessions, email: str, password: str = "four or five words") -> Checked:
    with sessions.reading() as session:
        kept = kept_of(session, email)
    return check_password(kept, password)


def change(sessions: Sessions, actor: Actor, email: str, at: datetime = NOW) -> None:
    checked = proven(sessions, "mira@example.org")
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
    wrong = proven(sessions, "mira@example.org", "not this one at all")
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


def test_what_cannot_be_sent_is_told_and_tried_again_with_another_link(sessions: Sessions, post: Post, tmp_path: Path) -> None:
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


def test_cancelled_letters_stay_here(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        actor, _ = person(session, "mira@example.org")
    change(sessions, actor, "vera@example.org")
    with sessions.writing() as session:
        about = session.scalar(sa.select(Letter.about).limit(1))
        cancel_letters(session, about=str(about), now=NOW)
    assert post.send() == []


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


def test_a_changed_password_and_address_are_told(sessions: Sessions, post: Post) -> None:
    with sessions.writing() as session:
        actor, _ = person(session, "mira@example.org")
    checked = proven(sessions, "mira@example.org")
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
