"""Single sign-on by the identity provider that the operator configured (OpenID Connect Core 1.0, authorisation code flow with PKCE).

What the provider says of somebody counts once its signature, its issuer, whom it is for, its time and the question that it answers
were looked at. None of its tokens is kept. Nothing that it says is shown to people but the address that it confirms.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn
from urllib.parse import quote_plus, urlsplit

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from core.net.provider import Tls, Unanswered, ask, on_this_machine, trusting
from core.oidc_keys import ALGORITHMS, key_set

DISCOVERY: Final = "/.well-known/openid-configuration"
SCOPE: Final = "openid email"
LEEWAY_S: Final = 60
"""So far may the provider's clock be from ours."""
KEPT_FOR: Final = timedelta(hours=1)
ANEW_AFTER: Final = timedelta(minutes=1)
"""A signature by a key that we do not know has the keys fetched anew, no more often than this."""
AT_ONCE: Final = 3
"""So many requests may wait for the provider. The others are told so: the portal goes on while the provider is silent."""
LONGEST_TOKEN: Final = 32_768
LONGEST_SUBJECT: Final = 255
_OK: Final = 200
_UNWRITTEN: Final = frozenset(" \"'<>\\")
"""Letters that no address has, and that would end one in a header."""
_log = logging.getLogger(__name__)


class ProviderAwayError(Exception):
    """The provider cannot be asked, or does not answer as it has to. The message is for people who sign in."""


class NotVouchedError(Exception):
    """The provider does not vouch for anybody by this. The message is for people who sign in."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A way to the provider and back: `url` is where the browser goes, the other three are what its answer is held against."""

    url: str
    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom the provider vouches for: `subject` is its name for them, for ever. `email`: "" where it did not confirm one as theirs."""

    issuer: str
    subject: str
    email: str
    shown: str
    """What they know this identity by: the address the provider has, confirmed or not, or else its name for them."""


@dataclass(frozen=True, slots=True)
class _Told:
    """Where the provider says that it answers. `by_post`: it wants our secret in the form."""

    authorization: str
    token: str
    keys: str
    userinfo: str
    by_post: bool


@dataclass(slots=True)
class Provider:
    """The identity provider. What it tells of itself, and its keys, are kept for an hour."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name: str
    callback: str
    """Where it sends browsers back to: exactly as it was told to the provider."""
    tls: Tls = field(default_factory=trusting, repr=False)
    within_s: float = 5.0
    _told: tuple[datetime, _Told] | None = field(default=None, init=False, repr=False)
    _keys: tuple[datetime, KeySet] | None = field(default=None, init=False, repr=False)
    _lines: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE), init=False, repr=False)

    def begin(self, now: datetime) -> Begun:
        """The way to the provider. Raises ProviderAwayError. Call it with no session open."""
        with self._line():
            told = self._endpoints(now)
        state, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(3))
        url = prepare_grant_uri(
            told.authorization, self.client_id, "code", redirect_uri=self.callback, scope=SCOPE, state=state, nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier), code_challenge_method="S256",
        )  # fmt: skip
        return Begun(url, state, nonce, verifier)

    def vouched(self, *, code: str, verifier: str, nonce: str, now: datetime) -> Vouched:
        """Whom the provider vouches for by this code. Raises ProviderAwayError and NotVouchedError. Call it with no session open."""
        with self._line():
            told = self._endpoints(now)
            tokens = self._tokens(told, code, verifier)
            claims = self._claims(told, tokens, nonce, now)
            if not isinstance(claims.get("email"), str):
                claims |= self._userinfo(told, tokens, claims["sub"])
        email = claims["email"] if isinstance(claims.get("email"), str) else ""
        confirmed = claims.get("email_verified") is True
        return Vouched(self.issuer, claims["sub"], email if confirmed else "", (email or claims["sub"])[:254])

    @contextmanager
    def _line(self) -> Iterator[None]:
        if not self._lines.acquire(blocking=False):
            raise ProviderAwayError(f"{self.name} is slow to answer, and others are waiting already. Try again in a minute.")
        try:
            yield
        finally:
            self._lines.release()

    def _endpoints(self, now: datetime) -> _Told:
        if self._told is not None and self._told[0] > now:
            return self._told[1]
        told = self._read(self.issuer.rstrip("/") + DISCOVERY)
        if told.get("issuer") != self.issuer:
            self._away("its discovery document names another issuer than KEYCHEST_OIDC_ISSUER")
        methods = told.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        by_post = "client_secret_basic" not in methods and "client_secret_post" in methods
        found = _Told(
            authorization=self._url(told, "authorization_endpoint"),
            token=self._url(told, "token_endpoint"),
            keys=self._url(told, "jwks_uri"),
            userinfo=self._url(told, "userinfo_endpoint") if told.get("userinfo_endpoint") else "",
            by_post=by_post,
        )
        self._told = (now + KEPT_FOR, found)
        return found

    def _url(self, told: Mapping[str, Any], name: str) -> str:
        """An address that the provider gives: by TLS, or on this machine where the provider itself is there without it."""
        url = told.get(name)
        if not isinstance(url, str) or not (url.isascii() and url.isprintable()) or set(url) & _UNWRITTEN:
            self._away(f"its discovery document has no usable {name}")
        try:
            parts = urlsplit(url)
            local = parts.scheme == "http" and self.issuer.startswith("http://") and on_this_machine(url)
            usable = bool(parts.hostname) and (parts.scheme == "https" or local) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            self._away(f"its {name} is not reached by TLS")
        return url

    def _tokens(self, told: _Told, code: str, verifier: str) -> dict[str, Any]:
        body = prepare_token_request("authorization_code", redirect_uri=self.callback, code=code, code_verifier=verifier)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if told.by_post:
            auth = ClientAuth(self.client_id, self.client_secret, "client_secret_post")
        else:  # RFC 6749 section 2.3.1: both are encoded before they are joined
            auth = ClientAuth(quote_plus(self.client_id), quote_plus(self.client_secret))
        _, headers, body = auth.prepare("POST", told.token, headers, body)
        return self._read(told.token, body=body, headers=headers, refusable=True)

    def _claims(self, told: _Told, tokens: Mapping[str, Any], nonce: str, now: datetime) -> dict[str, Any]:
        token = tokens.get("id_token")
        if not isinstance(token, str) or not token.isascii() or len(token) > LONGEST_TOKEN:
            self._not_vouched("its answer holds no ID token")
        try:
            read = self._verified(told, token, now)
            expected = {"iss": {"essential": True, "value": self.issuer}, "aud": {"essential": True, "value": self.client_id}}
            params = {"nonce": nonce, "client_id": self.client_id, "access_token": tokens.get("access_token")}
            claims = CodeIDToken(read.claims, read.header, expected, params)
            claims.validate(now=int(now.timestamp()), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self._not_vouched(f"its ID token does not hold ({type(error).__name__})", error)
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject.isprintable() or not 0 < len(subject) <= LONGEST_SUBJECT:
            self._not_vouched("its ID token names nobody")
        return dict(claims)

    def _verified(self, told: _Told, token: str, now: datetime) -> jwt.Token:
        """Keys are fetched anew for a signature that none of those we have made: providers change them."""
        try:
            return jwt.decode(token, self._key_set(told, now), algorithms=ALGORITHMS)
        except (InvalidKeyIdError, BadSignatureError):
            return jwt.decode(token, self._key_set(told, now, anew=True), algorithms=ALGORITHMS)

    def _key_set(self, told: _Told, now: datetime, *, anew: bool = False) -> KeySet:
        if self._keys is not None and now - self._keys[0] < (ANEW_AFTER if anew else KEPT_FOR):
            return self._keys[1]
        keys = key_set(self._read(told.keys))
        if not keys:
            self._away("none of its keys can be used")
        self._keys = (now, keys)
        return keys

    def _userinfo(self, told: _Told, tokens: Mapping[str, Any], subject: str) -> dict[str, Any]:
        """Address and whether it is confirmed, from where providers tell it that do not put it into the ID token."""
        access = tokens.get("access_token")
        if not told.userinfo or not isinstance(access, str) or not (access.isascii() and access.isprintable()):
            return {}
        said = self._read(told.userinfo, headers={"Authorization": f"Bearer {access}"})
        if said.get("sub") != subject:
            self._not_vouched("its user info is about somebody else")
        return {name: said.get(name) for name in ("email", "email_verified")}

    def _read(
        self, url: str, *, body: str | None = None, headers: Mapping[str, str] | None = None, refusable: bool = False
    ) -> dict[str, Any]:
        """The JSON object that is answered. `refusable`: a no to what we asked is no failure of the provider's."""
        try:
            answer = ask(url, tls=self.tls, body=body, headers=headers, within_s=self.within_s)
            said = json.loads(answer.body)
        except (Unanswered, ValueError, RecursionError) as error:
            self._away(str(error) if isinstance(error, Unanswered) else "an answer that is no JSON", error)
        if not isinstance(said, dict):
            self._away("an answer that is no JSON object")
        if answer.status != _OK and refusable and said.get("error") == "invalid_grant":
            self._not_vouched("it does not take the code")
        if answer.status != _OK:
            self._away(f"an answer with status {answer.status}")
        return said

    def _away(self, why: str, error: BaseException | None = None) -> NoReturn:
        _log.warning("single sign-on: the provider %s cannot be used: %s", self.issuer, why)
        raise ProviderAwayError(
            f"{self.name} did not answer as it has to. Nothing was changed. Try again in a moment, or sign in another way."
        ) from error

    def _not_vouched(self, why: str, error: BaseException | None = None) -> NoReturn:
        _log.warning("single sign-on: the provider %s vouches for nobody: %s", self.issuer, why)
        raise NotVouchedError(
            f"What came from {self.name} does not hold. Nothing was changed. Begin anew, or sign in another way."
        ) from error
