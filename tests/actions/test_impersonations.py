"""Operators who look at an account for its owners: announced, bounded, and reading alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions.accounts import sign_out, token_sha256
from core.actions.impersonations import LASTS, begin_impersonation, end_impersonation, settle_impersonations
from core.actions.operators import disable_user
from core.actions.policy import (
    WHILE_IMPERSONATING,
    Actor,
    NotAllowed,
    Permission,
    Refused,
    permissions,
    require,
    require_installation,
    require_person,
)
from core.store.accounts import LoginSession, User, signed_in
from core.store.db import Sessions
from core.store.impersonations import Impersonation, looks_at
from core.store.letters import Letter
from tests.make import NOW, TERMINAL
from tests.people import joined, person, proof

REASON = "They ask why\ntheir shop is told as not reached"
WORKER = Actor(worker=True)


def begun(sessions: Sessions) -> tuple[Actor, str, Actor]:
    """An operator who looks at an account, the token of their sign-in, and the account's owner."""
    with sessions.writing() as session:
        ops, token = person(session, "ops@example.net")
        session.execute(sa.update(User).where(User.id == ops.user_id).values(installation_role="operator"))
        mira, _ = person(session, "mira@example.org")
        joined(session, mira, "vera@example.org", "viewer")
    ops = Actor(ops.user_id, ops.user_ref, ops.account_id, ops.account_ref, "owner", "operator")
    checked, wrong = proof(sessions, "ops@example.net"), proof(sessions, "ops@example.net", "not the password")
    with sessions.writing() as session:
        mine = session.scalars(sa.select(LoginSession.id).where(LoginSession.token_sha256 == token_sha256(token))).one()

        def begin(actor: Actor = ops, ref: str = mira.account_ref, reason: str = REASON, *, right: bool = True) -> str | None:
            return begin_impersonation(
                session, actor, account_ref=ref, reason=reason, sign_in_id=mine, checked=checked if right else wrong, now=NOW
            )

        acts: tuple[Callable[[], object], ...] = (
            lambda: begin(reason=" too   short "),
            lambda: begin(reason="x" * 301),
            lambda: begin(right=False),
            lambda: begin(ref=ops.account_ref),
        )
        for act in acts:
            with pytest.raises(Refused):
                act()
        with pytest.raises(NotAllowed):
            begin(Actor(ops.user_id, ops.user_ref, installation_role="auditor"))
        with pytest.raises(NotAllowed):
            begin(Actor(ops.user_id, ops.user_ref, installation_role="operator", unproven=True))
        assert begin(ref="nowhere") is None
        assert session.scalar(sa.select(sa.func.count()).select_from(Letter)) == 0
        assert begin() == "example.org"
        with pytest.raises(Refused):
            begin()
    return ops, token, mira


def looks(sessions: Sessions, token: str, minutes: float = 1, *, factor_needed: bool = False) -> bool:
    with sessions.reading() as session:
        seen = signed_in(session, token_sha256(token), NOW + timedelta(minutes=minutes), factor_needed=factor_needed)
    return seen is not None and seen.look is not None


@pytest.mark.slow
def test_a_look_is_announced_reads_as_a_viewer_and_is_ended_by_a_button(sessions: Sessions) -> None:
    ops, token, mira = begun(sessions)
    with sessions.writing() as session:
        seen = signed_in(session, token_sha256(token), NOW)
        assert seen is not None
        assert (seen.user_ref, seen.account_ref, seen.role) == (ops.user_ref, mira.account_ref, "viewer")
        [letter] = session.scalars(sa.select(Letter)).all()
        assert letter.email == "mira@example.org"
        assert "They ask why their shop is told as not reached" in letter.words["text"]
        assert [(each.reason, each.until) for each in looks_at(session, mira.account_id or 0, NOW, most=3)] == [
            ("They ask why their shop is told as not reached", NOW + LASTS)
        ]
        row = session.scalars(sa.select(Impersonation)).one()
        assert not end_impersonation(session, Actor(mira.user_id, installation_role="operator"), sign_in_id=row.sign_in_id, now=NOW)
        assert end_impersonation(session, ops, sign_in_id=row.sign_in_id, now=NOW)
        assert not end_impersonation(session, ops, sign_in_id=row.sign_in_id, now=NOW)
        events = session.scalars(sa.select(OutboxEvent).where(OutboxEvent.kind.startswith("impersonation")).order_by(OutboxEvent.id)).all()
        assert [(each.actor, each.account_ref, each.public) for each in events] == [
            (ops.name, mira.account_ref, {"access": row.ref, "minutes": 30}),
            (ops.name, mira.account_ref, {"access": row.ref, "by": "button"}),
        ]
        assert {each.private["reason"] for each in events} == {letter.words["text"].partition("they gave: ")[2].partition("\n")[0]}
        after = signed_in(session, token_sha256(token), NOW)
        assert after is not None
        assert (after.account_ref, after.role, after.look) == (ops.account_ref, "owner", None)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["time", "sign_out", "disabled", "role"])
def test_it_ends_by_itself_and_that_is_written_down(sessions: Sessions, how: str) -> None:
    ops, token, _ = begun(sessions)
    assert looks(sessions, token)
    assert looks(sessions, token, 29.9)
    assert not looks(sessions, token, factor_needed=True)
    at = NOW + (timedelta(minutes=31) if how == "time" else timedelta(minutes=1))
    with sessions.writing() as session:
        assert settle_impersonations(session, WORKER, now=NOW + timedelta(minutes=1)) == 0
        sign_in = session.scalars(sa.select(Impersonation.sign_in_id)).one()
        if how == "sign_out":
            sign_out(session, ops, session_id=sign_in, now=at)
        if how == "disabled":
            session.execute(sa.update(User).where(User.email == "mira@example.org").values(installation_role="operator"))
            disable_user(session, TERMINAL, user_ref=ops.user_ref, now=at)
        if how == "role":
            session.execute(sa.update(User).where(User.id == ops.user_id).values(installation_role="auditor"))
    assert not looks(sessions, token, 31 if how == "time" else 1)
    with sessions.writing() as session:
        assert settle_impersonations(session, WORKER, now=at) == 1
        assert settle_impersonations(session, WORKER, now=at) == 0
        assert session.scalars(sa.select(Impersonation.ended_at)).one() == (NOW + LASTS if how == "time" else at)
        with pytest.raises(NotAllowed):
            settle_impersonations(session, ops, now=at)


def test_while_it_goes_on_nothing_but_reading_and_ending_is_allowed() -> None:
    looking = Actor(1, "u", 1, "a", "viewer", "operator", impersonating=True)
    for permission in Permission:
        asked = require_installation if permission in {Permission.SEE_OPERATIONS, Permission.OPERATE, Permission.IMPERSONATE} else require
        if permission in WHILE_IMPERSONATING:
            asked(looking, permission)
        else:
            with pytest.raises(NotAllowed):
                asked(looking, permission)
    with pytest.raises(NotAllowed, match="change nothing"):
        require_person(looking)
    assert permissions(looking) == WHILE_IMPERSONATING
