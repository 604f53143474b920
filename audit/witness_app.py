"""A witness over HTTP, as a WSGI application: `add-checkpoint`, and a page that tells who this is and what it saw last."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from audit.witness import OK, WORDS, Answer, Witness
from audit.witness_files import NOTHING, WitnessError

MOST_BODY: Final = 65_536
"""Bytes of a request: 63 lines of proof and a checkpoint with all its signatures have a tenth of it."""
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    422: "Unprocessable Entity",
    500: "Internal Server Error",
}
_METHODS: Final = {"/": ("GET", "HEAD"), "/add-checkpoint": ("POST",)}
_NO_PAGE = Answer(404, WORDS, b"There is no such page. POST /add-checkpoint takes checkpoints; / tells who this is.\n")
_TOO_LONG = Answer(413, WORDS, f"A request has at most {MOST_BODY:,} bytes.\n".encode())
Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[Environ, Start], Iterable[bytes]]


def application(witness: Witness, clock: Callable[[], datetime]) -> Application:
    """What a WSGI server calls. `clock` tells the time."""

    def answer(environ: Environ, start: Start) -> Iterable[bytes]:
        found, more = _answered(witness, environ, clock)
        headers = [("Content-Type", found.content_type), ("Content-Length", str(len(found.body))), ("X-Content-Type-Options", "nosniff")]
        start(f"{found.status} {_REASONS[found.status]}", headers + more)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else found.body]

    return answer


def page(witness: Witness) -> Answer:
    """Who this is, and what it saw last, in words."""
    try:
        known = witness.memory.read()
    except (WitnessError, OSError) as error:
        return Answer(500, WORDS, f"{witness.name} cosigns nothing now. {error}\n".encode())
    lines = [
        f"This is {witness.name}, a witness of append-only logs (C2SP tlog-witness).",
        "",
        "Its key, for logs and for whoever checks them:",
        witness.vkey,
        "",
        "It cosigns a checkpoint only if it goes on from the one that it cosigned before. It does not read what is in the logs.",
        "",
        "What it cosigned last:",
    ]
    for origin in sorted(witness.logs):
        seen = known.get(origin, NOTHING)
        at = datetime.fromtimestamp(seen.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seen.note else ""
        lines.append(f"- {origin}: {seen.size:,} entries, {at}" if seen.note else f"- {origin}: nothing yet")
    return Answer(OK, WORDS, ("\n".join(lines) + "\n").encode())


def _answered(witness: Witness, environ: Environ, clock: Callable[[], datetime]) -> tuple[Answer, list[tuple[str, str]]]:
    path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
    allowed = _METHODS.get(path)
    if allowed is None:
        return _NO_PAGE, []
    if method not in allowed:
        return Answer(405, WORDS, f"Here it is {' or '.join(allowed)}.\n".encode()), [("Allow", ", ".join(allowed))]
    if path == "/":
        return page(witness), []
    length = str(environ.get("CONTENT_LENGTH") or "0")
    if not (length.isascii() and length.isdecimal()) or int(length) > MOST_BODY:
        return _TOO_LONG, []
    return witness.add_checkpoint(environ["wsgi.input"].read(int(length)), clock()), []
