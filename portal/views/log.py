"""The log for everybody: its files as they are published, and pages that are made of them alone. No session, no cookie, no database."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Final

from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from audit.published import PublishedLog, UnreadableError, folder_of, published_logs
from audit.tiles import CHECKPOINT, CONTINUED, Tile
from audit.tree import leaf_hash
from portal.drawn_path import bounds, proof_path
from portal.html import public_page
from portal.identity import for_everybody
from portal.log_shown import HIDDEN, coarse
from portal.parts import now, parts

views = Blueprint("log", __name__, url_prefix="/log")
views.before_request(for_everybody)
_ROWS: Final = 30
_MOST_DIGITS: Final = 18
_SILENT_AFTER: Final = timedelta(hours=2)
"""There is an entry at least once an hour."""
_FOREVER: Final = "public, max-age=31536000, immutable"
_BRIEFLY: Final = "public, max-age=2"
_TEXT, _BYTES = "text/plain; charset=utf-8", "application/octet-stream"


@views.get("/checkpoint", defaults={"number": "1"})
@views.get("/<string(maxlength=18):number>/checkpoint")
def checkpoint(number: str) -> ResponseReturnValue:
    """The signed tree head of a log, as C2SP's tlog-tiles has it."""
    return _file(number, CHECKPOINT, _TEXT, _BRIEFLY)


@views.get("/continued", defaults={"number": "1"})
@views.get("/<string(maxlength=18):number>/continued")
def continued(number: str) -> ResponseReturnValue:
    """The number of the log that goes on where this one could not."""
    return _file(number, CONTINUED, _TEXT, _BRIEFLY)


@views.get("/tile/<path:path>", defaults={"number": "1"})
@views.get("/<string(maxlength=18):number>/tile/<path:path>")
def tile(number: str, path: str) -> ResponseReturnValue:
    """A tile or a bundle of entries. One that is there never changes."""
    found = Tile.read(f"tile/{path}")
    return _file(number, found.path, _BYTES, _FOREVER) if found is not None else abort(404)


@views.get("/")
def show() -> ResponseReturnValue:
    """What the log is, its tree head, who cosigned it, and the newest entries. `?before=N`: those before entry N."""
    try:
        logs = published_logs(parts().log_folder)
        return _listed(logs) if logs else public_page("log/none.html")
    except UnreadableError as error:
        return public_page("log/damaged.html", status=503, what=str(error))


@views.get("/entries/<string(maxlength=18):number>/<string(maxlength=18):index>")
def entry(number: str, index: str) -> ResponseReturnValue:
    """One entry of a log, and the proof that it is in it."""
    try:
        logs = published_logs(parts().log_folder)
        log = next((each for each in logs if each.number == _number(number, least=1)), None)
        return _proven(log, _number(index), several=len(logs) > 1) if log is not None else abort(404)
    except IndexError:
        return abort(404)
    except UnreadableError as error:
        return public_page("log/damaged.html", status=503, what=str(error))


def _file(number: str, path: str, kind: str, kept: str) -> Response:
    try:
        content = (folder_of(parts().log_folder, _number(number, least=1)) / path).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        abort(404)
    response = Response(content, content_type=kind, headers={"Cache-Control": kept})
    response.add_etag()
    response.make_conditional(request)
    return response


def _number(text: str, least: int = 0) -> int:
    """A number in its one spelling. Raises 404 for another."""
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_DIGITS or str(int(text)) != text or int(text) < least:
        abort(404)
    return int(text)


def _listed(logs: list[PublishedLog]) -> Response:
    log = logs[-1]
    asked = request.args.get("before", "")
    plain = asked.isascii() and asked.isdecimal() and len(asked) <= _MOST_DIGITS
    before = min(int(asked), log.checkpoint.size) if plain else log.checkpoint.size
    rows = [coarse(*each) for each in log.before(before, _ROWS)]
    newest = coarse(log.checkpoint.size - 1, log.body(log.checkpoint.size - 1)) if log.checkpoint.size else None
    silent = newest is not None and newest.logged is not None and now() - newest.logged > _SILENT_AFTER
    return public_page(
        "log/show.html",
        log=log,
        rows=rows,
        newest=newest,
        silent=silent,
        key=log.key() if log.checkpoint.size else None,
        witnesses=log.cosigned(parts().log_witnesses),
        first=before == log.checkpoint.size,
        older=rows[-1].index if rows and rows[-1].index else None,
        former=[(each, coarse(0, following.body(0))) for each, following in pairwise(logs)][::-1],
        address=f"{parts().public_url}/log",
    )


def _proven(log: PublishedLog, index: int, *, several: bool) -> Response:
    body = log.body(index)
    steps, leaf = log.path(body, index), leaf_hash(body)
    holds = (steps[-1].made if steps else leaf) == log.checkpoint.root
    return public_page(
        "log/entry.html",
        log=log,
        entry=coarse(index, body),
        body=body.decode(errors="backslashreplace"),
        leaf=leaf.hex(),
        steps=steps,
        holds=holds,
        picture=proof_path(index, leaf, steps, holds=holds),
        bounds=bounds,
        explained=HIDDEN,
        command=f"python -m audit verify {parts().public_url}/log{f' --log {log.number}' if several else ''} --entry {index}",
    )
