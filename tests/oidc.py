"""An OpenID provider of the tests' own, on loopback: discovery, keys, authorise, token, user info. All that it says can be bent."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from core.oidc import Provider
from tests.make import NOW

CLIENT, SECRET = "keychest at work", "s3cret/with:odd characters"
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
OTHER = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
Claims = dict[str, Any]


@dataclass
class Idp:
    """The provider. `who`: what it says of the person who stands before it; `claims` and `sign` bend its ID tokens."""

    url: str = ""
    issuer: str = ""
    who: Claims = field(default_factory=lambda: {"sub": "248289761001", "email": "nia@harbour.example.org", "email_verified": True})
    now: Callable[[], datetime] = lambda: NOW
    claims: Claims = field(default_factory=dict)
    """What takes the place of claims; None leaves one out."""
    sign: Callable[[Claims], str] = lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, KEY)
    keys: list[Claims] = field(default_factory=lambda: [KEY.as_dict(private=False), EC.as_dict(private=False)])
    told: Claims = field(default_factory=dict)
    """What takes the place of parts of the discovery document."""
    broken: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    """By path: what is answered in place of the right thing."""
    tokens: Claims = field(default_factory=dict)
    when_asked: Callable[[str], None] = lambda _: None
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def provider(self, callback: str = "http://localhost/sign-in/oidc/callback", **changed: Any) -> Provider:
        """It, as an installation is told of it."""
        given = {"issuer": self.issuer, "client_id": CLIENT, "client_secret": SECRET, "name": "Harbourlight SSO", "callback": callback}
        return Provider(**{**given, **changed})

    def consent(self, url: str) -> dict[str, str]:
        """The person says yes: what the browser carries back. The question is looked at as a strict provider does."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{self.url}/authorize?"), url
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    def document(self) -> Claims:
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer, **{name: f"{self.url}/{path}" for name, path in names.items()}, **self.told}

    def exchanged(self, form: dict[str, str], authorization: str) -> tuple[int, Claims]:
        """What the token endpoint answers (RFC 6749 section 4.1.3, RFC 7636 section 4.6)."""
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        by_header = (unquote_plus(user), unquote_plus(password))
        if (by_header if authorization else (form.get("client_id"), form.get("client_secret"))) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if asked is None or asked["redirect_uri"] != form["redirect_uri"] or asked["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant", "error_description": "<b>canary</b>"}
        at = int(self.now().timestamp())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": at, "exp": at + 300, "nonce": asked["nonce"], **self.who, **self.claims}
        signed = self.sign({name: value for name, value in claims.items() if value is not None})
        return 200, {"access_token": "at", "token_type": "Bearer", "expires_in": 300, "id_token": signed, **self.tokens}


class _Answers(BaseHTTPRequestHandler):
    made: Idp

    def do_GET(self) -> None:
        path, made = urlsplit(self.path).path, self.made
        if self._bent(path):
            return
        if path == "/.well-known/openid-configuration":
            answer(self, made.document())
        elif path == "/keys":
            answer(self, {"keys": made.keys})
        elif path == "/userinfo" and self.headers["Authorization"] == "Bearer at":
            answer(self, made.who)
        elif path == "/authorize":
            came = made.consent(made.url + self.path)
            target = made.codes[came["code"]]["redirect_uri"]
            link = f'<a href="{target}?{urlencode(came, quote_via=quote)}">I am Nia</a>'
            head = '<!doctype html><title>Harbourlight</title><link rel="icon" href="data:,"><h1>Harbourlight SSO</h1>'
            answer(self, f"{head}{link}".encode(), kind="text/html")
        else:
            answer(self, {}, status=404)

    def do_POST(self) -> None:
        if self._bent(self.path):
            return
        form = {name: values[0] for name, values in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
        status, said = self.made.exchanged(form, self.headers.get("Authorization", ""))
        answer(self, said, status=status)

    def _bent(self, path: str) -> bool:
        self.made.asked.append(path)
        self.made.when_asked(path)
        bend = self.made.broken.get(path)
        with suppress(OSError):  # who asked has gone
            if bend is not None:
                bend(self)
        return bend is not None

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Who asked has gone, or refused our certificate."""


@contextmanager
def idp(tls: ssl.SSLContext | None = None) -> Iterator[Idp]:
    """A provider on a port of its own, until the block ends."""
    made = Idp()
    server = _Server(("127.0.0.1", 0), type("Answers", (_Answers,), {"made": made}))
    made.url = made.issuer = f"http://127.0.0.1:{server.server_port}"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        made.url = made.issuer = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def answer(request: BaseHTTPRequestHandler, said: Any, *, status: int = 200, kind: str = "application/json", **headers: str) -> None:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    request.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def endless(request: BaseHTTPRequestHandler) -> None:
    """An answer without an end."""
    request.send_response(200)
    request.end_headers()
    for _ in range(64):
        request.wfile.write(b" " * 65_536)


def silent(request: BaseHTTPRequestHandler) -> None:
    """No answer, until the other side has gone."""
    request.connection.settimeout(10)
    request.connection.recv(1)
    request.close_connection = True


def in_drops(request: BaseHTTPRequestHandler) -> None:
    """An answer of which something comes all the time, and which is never there."""
    request.connection.settimeout(10)
    for _ in range(200):
        request.connection.sendall(b"H")
        time.sleep(0.05)
    request.close_connection = True


def elsewhere(request: BaseHTTPRequestHandler) -> None:
    """A redirect to another host."""
    answer(request, {}, status=302, Location="http://192.0.2.1/")


def failing(request: BaseHTTPRequestHandler) -> None:
    answer(request, {"error": "<script>canary</script>"}, status=500)


def no_object(request: BaseHTTPRequestHandler) -> None:
    answer(request, b"[]")


def nested(request: BaseHTTPRequestHandler) -> None:
    answer(request, b"[" * 9_999)


def unsigned(claims: Claims, alg: str = "none") -> str:
    """A token whose signature is empty."""
    parts = (json.dumps({"alg": alg, "kid": "one"}).encode(), json.dumps(claims).encode())
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def by_public_key(claims: Claims) -> str:
    """HMAC, keyed by the public key's own bytes: who looks at the key and not at the algorithm takes it."""
    head, body, _ = unsigned(claims, "HS256").split(".")
    signature = hmac.digest(KEY.as_pem(private=False), f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
