"""Pages and their fragments. A page and its fragment share one URL; here alone it is decided which of the two is sent."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from flask import Response, make_response, request, session
from flask_wtf.csrf import generate_csrf

from core.actions.policy import permissions
from core.render import render, shown_in
from portal.frame import frame, frame_of_nobody
from portal.htmx import fragment_wanted
from portal.identity import person, who
from portal.parts import now

_MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell once, on the next page: a state's colour, a sentence, and a form that takes it back.

    `undo`: the path to post to; `fields`: what is posted, in names and values.
    """

    state: str
    text: str
    undo: str = ""
    fields: tuple[tuple[str, str], ...] = ()


def tell(state: str, text: str, *, undo: str = "", fields: tuple[tuple[str, str], ...] = ()) -> None:
    """Keep a message for the next page that this person sees."""
    session[_MESSAGES] = [*session.get(_MESSAGES, []), [state, text, undo, list(fields)]]


def _told() -> tuple[Message, ...]:
    kept = session.pop(_MESSAGES, [])
    return tuple(Message(state, text, undo, tuple((name, value) for name, value in fields)) for state, text, undo, fields in kept)


def page(template: str, *, part: str = "", status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> Response:
    """The page, or for htmx its fragment `part` with what is to be told beside it. `now` and `csrf` are there in both.

    A page without a `part` is sent whole, whoever asks. Give `tab` (overview, domains, certificates, mails, bin, backups, operations) to
    pages.
    `partial` tells a template which of the two it is part of. `may` holds what the person's role allows, in the words of
    `Permission`: a button that would be refused is not drawn.
    """
    values = {"now": now(), "csrf": generate_csrf(), "messages": _told(), "may": _may()} | values
    with _as_they_chose():
        if part and fragment_wanted():
            body = render(part, partial=True, **values) + render("ui/_toasts.html", swap=True, **values)
        else:
            body = render(template, frame=frame(), partial=False, **({"tab": ""} | values))
    response = make_response(body, status)
    response.headers.update(headers or {})
    return response


def public_page(template: str, *, status: int = 200, **values: Any) -> Response:
    """A page that is the same for everybody: no cookie is read or set, the database is not asked. It may be kept, and asked for again."""
    body = render(template, frame=frame_of_nobody(), partial=False, tab="", now=now(), csrf="", messages=(), may=frozenset(), **values)
    response = make_response(body, status)
    if status == 200:  # noqa: PLR2004 - all is well
        response.headers["Cache-Control"] = "public, no-cache"
        response.add_etag()
        response.make_conditional(request)
    return response


def fragment(template: str, **values: Any) -> Response:
    """A fragment that is nobody's page, such as what a waiting list asks for."""
    with _as_they_chose():
        return make_response(render(template, **({"now": now(), "csrf": generate_csrf(), "may": _may()} | values)))


def _as_they_chose() -> AbstractContextManager[None]:
    """Times and dates as the person who looks wants to see them."""
    looking = person()
    return shown_in(looking.time_zone, looking.dates) if looking is not None else nullcontext()


def _may() -> frozenset[str]:
    actor = who()
    return frozenset(permission.value for permission in permissions(actor)) if actor is not None else frozenset()
