"""The gate of the API: a token in the Authorization header and nothing else. A cookie or a word in the address gives nothing here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec

from flask.typing import ResponseReturnValue
from sqlalchemy.exc import OperationalError

from core.actions.accounts import token_sha256
from core.actions.api_tokens import note_due, note_token_use
from core.actions.policy import Permission, allows
from core.store.tokens import Bearer, bearer_of
from portal.api_document import refused
from portal.limits import api_by_address, api_by_token, network, token_sent
from portal.parts import beside, looking, now

_P = ParamSpec("_P")
_log = logging.getLogger("keychest.portal")
_UNKNOWN: Final = (
    "There is no token in the Authorization header, or it is not one that holds. Send `Authorization: Bearer kc_...`; "
    "a token is made on the page /tokens."
)


def bearer(
    scope: str = "",
) -> Callable[[Callable[Concatenate[Bearer, _P], ResponseReturnValue]], Callable[_P, ResponseReturnValue]]:
    """Let in who holds a token with this scope ("" for any), while its person may read the account. The view gets the bearer first.

    Who asks too often is told so before anything is looked up.

    A GET changes nothing that people made. When a token was used last is book-keeping: it is written in a short session of its own, at
    most once a minute, and where that fails the answer still comes.
    """

    def guard(view: Callable[Concatenate[Bearer, _P], ResponseReturnValue]) -> Callable[_P, ResponseReturnValue]:
        @wraps(view)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> ResponseReturnValue:
            holder = _holder()
            if holder is None:
                return refused(401, _UNKNOWN, {"WWW-Authenticate": "Bearer"})
            _note(holder)
            if not allows(holder.role, Permission.READ):
                return refused(403, "The role of this token's person does not include reading. An owner can change it.")
            if scope and scope not in holder.scopes:
                return refused(403, f"This token has not the scope {scope}. Make one that has it on the page /tokens.")
            return view(holder, *args, **kwargs)

        guarded.gate = Permission.READ  # type: ignore[attr-defined]  # read by tests/rules/test_routes.py
        return api_by_token(api_by_address(guarded))

    return guard


def _holder() -> Bearer | None:
    token = token_sent()
    if token is None:
        return None
    with looking() as session:
        return bearer_of(session, token_sha256(token), now())


def _note(holder: Bearer) -> None:
    if not note_due(holder.last_used_at, now()):
        return
    try:
        with beside() as session:
            note_token_use(session, token_id=holder.token_id, network=network(), now=now())
    except OperationalError as error:
        _log.warning("a token's last use was not kept: %s", type(error).__name__)
