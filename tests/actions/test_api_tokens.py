"""Tokens end at once when they should, are counted, and are kept nowhere in clear."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.actions.accounts import token_sha256
from core.actions.api_tokens import MOST_LIVE, NewToken, make_token, note_token_use, revoke_token
from core.actions.policy import Actor, Refused
from core.store.accounts import Account, Membership, User
from core.store.db import Sessions
from core.store.tokens import ApiToken, Bearer, bearer_of, tokens_of
from tests.make import NOW, make_actor

BOTH = ("read:domains", "read:certificates")


def fresh(sessions: Sessions, email: str = "mira@example.org") -> tuple[Actor, NewToken]:
    with sessions.writing() as session:
        actor = make_actor(session, email)
        return actor, make_token(session, actor, name=" wall ", days=30, scopes=BOTH, now=NOW)


def bearer(sessions: Sessions, token: str, days: int = 0) -> Bearer | None:
    with sessions.reading() as session:
        return bearer_of(session, token_sha256(token), NOW + timedelta(days=days))


def test_a_token_speaks_for_its_maker_until_its_end_with_the_role_they_have_now(sessions: Sessions) -> None:
    actor, made = fresh(sessions)
    found = bearer(sessions, made.token, 29)
    assert found is not None
    assert (found.user_id, found.account_id, found.role, found.scopes) == (actor.user_id, actor.account_id, "owner", BOTH)
    assert bearer(sessions, made.token, 30) is None
    with sessions.writing() as session:
        session.execute(sa.update(Membership).where(Membership.user_id == actor.user_id).values(role="viewer"))
    after = bearer(sessions, made.token)
    assert after is not None
    assert after.role == "viewer"


@pytest.mark.parametrize("table", [Membership, User, Account])
def test_it_ends_with_its_person_their_membership_or_the_account(sessions: Sessions, table: type[Membership | User | Account]) -> None:
    _, made = fresh(sessions)
    with sessions.writing() as session:
        session.execute(sa.update(table).values(deleted_at=NOW))
    assert bearer(sessions, made.token) is None


def test_its_maker_and_owners_revoke_it_and_nobody_else(sessions: Sessions) -> None:
    actor, made = fresh(sessions)
    stranger, _ = fresh(sessions, "eve@elsewhere.example")
    manager = Actor(stranger.user_id, stranger.user_ref, actor.account_id, actor.account_ref, "manager")
    with sessions.writing() as session:
        assert revoke_token(session, stranger, ref=made.ref, now=NOW) is None
        assert revoke_token(session, manager, ref=made.ref, now=NOW) is None
        own = make_token(session, manager, name="own", days=30, scopes=BOTH, now=NOW)
        assert revoke_token(session, actor, ref=own.ref, now=NOW) == "own"
    assert bearer(sessions, made.token) is not None
    with sessions.writing() as session:
        assert revoke_token(session, actor, ref=made.ref, now=NOW) == "wall"
        assert tokens_of(session, actor.account_id or 0, NOW) == ()
    assert bearer(sessions, made.token) is None


@pytest.mark.parametrize(
    ("name", "days", "scopes", "field"),
    [
        ("", 30, BOTH, "name"),
        ("x" * 65, 30, BOTH, "name"),
        ("a\u200bb", 30, BOTH, "name"),
        ("a", 31, BOTH, "days"),
        ("a", 30, (), "scope"),
        ("a", 30, ("write:all",), "scope"),
    ],
)
def test_what_cannot_be_is_refused(sessions: Sessions, name: str, days: int, scopes: tuple[str, ...], field: str) -> None:
    with sessions.writing() as session, pytest.raises(Refused, match="Nothing was made") as refused:
        make_token(session, make_actor(session), name=name, days=days, scopes=scopes, now=NOW)
    assert refused.value.field == field


def test_a_person_has_so_many_and_no_more(sessions: Sessions) -> None:
    actor, _ = fresh(sessions)
    with sessions.writing() as session:
        for number in range(MOST_LIVE - 1):
            make_token(session, actor, name=str(number), days=30, scopes=BOTH, now=NOW)
        with pytest.raises(Refused, match="which is the most"):
            make_token(session, actor, name="one more", days=30, scopes=BOTH, now=NOW)
        make_token(session, actor, name="when they ended", days=30, scopes=BOTH, now=NOW + timedelta(days=30))


def test_its_use_is_written_once_a_minute(sessions: Sessions) -> None:
    fresh(sessions)
    with sessions.writing() as session:
        row = session.scalars(sa.select(ApiToken)).one()
        for second in (0, 59, 60):
            note_token_use(session, token_id=row.id, network=f"net {second}", now=NOW + timedelta(seconds=second))
            session.refresh(row)
            assert row.last_network == ("net 0" if second < 60 else "net 60")
