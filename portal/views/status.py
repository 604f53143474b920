"""The status feed for everybody: its files as they were published. No session, no cookie, no database.

Where they are no longer made anew, every page says since when; in a demonstration, that they are made up.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from core.render import render
from core.status.pages import MADE_MARK
from portal.html import public_page
from portal.identity import for_everybody
from portal.parts import now, parts

views = Blueprint("status", __name__)
views.before_request(for_everybody)
STALE_AFTER: Final = timedelta(minutes=5)
_RETRY_S: Final = 60
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MADE: Final = re.compile(MADE_MARK.format(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)").encode())
KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".atom": "application/atom+xml; charset=utf-8",
}
FEED_JSON: Final = "application/feed+json; charset=utf-8"
BRIEFLY: Final = "public, max-age=15"
ANYWHERE: Final = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
"""Other people's pages and programs may show and read these."""


@views.get("/status")
@views.get("/index.html")
def show() -> ResponseReturnValue:
    """How things are: the feed's first page. The copies elsewhere call it `index.html`, and so do the links in all of them."""
    return _page("index.html")


@views.get("/measures/")
def measures() -> ResponseReturnValue:
    """What was promised after the accident, and how far each promise is kept."""
    return _page("measures/index.html")


@views.get("/access/")
def access() -> ResponseReturnValue:
    """Who was on the production machines in 90 days."""
    return _page("access/index.html")


@views.get("/access/reasons.json")
def reasons() -> ResponseReturnValue:
    """What opens the reasons that the log commits to, for `python -m audit open`."""
    return _file("access/reasons.json", KINDS[".json"])


@views.get("/incidents/<string(maxlength=64):ref>/")
def incident(ref: str) -> ResponseReturnValue:
    """One incident or planned work."""
    return _page(f"incidents/{_plain(ref)}/index.html", known=False)


@views.get("/feed.atom", defaults={"name": "feed.atom", "kind": KINDS[".atom"]})
@views.get("/feed.json", defaults={"name": "feed.json", "kind": FEED_JSON})
def feed(name: str, kind: str) -> ResponseReturnValue:
    """What happens, for feed readers."""
    return _file(name, kind)


@views.get("/api/v2/<string(maxlength=64):name>.json", defaults={"folder": ""})
@views.get("/api/v2/<string(maxlength=64):folder>/<string(maxlength=64):name>.json")
def api(folder: str, name: str) -> ResponseReturnValue:
    """How things are, for programs."""
    within = f"{_plain(folder)}/" if folder else ""
    return _file(f"api/v2/{within}{_plain(name)}.json", KINDS[".json"])


@views.get("/badge/<string(maxlength=64):name>.svg")
def badge(name: str) -> ResponseReturnValue:
    """A small picture of how things are, for other people's pages."""
    return _file(f"badge/{_plain(name)}.svg", KINDS[".svg"])


def _plain(name: str) -> str:
    """The name of a file. Raises 404 for one that none of ours has."""
    return name if _NAME.fullmatch(name) else abort(404)


def _page(path: str, *, known: bool = True) -> Response:
    """A page that was published. Where nothing is published yet, one that says so; 404 for one that nobody published."""
    content = _read(path)
    if content is not None:
        return _answer(_marked(content), KINDS[".html"], {})
    if not known and _read("index.html") is not None:
        abort(404)
    response = public_page("status/none.html", status=503)
    response.headers["Retry-After"] = str(_RETRY_S)
    return response


def _file(path: str, kind: str) -> Response:
    content = _read(path)
    return _answer(content, kind, ANYWHERE) if content is not None else abort(404)


def _read(path: str) -> bytes | None:
    place: Path = parts().status_folder / path
    try:
        return place.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _answer(content: bytes, kind: str, more: dict[str, str]) -> Response:
    response = Response(content, content_type=kind, headers={"Cache-Control": BRIEFLY} | more)
    response.add_etag()
    response.make_conditional(request)
    return response


def _marked(content: bytes) -> bytes:
    """The page, with a word in it where it is made up, and where it was made too long ago: then what it says may no longer hold."""
    found = _MADE.search(content)
    if found is None:
        return content
    made = datetime.fromisoformat(found[1].decode()).astimezone(UTC)
    said = render("status/_made_up.html") if parts().demo else ""
    if now() - made > STALE_AFTER:
        said += render("status/_stale.html", made=made)
    return content[: found.start()] + said.encode() + content[found.end() :] if said else content
