"""What keeps strangers' pages and proxies from acting in a person's name: tokens, origins, headers, sizes."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request
from flask_wtf.csrf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from core.actions.policy import Permission, permissions
from portal.identity import who
from portal.parts import SAFE_METHODS, Parts, parts

MOST_BODY_BYTES: Final = 3 * 1024 * 1024
UPLOAD_BYTES: Final = 60_000_000
"""What may be handed in for an import, by who may import; waitress takes a little more (wsgi.py)."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",  # "no-referrer" would make browsers send `Origin: null` with our own forms
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_YEAR_S: Final = 31_536_000
_PASTED: Final = "names"
UNTOKENED: Final = {
    "portal.views.access.reports": "a host's recorder has no page to take a token from; each report bears a signature",
    "portal.views.status_mail.leave": "mail programs post to it by themselves (RFC 8058); the link is the proof",
}
"""Views that take unsafe requests without a token, each with its reason: none of them asks a cookie who it is."""

_FROM_ANYWHERE: Final = frozenset({"status_mail.leave"})
"""Routes that may be posted to from any page: the link is the proof, and a cookie is not looked at."""


def install(app: Flask, given: Parts) -> None:
    """Tokens in every unsafe request, origins compared, sizes capped, headers on every answer."""
    app.config.update(
        MAX_CONTENT_LENGTH=MOST_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=MOST_BODY_BYTES,
        MAX_FORM_PARTS=1_000,
        WTF_CSRF_TIME_LIMIT=None,  # a token lives as long as its session: a form may lie open overnight
        WTF_CSRF_SSL_STRICT=False,  # _refuse_foreign looks at what browsers tell of where a request comes from
        WTF_CSRF_HEADERS=["X-CSRFToken"],
    )
    if given.trusted_proxies:
        count = given.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count)  # type: ignore[method-assign]
    app.before_request(_make_room)
    app.before_request(_refuse_foreign)
    app.before_request(_refuse_nul)
    tokens = CSRFProtect(app)
    for view in UNTOKENED:
        tokens.exempt(view)
    app.after_request(_protect)
    app.teardown_request(_close_files)


def _make_room() -> None:
    """Files for an import are larger than anything that is typed. Strangers hand none in."""
    actor = who() if request.method == "POST" and request.endpoint == "imports.hand" else None
    if actor is not None and Permission.IMPORT in permissions(actor):
        request.max_content_length = UPLOAD_BYTES


def _close_files(_error: BaseException | None) -> None:
    """What was handed in lies in temporary files, which go as they are closed."""
    if "files" in vars(request):
        for each in request.files.values():
            each.close()


def _refuse_foreign() -> None:
    """Raises 403 for an unsafe request that a browser says was begun by another site."""
    if request.method in SAFE_METHODS or request.endpoint in _FROM_ANYWHERE:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in {"same-origin", "none"}:
            abort(403, "foreign")
        return
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc not in {request.host, urlsplit(parts().public_url).netloc}:
        abort(403, "foreign")


def _refuse_nul() -> None:
    """Raises 400 for a NUL in what questions are made of: PostgreSQL takes it in no text, and no name or address has one.

    A pasted list may hold any: its lines are answered one by one.
    """
    typed = [*request.args.lists(), *((field, values) for field, values in request.form.lists() if field != _PASTED)]
    if "\x00" in request.path or any("\x00" in value for _, values in typed for value in values):
        abort(400, "nul")


def headers_of_all(public_url: str) -> dict[str, str]:
    """What every answer bears, whatever it is."""
    return _HEADERS | ({"Strict-Transport-Security": f"max-age={_YEAR_S}"} if public_url.startswith("https://") else {})


def _protect(response: Response) -> Response:
    own = response.headers.get("Cross-Origin-Resource-Policy")
    response.headers.update(headers_of_all(parts().public_url) | ({"Cross-Origin-Resource-Policy": own} if own else {}))
    response.vary.add("HX-Request")
    if request.endpoint == "static":
        named = "v" in request.args and response.status_code in {200, 304}
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable" if named else "no-cache"
    elif "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    return response
