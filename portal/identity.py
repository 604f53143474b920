"""Who a request comes from. The cookie holds a 256-bit token, the database its SHA-256; a sign-in ends on the server."""

from __future__ import annotations

from datetime import timedelta
from typing import cast
from urllib.parse import quote

from flask import Flask, Response, g, redirect, session
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from core.actions.accounts import STAYS_FOR, NewSignIn, token_sha256
from core.actions.policy import Actor
from core.store.accounts import SignedIn, signed_in
from portal.htmx import go_to, page_looked_at
from portal.parts import Parts, now, parts, reading

SIGN_IN = "/sign-in"
FACTOR = "/sign-in/code"
CALLBACK = "/sign-in/oidc/callback"
_LONGEST_NEXT = 2_000


class Visitor(UserMixin):  # type: ignore[misc]  # flask-login has no types
    """A person who is signed in, as flask-login wants them: its "user id" is the token, so nothing else can be guessed."""

    def __init__(self, token: str, person: SignedIn | None) -> None:
        self.token = token
        self.person = person

    def get_id(self) -> str:
        """What goes into the cookie's session."""
        return self.token


class _Cookies(SecureCookieSessionInterface):
    """As Flask has it; what is the same for everybody neither sets the cookie nor is kept for one cookie alone."""

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the cookie where the session changed, and say that the answer depends on it."""
        if "for_everybody" not in g:
            super().save_session(app, session, response)


def install(app: Flask, parts: Parts) -> None:
    """Cookies and flask-login."""
    app.session_interface = _Cookies()
    secure = parts.public_url.startswith("https://")
    app.config.update(
        SECRET_KEY=parts.secret_key,
        SESSION_COOKIE_NAME="__Host-keychest" if secure else "keychest",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(days=STAYS_FOR.days),
    )
    manager = LoginManager(app)
    manager.session_protection = None  # people change networks; the token is what counts, and it ends on the server
    manager.user_loader(_load)


def _load(token: str) -> Visitor | None:
    person = signed_in(reading(), token_sha256(token), now(), factor_needed=parts().production)
    return Visitor(token, person) if person is not None else None


def for_everybody() -> None:
    """What this request is answered is the same for everybody, whatever its cookie says."""
    g.for_everybody = True


def person() -> SignedIn | None:
    """The person who is signed in."""
    return cast("Visitor", current_user).person if current_user.is_authenticated else None


def who() -> Actor | None:
    """Who acts, in the account they act in; None when nobody is signed in."""
    found = person()
    if found is None:
        return None
    return Actor(
        user_id=found.user_id,
        user_ref=found.user_ref,
        account_id=found.account_id,
        account_ref=found.account_ref,
        role=found.role,
        installation_role=found.installation_role,
        unproven=parts().production and found.installation_role != "" and not found.has_factor,
        resting=found.factor_required and not found.has_factor,
        impersonating=found.look is not None,
    )


def let_in(sign_in: NewSignIn, onward: str = "/") -> ResponseReturnValue:
    """Begin a session, and go onward, or to the question for the second factor.

    What the cookie held before is thrown away, so that nobody can plant a session. It is the browser's for as long as that runs, or for
    two weeks for who stays.
    """
    session.clear()
    session.permanent = sign_in.stay
    if sign_in.factor_due:
        session["half"], session["stay"] = sign_in.token, sign_in.stay
        return redirect(FACTOR if onward == "/" else f"{FACTOR}?next={quote(onward, safe='')}", 303)
    login_user(Visitor(sign_in.token, None))
    return redirect(onward, 303)


def half() -> tuple[str, bool]:
    """The token of who is half signed in, "" for nobody, and whether they asked to stay."""
    return str(session.get("half", "")), session.get("stay") is True


def let_out() -> None:
    """Forget the person in the cookie. The row is ended by the action."""
    logout_user()
    session.clear()


def safe_next(target: str) -> str:
    """A path of ours to go on to, or the overview. What could lead to another host is refused."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and len(target) <= _LONGEST_NEXT
    return target if plain and target.isascii() and target.isprintable() and "\\" not in target else "/"


def ask_to_sign_in() -> ResponseReturnValue:
    """Send to the sign-in page, and from there back to the page that is being looked at."""
    back = safe_next(page_looked_at())
    return go_to(SIGN_IN if back == "/" else f"{SIGN_IN}?next={quote(back, safe='')}")
