"""The one module that knows htmx's headers. Views do not ask who asks: see `portal.html.page`."""

from __future__ import annotations

from typing import Final, cast
from urllib.parse import quote

import flask
from flask import Flask, Response, redirect
from flask.typing import ResponseReturnValue
from htmx_flask import Htmx
from htmx_flask.requests import HtmxAwareRequest

OURS: Final = "X-KeyChest"
"""On every answer of the portal. static/js/keychest.js puts no other into a page: a server or proxy before us answers too."""


def install(app: Flask) -> None:
    """Teach the application's requests htmx's headers, and mark its answers as its own."""
    Htmx(app)
    app.after_request(_mark)


def _mark(response: Response) -> Response:
    response.headers[OURS] = "1"
    return response


def _request() -> HtmxAwareRequest:
    return cast("HtmxAwareRequest", flask.request)


def fragment_wanted() -> bool:
    """Whether htmx asks for a part of a page, and not the browser for all of it."""
    htmx = _request().htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def go_to(path: str) -> ResponseReturnValue:
    """Send the whole browser to a path of ours, also when htmx asked for a fragment only."""
    if _request().htmx:
        return Response("", 401, {"HX-Redirect": path})
    return redirect(path, 303)


def into_notices(response: Response) -> Response:
    """Let htmx put this answer where the page keeps its notices, wherever it was asked for."""
    response.headers["HX-Retarget"] = "#notices"
    response.headers["HX-Reswap"] = "innerHTML show:window:top"
    return response


def into_main(response: Response) -> Response:
    """Let htmx put this page's main part in the place of the one that is looked at, wherever it was asked for."""
    response.headers["HX-Retarget"] = response.headers["HX-Reselect"] = "#main"
    response.headers["HX-Reswap"] = "outerHTML show:window:top"
    return response


def page_looked_at() -> str:
    """The path of the page that the person has before them: what was asked for by GET, or what htmx says it stands on."""
    asked = _request()
    if asked.htmx:
        root = asked.host_url.rstrip("/")
        current = asked.htmx.current_url or ""
        return current.removeprefix(root) if current.startswith(f"{root}/") else "/"
    query = asked.query_string.decode("ascii", "replace")
    path = quote(asked.path, safe="/")
    return (f"{path}?{query}" if query else path) if asked.method == "GET" else "/"
