"""A whole portal over a real SQLite file, with people of every role."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy.orm import Session
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from audit.keeper import Keeper
from audit.tables import OutboxEvent
from core.actions.accounts import accept_welcome, create_user
from core.actions.passwords import hash_password
from core.actions.policy import Actor
from core.backups.plan import Plan
from core.envelope import FILE, KeyFile
from core.store.accounts import LoginSession, Membership, User, user_by_email
from core.store.base import new_ref
from core.store.db import Sessions, make_engine
from portal import Parts, create_app
from portal.limits import limiter
from tests.make import NOW, TERMINAL, make_watches

Builder = Callable[..., tuple[str, str]]
_builders: dict[tuple[object, ...], Builder] = {}
_compile_builder = Rule._compile_builder


def _compiled_once(rule: Rule, append_unknown: bool = True) -> Builder:
    """What builds a rule's URLs, compiled for the first of a process's hundreds of portals: it depends on nothing but this."""
    key = (append_unknown, rule.rule, tuple(rule._trace), repr(rule.defaults))
    if key not in _builders:
        _builders[key] = _compile_builder(rule, append_unknown)
    return _builders[key]


Rule._compile_builder = _compiled_once  # type: ignore[method-assign,assignment]  # two hundred rules are a third of what a portal costs to make

PASSWORD = "correct horse battery"
PEOPLE = {"owner": "mira@example.org", "stranger": "eve@elsewhere.example", "manager": "max@example.org", "viewer": "vera@example.org"}


@dataclass
class Site:
    """A portal, its database, and clients who act as somebody."""

    app: Flask
    sessions: Sessions
    actors: dict[str, Actor]
    tokens: dict[str, str]

    def client(self, role: str = "nobody") -> FlaskClient:
        client = self.app.test_client()
        if role != "nobody":
            with client.session_transaction() as session:
                session["_user_id"] = self.tokens[role]
        return client

    def add(self, *names: str, role: str = "owner", now: datetime = NOW) -> list[str]:
        with self.sessions.writing() as session:
            return [added.ref for added in make_watches(session, self.actors[role], *names, now=now)]


def token_of(client: FlaskClient, path: str = "/sign-in") -> str:
    """The token that a page carries for its forms."""
    page = client.get(path, follow_redirects=True).text
    with client.session_transaction() as session:
        kept = "csrf_token" in session
    found = re.search(r'name="csrf-token" content="([^"]+)"', page)
    assert kept
    assert found is not None
    return found[1]


def token_for(client: FlaskClient) -> str:
    """The token that any page would carry for this client's forms, without drawing one: it is what a test of a form looks at last."""
    with client.session_transaction() as session:
        kept = session.setdefault("csrf_token", secrets.token_hex(20))
    return str(URLSafeTimedSerializer(client.application.secret_key or "", salt="wtf-csrf-token").dumps(kept))


def post(client: FlaskClient, path: str, data: dict[str, str | list[str]] | None = None, **headers: str) -> TestResponse:
    """A form as a browser posts it, token included."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, data={"csrf_token": token_for(client)} | (data or {}), headers=names)


def forget_tries() -> None:
    """Doors may be tried anew. Without a broker tries are counted in this process, and before the first one there is nothing to forget."""
    with contextlib.suppress(redis.RedisError):
        limiter.limiter.storage.reset()


def _join(session: Session, actors: dict[str, Actor], tokens: dict[str, str], role: str) -> None:
    email = PEOPLE[role]
    link = create_user(session, TERMINAL, email=email, operator=False, now=NOW)
    tokens[role] = accept_welcome(session, token=link, password_hash=hash_password(PASSWORD), now=NOW).token
    user = session.scalars(sa.select(User).where(User.email == email)).one()
    membership = session.scalars(sa.select(Membership).where(Membership.user_id == user.id)).one()
    if role in {"manager", "viewer"}:  # they join the owner's account
        membership.account_id, membership.role = actors["owner"].account_id or 0, role
        sign_in = session.scalars(sa.select(LoginSession).where(LoginSession.user_id == user.id)).one()
        sign_in.account_id = membership.account_id
        ref = actors["owner"].account_ref
    else:
        ref = account_ref(session, email)
    actors[role] = Actor(user.id, user.ref, membership.account_id, ref, membership.role)


def account_ref(session: Session, email: str) -> str:
    from core.store.accounts import Account, first_account

    user = user_by_email(session, email)
    assert user is not None
    account = session.get(Account, first_account(session, user.id))
    assert account is not None
    return account.ref


@dataclass(frozen=True)
class People:
    """A database in which everybody is, to be copied: passwords are dear to hash, on purpose."""

    path: Path
    actors: dict[str, Actor]
    tokens: dict[str, str]


@pytest.fixture(scope="session")
def people(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> People:
    path = tmp_path_factory.mktemp("people") / "people.db"
    shutil.copy(migrated_sqlite, path)
    actors, tokens = _gather(Sessions(make_engine(f"sqlite:///{path}")))
    return People(path, actors, tokens)


def _gather(sessions: Sessions) -> tuple[dict[str, Actor], dict[str, str]]:
    actors: dict[str, Actor] = {}
    tokens: dict[str, str] = {}
    with sessions.writing() as session:
        for role in PEOPLE:
            _join(session, actors, tokens, role)
    with sessions.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    sessions.engine.dispose()
    return actors, tokens


@pytest.fixture
def parts(people: People, tmp_path: Path) -> Parts:
    shutil.copy(people.path, tmp_path / "portal.db")
    return Parts(
        database_url=f"sqlite:///{tmp_path / 'portal.db'}",
        redis_url="unix:///nowhere/broker.sock",
        secret_key=new_ref() * 2,
        public_url="http://localhost",
        production=False,
        trusted_proxies=0,
        scan_allow_accounts=(),
        mail_is_kept=False,
        now=lambda: NOW + timedelta(minutes=1),
        keys=KeyFile(tmp_path / FILE),
        plan=Plan(tmp_path, production=False, database_url="sqlite:///:memory:"),
    )


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(parts: Parts, people: People) -> Iterator[MakeSite]:
    made: list[Sessions] = []

    def make(**changed: object) -> Site:
        app = create_app(replace(parts, **changed))  # type: ignore[arg-type]  # fields by name
        sessions: Sessions = app.extensions["keychest"].sessions
        made.append(sessions)
        if sessions.engine.url.render_as_string(hide_password=False) == parts.database_url:
            return Site(app, sessions, dict(people.actors), dict(people.tokens))
        return Site(app, sessions, *_gather(sessions))

    yield make
    for sessions in made:
        sessions.engine.dispose()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


@pytest.fixture
def logged(make_site: MakeSite, keeper: Keeper) -> Site:
    """A portal whose log's folder is there, with nothing in it yet, and nothing that waits."""
    site = make_site(log_folder=keeper.public)
    with site.sessions.writing() as session:
        session.execute(sa.delete(OutboxEvent))
    return site
