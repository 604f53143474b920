"""The API's document, OpenAPI 3.1: made from the types that views answer with, never written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar, cast

from flask import Flask, abort, jsonify, make_response
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ValidationError
from spectree import Response, SecurityScheme, SpecTree
from spectree.models import SecureType, SecuritySchemeData

from portal.api_answers import MOST, PAGE, Place, Problem

_BAD: Final = {
    "limit": f"`limit` is a number from 1 to {MOST}. Leave it out for {PAGE}.",
    "after": "`after` is none of our cursors. Take it from `next` of the page before, or leave it out for the first page.",
}
_Answer = TypeVar("_Answer", bound=BaseModel)
_ABOUT: Final = (
    "What a program may read of one account; it can change nothing. Make a token on the page /tokens and send it as "
    "`Authorization: Bearer kc_...`. Lists come in pages: give `next` of one as `after` of the following. Times are UTC. Every refusal is "
    '`{"error": "a sentence"}`. A token may ask 120 times a minute, unless the operator of the installation chose another number, and '
    "all that come from one address five times as often together; while the installation's broker is away, half of it."
)
_REFUSALS: Final = {
    "HTTP_400": (Problem, "What was asked cannot be read: `limit` or `after` is none, or there is a NUL in the address."),
    "HTTP_401": (Problem, "There is no token, an unknown one, or one that has ended: the same answer for all."),
    "HTTP_403": (Problem, "The token has not the scope, or its person may no longer read the account."),
    "HTTP_429": (Problem, "Too many requests in this minute. `Retry-After` says when to ask again."),
    "HTTP_500": (Problem, "KeyChest made a mistake. The operator's log says more."),
    "HTTP_503": (Problem, "The database does not answer. `Retry-After` says when to ask again."),
}
_SECONDS: Final = {"description": "Seconds to wait before the next request.", "required": True, "schema": {"type": "integer", "minimum": 1}}
_HEADERS: Final = {
    "401": {"WWW-Authenticate": {"description": "How to ask.", "required": True, "schema": {"type": "string", "const": "Bearer"}}},
    "429": {"Retry-After": _SECONDS},
    "503": {"Retry-After": _SECONDS},
}
"""Headers that answers of these statuses carry: SpecTree has no words for them."""


def refused(status: int, sentence: str, headers: dict[str, str] | None = None) -> ResponseReturnValue:
    """A refusal as programs read it."""
    return jsonify(Problem(error=sentence).model_dump()), status, headers or {}


def refuse(field: str) -> NoReturn:
    """Ends the request: its `limit` or `after` is none."""
    abort(make_response(refused(400, _BAD[field])))


def _ask_right(_request: Any, _response: Any, error: Exception | None, _view: Any, _adapter: Any) -> None:
    """Answers what was asked wrongly in our words instead of pydantic's."""
    if isinstance(error, ValidationError):
        refuse(str(error.errors()[0]["loc"][0]))


def _answer_right(_request: Any, _response: Any, error: Exception | None, _view: Any, _adapter: Any) -> None:
    """Raises what an answer lacks: it is our mistake, to be told as any other."""
    if error is not None:
        raise error


_tree: Final = SpecTree(
    "flask",
    mode="strict",
    title="KeyChest",
    version="1",
    description=_ABOUT,
    page_templates={},
    before=_ask_right,
    after=_answer_right,
    validation_error_status=400,
    validation_error_model=Problem,
    naming_strategy=lambda model: str(model.__name__),
    nested_naming_strategy=lambda _parent, child: child,
    security_schemes=[
        SecurityScheme(
            name="token",
            data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer", description="An API token, kc_..., made on the page /tokens."),
        )
    ],
    security={"token": []},
)


def told(
    answer: type[_Answer], what: str, query: type[Place] | None = None
) -> Callable[[Callable[..., _Answer]], Callable[..., ResponseReturnValue]]:
    """The view answers with this type, after the query was found to be one, and stands in the document. Put it nearest to the function.

    All that the view's signature names is looked up when it runs: types that only a checker can see have no place there.
    """

    def described(view: Callable[..., _Answer]) -> Callable[..., ResponseReturnValue]:
        answers = Response(HTTP_200=(answer, what), **_REFUSALS)
        return cast("Callable[..., ResponseReturnValue]", _tree.validate(query=query, resp=answers, operation_id=view.__name__)(view))

    return described


def document(app: Flask) -> dict[str, Any]:
    """The document of the routes that this application has."""
    with app.app_context():
        made: dict[str, Any] = _tree.spec
    for path in made["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if status in _HEADERS:
                    answer["headers"] = _HEADERS[status]
    made["components"]["schemas"].pop(Place.__name__, None)  # its fields stand at each route, as parameters
    return made
