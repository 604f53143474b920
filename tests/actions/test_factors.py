"""The second factor: codes that work once, halves of sign-ins, recovery codes, and secrets at rest."""

from __future__ import annotations

import base64
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions import doors, factors
from core.actions.accounts import NewSignIn, sign_in, token_sha256
from core.actions.letters import write_letter
from core.actions.passwords import check_password, kept_of
from core.actions.policy import Actor, NotAllowed, Refused
from core.backups.secret_kinds import WRAPPING_KEYS
from core.envelope import KeyFile, NotOpenedError
from core.store.accounts import signed_in
from core.store.db import Sessions
from core.store.factors import Factor, RecoveryCode, codes_left, factor_place, half_signed_in
from core.store.letters import Letter
from tests.make import NOW, TERMINAL
from tests.people import HASH, person, proof, shown

EMAIL = "mira@example.org"
STEP = timedelta(seconds=30)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "wrapping-keys")


def set_up(sessions: Sessions, keys: KeyFile, at: datetime = NOW) -> tuple[Actor, str, list[str]]:
    """Somebody with an app, its secret, and their recovery codes."""
    with sessions.writing() as session:
        actor, _ = person(session, EMAIL)
    checked = proof(sessions, EMAIL)
    with sessions.writing() as session:
        app = factors.begin_app(session, actor, checked=checked, keys=keys, now=at)
    with sessions.writing() as session:
        codes = factors.confirm_app(session, actor, keys=keys, code=shown(app.secret, at), keep=0, now=at)
    return actor, app.secret, codes


def enter(session: Session, at: datetime) -> NewSignIn:
    fresh = sign_in(session, checked=check_password(kept_of(session, EMAIL), "four or five words"), now=at)
    assert fresh is not None
    return fresh


def test_with_an_app_a_password_is_half_a_sign_in_and_its_code_the_rest(sessions: Sessions, keys: KeyFile) -> None:
    _, secret, _ = set_up(sessions, keys)
    later = NOW + STEP
    with sessions.writing() as session:
        half = enter(session, later)
        assert half.factor_due
        assert signed_in(session, token_sha256(half.token), later) is None
        assert half_signed_in(session, token_sha256(half.token), later) is not None
        whole = factors.pass_factor(session, token_sha256=token_sha256(half.token), code=shown(secret, later), keys=keys, now=later)
        assert whole is not None
        assert whole.token != half.token
        assert signed_in(session, token_sha256(whole.token), later) is not None
        assert signed_in(session, token_sha256(half.token), later) is None
        with pytest.raises(Refused, match="Sign in again"):
            factors.pass_factor(session, token_sha256=token_sha256(half.token), code="000000", keys=keys, now=later)


def test_a_code_works_once_and_none_before_it_works_any_more(sessions: Sessions, keys: KeyFile) -> None:
    _, secret, _ = set_up(sessions, keys)
    later = NOW + 3 * STEP

    def passes(code: str) -> bool:
        with sessions.writing() as session:
            half = enter(session, later)
            return factors.pass_factor(session, token_sha256=token_sha256(half.token), code=code, keys=keys, now=later) is not None

    assert passes(f" {shown(secret, later)[:3]} {shown(secret, later)[3:]} "), "as apps draw it"
    assert not passes(shown(secret, later)), "used"
    assert not passes(shown(secret, later - STEP)), "of a step before"
    assert passes(shown(secret, later + STEP)), "of a clock that is ahead"
    assert not passes(shown(secret, later + 2 * STEP)), "too far ahead"


@pytest.mark.slow
def test_one_code_lets_one_of_eight_in_who_come_at_once(sessions: Sessions, keys: KeyFile) -> None:
    _, secret, _ = set_up(sessions, keys)
    later = NOW + STEP
    halves = []
    for _ in range(8):
        with sessions.writing() as session:
            halves.append(enter(session, later).token)
    begin, let_in = threading.Barrier(8), []

    def come(token: str) -> None:
        begin.wait()
        with sessions.writing() as session:
            sha256 = token_sha256(token)
            let_in.append(factors.pass_factor(session, token_sha256=sha256, code=shown(secret, later), keys=keys, now=later))

    threads = [threading.Thread(target=come, args=(token,)) for token in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([fresh for fresh in let_in if fresh is not None]) == 1
    assert len(let_in) == 8


def test_after_five_wrong_codes_or_ten_minutes_the_half_is_over(sessions: Sessions, keys: KeyFile) -> None:
    _, secret, _ = set_up(sessions, keys)
    with sessions.writing() as session:
        tried, late = enter(session, NOW + STEP), enter(session, NOW + STEP)
        for code in ("", "123", "nonsense", "0" * 64, "\u0660" * 6):
            assert factors.pass_factor(session, token_sha256=token_sha256(tried.token), code=code, keys=keys, now=NOW + STEP) is None
        with pytest.raises(Refused, match="too often"):
            factors.pass_factor(session, token_sha256=token_sha256(tried.token), code=shown(secret, NOW + STEP), keys=keys, now=NOW + STEP)
        at = NOW + STEP + timedelta(minutes=10)
        with pytest.raises(Refused, match="too long"):
            factors.pass_factor(session, token_sha256=token_sha256(late.token), code=shown(secret, at), keys=keys, now=at)


@pytest.mark.slow
def test_beginning_anew_gives_nobody_more_tries_in_an_hour_and_recovery_codes_go_on_working(sessions: Sessions, keys: KeyFile) -> None:
    _, secret, codes = set_up(sessions, keys)
    at = NOW + STEP
    for _ in range(4):
        with sessions.writing() as session:
            half = enter(session, at)
            for _ in range(5):
                assert factors.pass_factor(session, token_sha256=token_sha256(half.token), code="000000", keys=keys, now=at) is None
    with sessions.writing() as session:
        half = enter(session, at)
    sha256 = token_sha256(half.token)
    with pytest.raises(Refused, match="Use a recovery code"), sessions.writing() as session:
        factors.pass_factor(session, token_sha256=sha256, code=shown(secret, at), keys=keys, now=at)
    with sessions.writing() as session:
        assert factors.pass_factor(session, token_sha256=sha256, code=codes[0], keys=keys, now=at) is not None
    later = at + timedelta(hours=1)
    with sessions.writing() as session:
        half = enter(session, later)
        code = shown(secret, later)
        assert factors.pass_factor(session, token_sha256=token_sha256(half.token), code=code, keys=keys, now=later) is not None


def test_a_recovery_code_stands_in_once(sessions: Sessions, keys: KeyFile) -> None:
    actor, _, codes = set_up(sessions, keys)
    assert len(set(codes)) == 10

    def passes(code: str) -> bool:
        with sessions.writing() as session:
            half = enter(session, NOW)
            return factors.pass_factor(session, token_sha256=token_sha256(half.token), code=code, keys=keys, now=NOW) is not None

    assert passes(codes[0].upper().replace("-", " "))
    assert not passes(codes[0])
    with sessions.reading() as session:
        assert codes_left(session, actor.user_id or 0) == 9
    checked = proof(sessions, EMAIL)
    with sessions.writing() as session:
        fresh = factors.new_codes(session, actor, checked=checked, now=NOW)
    assert not passes(codes[1]), "of the old ones"
    assert passes(fresh[1])


def test_setting_up_ends_other_sign_ins_and_needs_a_right_code(sessions: Sessions, keys: KeyFile) -> None:
    with sessions.writing() as session:
        actor, before = person(session, EMAIL)
    checked, wrong = proof(sessions, EMAIL), proof(sessions, EMAIL, "not this one at all")
    with pytest.raises(Refused, match="not your password"), sessions.writing() as session:
        factors.begin_app(session, actor, checked=wrong, keys=keys, now=NOW)
    with sessions.writing() as session:
        app = factors.begin_app(session, actor, checked=checked, keys=keys, now=NOW)
        assert factors.app_begun(session, actor, keys=keys) == app
        assert app.uri.startswith("otpauth://totp/KeyChest:")
        with pytest.raises(Refused, match="not the code"):
            factors.confirm_app(session, actor, keys=keys, code=shown(app.secret, NOW + 5 * STEP), keep=0, now=NOW)
        assert not enter(session, NOW).factor_due, "what is not confirmed does not count"
        factors.confirm_app(session, actor, keys=keys, code=shown(app.secret, NOW), keep=0, now=NOW)
        assert signed_in(session, token_sha256(before), NOW) is None
        with pytest.raises(Refused, match="already"):
            factors.begin_app(session, actor, checked=checked, keys=keys, now=NOW)


@pytest.mark.slow
def test_giving_it_up_needs_the_password_and_forgets_the_secret(sessions: Sessions, keys: KeyFile) -> None:
    actor, _, codes = set_up(sessions, keys)
    wrong = proof(sessions, EMAIL, "not this one at all")
    with sessions.writing() as session, pytest.raises(Refused, match="not your password"):
        factors.give_up_app(session, actor, checked=wrong, now=NOW)
    checked = proof(sessions, EMAIL)
    with sessions.writing() as session:
        factors.give_up_app(session, actor, checked=checked, now=NOW)
        assert not enter(session, NOW).factor_due
        assert set(session.scalars(sa.select(Factor.sealed))) == {""}
        assert session.scalars(sa.select(RecoveryCode.id).where(RecoveryCode.used_at.is_(None))).all() == []
    assert codes


def test_a_mailed_link_does_not_go_round_it(sessions: Sessions, keys: KeyFile) -> None:
    set_up(sessions, keys)
    with sessions.writing() as session:
        user_id = session.scalar(sa.select(Factor.user_id))
        write_letter(session, "reset", email=EMAIL, user_id=user_id, lasts=timedelta(hours=1), now=NOW)
        session.execute(sa.update(Letter).where(Letter.kind == "reset").values(token_sha256=token_sha256("mailed")))
        fresh = doors.reset_password(session, token="mailed", password_hash=HASH, now=NOW)
        assert fresh.factor_due
        assert signed_in(session, token_sha256(fresh.token), NOW) is None


def test_secrets_are_sealed_to_their_row_and_rotation_wraps_each_anew(sessions: Sessions, keys: KeyFile) -> None:
    _, secret, codes = set_up(sessions, keys)
    with sessions.writing() as session:
        other, _ = person(session, "vera@example.org")
    checked = proof(sessions, "vera@example.org")
    with sessions.writing() as session:
        factors.begin_app(session, other, checked=checked, keys=keys, now=NOW)
        rows = session.execute(sa.select(Factor.ref, Factor.sealed).order_by(Factor.id)).all()
        dump = str(session.execute(sa.select(Factor.__table__)).all()) + str(session.execute(sa.select(RecoveryCode.__table__)).all())
        with pytest.raises(NotOpenedError):
            keys.open(rows[0].sealed, factor_place(rows[1].ref))
        assert secret not in dump
        assert base64.b32decode(secret).hex() not in dump
        assert not [code for code in codes if code in dump or code.replace("-", "") in dump]
        with pytest.raises(NotAllowed):
            factors.rewrap_secrets(session, other, keys=keys, now=NOW)
    keys.rotate()
    with sessions.writing() as session:
        assert factors.rewrap_secrets(session, TERMINAL, keys=keys, now=NOW) == 2
    keys.path.write_bytes(keys.path.read_bytes().splitlines(keepends=True)[0])
    with sessions.writing() as session:
        half = enter(session, NOW + STEP)
        code = shown(secret, NOW + STEP)
        assert factors.pass_factor(session, token_sha256=token_sha256(half.token), code=code, keys=keys, now=NOW + STEP)


def test_the_recovery_kit_s_keys_open_them_and_others_do_not(sessions: Sessions, keys: KeyFile, tmp_path: Path) -> None:
    opens = WRAPPING_KEYS.unwraps
    assert opens is not None
    with sessions.reading() as session:
        assert opens(session, b"") == "", "there is nothing to open"
    set_up(sessions, keys)
    other = KeyFile(tmp_path / "others")
    other.rotate() if other.path.exists() else other.seal(b"", factor_place("x"))
    with sessions.reading() as session:
        assert opens(session, keys.path.read_bytes()) == ""
        assert "is not there" in opens(session, other.path.read_bytes())
        assert "damaged" in opens(session, b"")


@pytest.mark.slow
def test_the_terminal_helps_who_lost_device_and_codes(sessions: Sessions, keys: KeyFile) -> None:
    actor, _, codes = set_up(sessions, keys)
    with sessions.writing() as session:
        half = enter(session, NOW)
        with pytest.raises(NotAllowed):
            factors.drop_factor(session, actor, email=EMAIL, now=NOW)
        factors.drop_factor(session, TERMINAL, email=EMAIL.upper(), now=NOW)
        assert half_signed_in(session, token_sha256(half.token), NOW) is None
        assert not enter(session, NOW).factor_due
        assert set(session.scalars(sa.select(Factor.sealed))) == {""}
        with pytest.raises(Refused, match="no user with this address who has a second factor"):
            factors.drop_factor(session, TERMINAL, email=EMAIL, now=NOW)
    assert len(codes) == 10


def test_people_are_told_by_mail_what_was_done_to_their_factor(sessions: Sessions, keys: KeyFile) -> None:
    set_up(sessions, keys)
    with sessions.writing() as session:
        factors.drop_factor(session, TERMINAL, email=EMAIL, now=NOW)
        told = session.execute(sa.select(Letter.email, Letter.words).where(Letter.kind == "told").order_by(Letter.id)).all()
    assert [(email, words["subject"]) for email, words in told] == [
        (EMAIL, "KeyChest asks for a code now"),
        (EMAIL, "KeyChest asks for no second factor any more"),
    ]
