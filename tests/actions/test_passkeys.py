"""Passkeys: whole by themselves, asked for after a password, answered once; and what is told of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.actions import factors, passkeys
from core.actions.accounts import NewSignIn, sign_in, token_sha256
from core.actions.passwords import check_password, kept_of
from core.actions.policy import Actor, NotAllowed, Refused
from core.envelope import KeyFile
from core.passkeys import Asked
from core.store.accounts import User, signed_in
from core.store.db import Sessions
from core.store.factors import codes_left, half_signed_in, has_factor
from core.store.letters import Letter
from core.store.passkeys import MOST, PasskeyQuestion, held_by, passkeys_of
from tests.make import NOW, TERMINAL
from tests.passkeys import Device, site
from tests.people import PASSWORD, joined, person, proof, shown

EMAIL = "mira@example.org"
SITE = site()


@dataclass
class Holder:
    """Somebody with a passkey."""

    sessions: Sessions
    actor: Actor
    token: str
    device: Device = field(default_factory=Device)
    codes: list[str] = field(default_factory=list)

    def ask(self, now: datetime = NOW) -> Asked:
        checked = proof(self.sessions, EMAIL)
        with self.sessions.writing() as session:
            return passkeys.ask_to_add_passkey(session, self.actor, checked=checked, site=SITE, now=now)

    def add(self, device: Device, name: str = "Laptop", now: datetime = NOW) -> list[str]:
        asked = self.ask(now)
        return self.keep(asked, device.make(asked.options), name, now)

    def keep(self, asked: Asked, answer: str, name: str = "Laptop", now: datetime = NOW) -> list[str]:
        with self.sessions.writing() as session:
            return passkeys.add_passkey(
                session, self.actor, challenge=asked.challenge, answer=answer, name=name, site=SITE, keep=0, now=now
            )

    def question(self, half: str = "", now: datetime = NOW) -> Asked:
        with self.sessions.writing() as session:
            halfway = half_signed_in(session, token_sha256(half), now) if half else None
            return passkeys.ask_for_passkey(session, half=halfway, site=SITE, now=now)

    def enter(self, asked: Asked, answer: str = "", now: datetime = NOW) -> NewSignIn | None:
        with self.sessions.writing() as session:
            return passkeys.enter_by_passkey(
                session, challenge=asked.challenge, answer=answer or self.device.sign(asked.options), site=SITE, now=now
            )


@pytest.fixture
def holder(sessions: Sessions) -> Holder:
    with sessions.writing() as session:
        made = Holder(sessions, *person(session, EMAIL))
    made.codes = made.add(made.device)
    return made


def mailed(sessions: Sessions) -> list[str]:
    with sessions.reading() as session:
        return [letter.words["subject"] for letter in session.scalars(sa.select(Letter).order_by(Letter.id)) if letter.kind == "told"]


def test_a_passkey_signs_in_by_itself_once_for_each_question(holder: Holder) -> None:
    asked = holder.question()
    answer = holder.device.sign(asked.options)
    fresh = holder.enter(asked, answer)
    assert fresh is not None
    assert not fresh.factor_due
    with holder.sessions.reading() as session:
        found = signed_in(session, token_sha256(fresh.token), NOW)
        assert found is not None
        assert (found.email, found.has_factor) == (EMAIL, True)
        assert passkeys_of(session, found.user_id)[0].last_used_at == NOW
    with pytest.raises(Refused, match="answered already"):
        holder.enter(asked, answer)
    late = holder.question()
    with pytest.raises(Refused, match="took too long"):
        holder.enter(late, now=NOW + timedelta(minutes=5))


def test_one_answer_lets_one_of_six_in_who_come_at_once(holder: Holder) -> None:
    asked = holder.question()
    answer = holder.device.sign(asked.options)
    came: list[bool] = []

    def come() -> None:
        try:
            came.append(holder.enter(asked, answer) is not None)
        except Refused:
            came.append(False)

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == [False] * 5 + [True]


def test_the_first_makes_passwords_half_brings_codes_ends_other_sign_ins_and_is_told(holder: Holder) -> None:
    assert len(holder.codes) == 10
    with holder.sessions.reading() as session:
        assert signed_in(session, token_sha256(holder.token), NOW) is None, "it was another sign-in"
        assert mailed(holder.sessions) == ["A passkey was added: Laptop"]
    with holder.sessions.writing() as session:
        half = sign_in(session, checked=check_password(kept_of(session, EMAIL), PASSWORD), now=NOW)
        assert half is not None
        assert half.factor_due
    assert holder.add(Device(), name=" \x07My\u202e phone ") == [], "codes come with the first"
    with holder.sessions.reading() as session:
        assert [each.name for each in passkeys_of(session, holder.actor.user_id or 0)] == ["Laptop", "My phone"]


def test_after_a_password_the_passkey_of_that_person_alone_is_taken(holder: Holder) -> None:
    with holder.sessions.writing() as session:
        other, _ = joined(session, holder.actor, "vera@example.org", "viewer")
    with holder.sessions.writing() as session:
        half = sign_in(session, checked=check_password(kept_of(session, EMAIL), PASSWORD), now=NOW)
        assert half is not None
    asked = holder.question(half.token)
    assert held_by_options(asked) == 1
    with holder.sessions.writing() as session:  # as if it were hers
        session.execute(sa.update(PasskeyQuestion).where(PasskeyQuestion.challenge == asked.challenge).values(user_id=other.user_id))
    assert holder.enter(asked) is None
    again = holder.question(half.token)
    assert holder.enter(again) is not None
    with holder.sessions.reading() as session:
        assert half_signed_in(session, token_sha256(half.token), NOW) is None, "the half is over"


def held_by_options(asked: Asked) -> int:
    return asked.options.count('"public-key"')


def test_what_is_not_known_or_says_it_is_anothers_opens_nothing(holder: Holder) -> None:
    stranger = Device()
    for device, changed in ((stranger, {}), (holder.device, {"userHandle": "bm9ib2R5"})):
        asked = holder.question()
        assert holder.enter(asked, device.sign(asked.options, **changed)) is None
        with pytest.raises(Refused):
            holder.enter(asked)
    holder.device.flags = 0x01
    assert holder.enter(holder.question()) is None, "nobody looked at who holds it"
    holder.device.flags = 0x05
    with holder.sessions.writing() as session:
        session.execute(sa.update(User).values(deleted_at=NOW))
    assert holder.enter(holder.question()) is None, "its person is gone"


def test_a_count_that_goes_back_opens_nothing(holder: Holder) -> None:
    holder.device.count = 7
    assert holder.enter(holder.question()) is not None
    assert holder.enter(holder.question()) is None, "a copy"
    holder.device.count = 8
    assert holder.enter(holder.question()) is not None


def test_it_is_taken_away_by_the_password_and_codes_go_with_the_last(holder: Holder) -> None:
    user_id, sessions = holder.actor.user_id or 0, holder.sessions
    second = Device()
    holder.add(second, name="Phone")
    with sessions.reading() as session:
        refs = [each.ref for each in passkeys_of(session, user_id)]
    wrong, right = proof(sessions, EMAIL, "wrong"), proof(sessions, EMAIL)
    with sessions.writing() as session, pytest.raises(Refused, match="not your password"):
        passkeys.remove_passkey(session, holder.actor, ref=refs[0], checked=wrong, now=NOW)
    with sessions.writing() as session:
        assert passkeys.remove_passkey(session, holder.actor, ref=refs[0], checked=right, now=NOW) == "Laptop"
        assert codes_left(session, user_id) == 10
    assert holder.enter(holder.question()) is None
    asked = holder.question()
    assert holder.enter(asked, second.sign(asked.options)) is not None
    with sessions.writing() as session:
        passkeys.remove_passkey(session, holder.actor, ref=refs[1], checked=right, now=NOW)
        assert (codes_left(session, user_id), has_factor(session, user_id)) == (0, False)
    with sessions.writing() as session, pytest.raises(Refused, match="gone already"):
        passkeys.remove_passkey(session, holder.actor, ref=refs[1], checked=right, now=NOW)


@pytest.mark.slow
def test_only_its_own_person_adds_one_and_only_to_what_was_asked_of_them(holder: Holder) -> None:
    asked = holder.ask()
    with holder.sessions.writing() as session:
        other, _ = joined(session, holder.actor, "vera@example.org", "viewer")
    answer = Device().make(asked.options)
    with holder.sessions.writing() as session, pytest.raises(Refused, match="took too long"):
        passkeys.add_passkey(session, other, challenge=asked.challenge, answer=answer, name="", site=SITE, keep=0, now=NOW)
    with pytest.raises(Refused, match="known here already"):
        holder.keep(asked, holder.device.make(asked.options))
    with pytest.raises(Refused, match="does not fit"):
        holder.keep(asked, Device(origin="http://localhost.example").make(asked.options))
    with pytest.raises(Refused, match="took too long"):
        holder.keep(holder.question(), answer)
    theirs = Asked(asked.challenge, holder.question().options.replace(holder.question().challenge, asked.challenge))
    with pytest.raises(Refused, match="took too long"):
        holder.enter(theirs, holder.device.sign(theirs.options))
    with holder.sessions.writing() as session, pytest.raises(NotAllowed):
        passkeys.add_passkey(session, TERMINAL, challenge=asked.challenge, answer=answer, name="", site=SITE, keep=0, now=NOW)


@pytest.mark.slow
def test_nobody_has_more_than_enough(holder: Holder) -> None:
    for number in range(MOST - 1):
        holder.add(Device(), name=str(number))
    with pytest.raises(Refused, match=f"{MOST} passkeys already"):
        holder.ask()
    with holder.sessions.reading() as session:
        assert len(held_by(session, holder.actor.user_id or 0)) == MOST


@pytest.mark.slow
def test_beside_an_app_each_remains_when_the_other_goes_and_the_terminal_drops_both(holder: Holder, tmp_path: Path) -> None:
    keys, user_id, sessions = KeyFile(tmp_path / "wrapping-keys"), holder.actor.user_id or 0, holder.sessions
    checked = proof(sessions, EMAIL)

    def with_app(at: datetime) -> list[str]:
        with sessions.writing() as session:
            app = factors.begin_app(session, holder.actor, checked=checked, keys=keys, now=at)
        with sessions.writing() as session:
            return factors.confirm_app(session, holder.actor, keys=keys, code=shown(app.secret, at), keep=0, now=at)

    assert with_app(NOW) == [], "codes were there"
    with sessions.writing() as session:
        factors.give_up_app(session, holder.actor, checked=checked, now=NOW)
        assert (has_factor(session, user_id), codes_left(session, user_id)) == (True, 10)
    with_app(NOW + timedelta(minutes=1))
    with sessions.writing() as session:
        factors.drop_factor(session, TERMINAL, email=EMAIL, now=NOW)
        assert (has_factor(session, user_id), codes_left(session, user_id), passkeys_of(session, user_id)) == (False, 0, [])
    assert holder.enter(holder.question()) is None


def test_questions_that_ran_out_are_not_kept(holder: Holder) -> None:
    for _ in range(3):
        holder.question()
    holder.question(now=NOW + timedelta(hours=1))
    with holder.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(PasskeyQuestion)) == 1
