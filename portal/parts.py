"""What the portal is made of, and the request's own session: reading for all, and `acting()` for the one commit of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import sqlalchemy as sa
from flask import Flask, current_app, g, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Session

from core.backups.plan import Plan
from core.envelope import FILE, KeyFile
from core.net.optout import OptedOut
from core.oidc import Provider
from core.store.base import Base
from core.store.db import WRITING, Sessions, make_engine

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as operators see it. `value` is "" where it is secret or unset; `given`: somebody set it to something of their own."""

    name: str
    says: str
    value: str
    given: bool
    secret: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """All that the portal is handed. Fields that are named as in `config.Settings` mean the same."""

    database_url: str
    redis_url: str
    secret_key: str
    public_url: str
    production: bool
    trusted_proxies: int
    scan_allow_accounts: tuple[str, ...]
    mail_is_kept: bool
    now: Callable[[], datetime]
    opted_out: OptedOut = field(default_factory=OptedOut)
    spot_check: bool = True
    sign_up: str = "invitation"
    api_per_minute: int = 120
    demo: tuple[str, str] | None = None
    """Address and password of the demonstration's operator; None: this is none."""
    provider: Provider | None = None
    """Whom people may be vouched for by; None: nobody but themselves."""
    keys: KeyFile = field(default_factory=lambda: KeyFile(Path("var") / FILE))
    """What secrets that must come back are sealed with."""
    plan: Plan = field(default_factory=lambda: Plan(Path("var"), production=False, database_url="sqlite:///:memory:"))
    """What backups are made with, for the pages of those who run the installation."""
    settings: tuple[Setting, ...] = ()
    """Everything that can be set, for the page of those who run the installation. No secret is in it."""
    log_folder: Path = field(default_factory=lambda: Path("var") / "log" / "public")
    """The log's published files, which the sequencer writes and everybody may have."""
    status_folder: Path = field(default_factory=lambda: Path("var") / "status" / "public")
    """The status feed's published files, which everybody may have."""
    log_witnesses: tuple[tuple[str, str], ...] = ()
    """Who is asked to cosign the log's checkpoints: the key of each, as a vkey, and its address."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What an application keeps of its parts: `sessions` for what runs beside requests, as /healthz does."""

    parts: Parts
    sessions: Sessions
    redis_url: str


class _Database(SQLAlchemy):
    """Flask-SQLAlchemy over our own engines, which are set up alike in every process."""

    def _make_engine(self, bind_key: str | None, options: dict[str, Any], app: Flask) -> sa.Engine:  # noqa: ARG002 - its signature
        return make_engine(sa.make_url(options["url"]).render_as_string(hide_password=False))


def connect(app: Flask, parts: Parts) -> None:
    """Give the application its parts and its request-scoped session."""
    app.config["SQLALCHEMY_DATABASE_URI"] = parts.database_url
    database = _Database(app, model_class=Base, session_options={"expire_on_commit": False})
    app.extensions["keychest.database"] = database
    with app.app_context():
        app.extensions["keychest"] = Wiring(parts, Sessions(database.engine), parts.redis_url)


def parts() -> Parts:
    """The parts of the application that serves this request."""
    return cast("Wiring", current_app.extensions["keychest"]).parts


def now() -> datetime:
    """The time of this request: the same for all that it reads and writes."""
    if "now" not in g:
        g.now = parts().now()
    return cast("datetime", g.now)


def reading() -> Session:
    """The request's session, for questions. What is changed in it outside `acting` is rolled back when the request ends.

    An unsafe request begins as a writing one, since on SQLite a transaction that read first may not write later.
    """
    database: _Database = current_app.extensions["keychest.database"]
    session = database.session()
    if not session.in_transaction() and request.method not in SAFE_METHODS and "acted" not in g:
        session.connection(execution_options=WRITING)
    return session


def let_go() -> None:
    """End the request's transaction before another machine is asked: nobody waits for what it holds. The next question begins anew."""
    current_app.extensions["keychest.database"].session.rollback()


@contextmanager
def looking() -> Iterator[Session]:
    """A session of its own, for what must be known before the request acts: when the block ends, nothing is held any more."""
    with cast("Wiring", current_app.extensions["keychest"]).sessions.reading() as session:
        yield session


@contextmanager
def beside() -> Iterator[Session]:
    """A short writing session of its own, for book-keeping that is no act of a person; the request's own session knows nothing of it."""
    with cast("Wiring", current_app.extensions["keychest"]).sessions.writing() as session:
        yield session


@contextmanager
def acting() -> Iterator[Session]:
    """The one transaction of a request that changes something: committed when the block ends, rolled back when it raises."""
    if request.method in SAFE_METHODS or "acted" in g:
        raise RuntimeError("a request acts once, and never by GET")
    session = reading()
    try:
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        g.acted = True
