"""When something is refused or fails: a page, or for htmx a notice, that says what happened, what was kept, and what to do."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any, Final, cast

from flask import Flask, Response, current_app, g, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, MethodNotAllowed, TooManyRequests

from core.actions.policy import NotAllowed
from core.envelope import NotOpenedError
from core.render import plural, render
from portal.api_answers import Problem as Told
from portal.htmx import fragment_wanted, into_notices
from portal.identity import Visitor
from portal.limits import wait_s
from portal.parts import parts

_log = logging.getLogger("keychest.portal")


@dataclass(frozen=True, slots=True)
class Problem:
    """What a person is told: `what` happened, what was `kept`, what `to_do`."""

    status: int
    what: str
    kept: str
    to_do: str
    way: str = "/"
    called: str = "Overview"
    """Where a button leads, and what it is called."""


_NOTHING: Final = "Nothing was changed."
PROBLEMS: Final = (
    Problem(400, "This request could not be read", _NOTHING, "Go back, reload the page, and try again."),
    Problem(403, "This is not allowed", _NOTHING, "Ask an owner of the account for a role that includes it."),
    Problem(
        404,
        "There is nothing here",
        "",
        "The address may be misspelt, or what was here was removed. What was removed lies in the bin for 30 days.",
    ),
    Problem(405, "This address is not used that way", _NOTHING, "Go to the overview and take the way from there."),
    Problem(
        413,
        "This is more than KeyChest reads at once",
        "Nothing was added.",
        "A list may have 10,000 lines and 2 MB. Paste it in parts.",
    ),
    Problem(422, "This could not be used", _NOTHING, "Go back and correct what was typed."),
    Problem(429, "That was tried too often", _NOTHING, "Wait {}, then try again. You are not locked out."),
    Problem(
        500,
        "KeyChest made a mistake",
        "What was being done was taken back as a whole.",
        "Try again. If it happens again, tell the operator when it was: it is in the log.",
    ),
    Problem(
        503,
        "The database does not answer",
        "What was saved before is safe; what was just sent was not saved.",
        "Try again in a moment. KeyChest goes on by itself as soon as the database is back.",
    ),
)
_BY_STATUS: Final = {problem.status: problem for problem in PROBLEMS}
_FOREIGN: Final = Problem(
    403,
    "This form came from another place or another session",
    _NOTHING,
    "Go back, reload the page, and send it again. If you did not send anything, another page tried to in your name.",
)
_NUL: Final = Problem(
    400,
    "This holds a character that cannot be used",
    _NOTHING,
    "There is an invisible NUL character in the address or in what was typed. Type it again rather than pasting it.",
)
_LOCKED: Final = Problem(
    503,
    "A secret that is needed for this does not open",
    _NOTHING,
    "The operator of this installation has to put the file of wrapping keys back: it is in the recovery kit, and the log says more.",
)
_OUT: Final = {"account": ("/account", "Your accounts"), "factor": ("/security/app", "Set one up")}
"""What helps who is not allowed something."""
_BY_WORD: Final = {"foreign": _FOREIGN, "nul": _NUL}
"""Why portal.security refused."""


def install(app: Flask) -> None:
    """Answer every error in words."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(CSRFError, _foreign)
    app.register_error_handler(NotAllowed, _not_allowed)
    app.register_error_handler(NotOpenedError, _not_opened)
    app.register_error_handler(OperationalError, _database_away)
    app.register_error_handler(PoolTimeout, _database_away)
    app.register_error_handler(DBAPIError, _database_error)


def _http(error: Exception) -> Response:
    raised = cast("HTTPException", error)
    status = raised.code or 500
    if raised.description in _BY_WORD:
        return _answer(_BY_WORD[raised.description])
    if raised.response is not None and status < 400:  # noqa: PLR2004 - the router's own redirects
        return cast("Response", raised.get_response())
    if isinstance(raised, TooManyRequests):
        return _too_often()
    answer = _answer(_BY_STATUS.get(status) or _BY_STATUS[500 if status >= 500 else 400], status)  # noqa: PLR2004
    if isinstance(raised, MethodNotAllowed) and raised.valid_methods:
        answer.headers["Allow"] = ", ".join(sorted(raised.valid_methods))
    return answer


def _too_often() -> Response:
    wait = wait_s()
    if _is_api():
        answer = _answer(Problem(429, f"That was asked too often. Ask again in {wait} s", "", ""))
    else:
        problem = _BY_STATUS[429]
        answer = _answer(dataclasses.replace(problem, to_do=problem.to_do.format(plural(-(-wait // 60), "minute"))))
    answer.headers["Retry-After"] = str(wait)
    return answer


def _foreign(error: Exception) -> Response:  # noqa: ARG001 - Flask's signature
    return _answer(_FOREIGN)


def _not_allowed(error: Exception) -> Response:
    return _answer(Problem(403, _BY_STATUS[403].what, str(error), "", *_OUT.get(cast("NotAllowed", error).out, ())))


def _not_opened(error: Exception) -> Response:
    _log.error("%s", error)
    return _answer(_LOCKED)


def _database_away(error: Exception) -> Response:
    _log.error("the database does not answer: %s", type(error).__name__)
    answer = _answer(_BY_STATUS[503])
    answer.headers["Retry-After"] = "5"
    return answer


def _database_error(error: Exception) -> Response:
    if cast("DBAPIError", error).connection_invalidated:
        return _database_away(error)
    _log.error("a statement failed at %s", request.path, exc_info=error)
    return _answer(_BY_STATUS[500])


def _is_api() -> bool:
    return f"{request.path}/".startswith("/api/")


def _answer(problem: Problem, status: int = 0) -> Response:
    """The page must come even when the database is away: it is rendered without the frame's questions. Programs get a sentence."""
    if _is_api():
        sentences = [sentence if sentence.endswith(".") else f"{sentence}." for sentence in (problem.what, problem.kept) if sentence]
        return _response(Told(error=" ".join(sentences)).model_dump_json(), status or problem.status, "application/json")
    if fragment_wanted():
        body = render("errors/_notice.html", problem=problem)
        return into_notices(_response(body, status or problem.status))
    body = render("errors/page.html", problem=problem, again=request.method == "GET", demo=parts().demo is not None, looks_at=_looks_at())
    return _response(body, status or problem.status)


def _looks_at() -> str:
    """The account that an operator looks at for its owners, where that is known already: nothing is asked here."""
    visitor = g.get("_login_user")
    known = visitor.person if isinstance(visitor, Visitor) else None
    return known.account_name if known is not None and known.look is not None else ""


def _response(body: str, status: int, mimetype: str = "text/html") -> Response:
    return cast("Any", current_app).response_class(body, status=status, mimetype=mimetype)  # type: ignore[no-any-return]
