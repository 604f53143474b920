"""The gate: every route is declared with what it needs, or stands in PUBLIC with a reason. `tests/rules/test_routes.py` keeps it so.

Who is not signed in is sent to the sign-in page; whose role is too small is told so; a stranger's object is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

from flask import abort
from flask.typing import ResponseReturnValue

from core.actions.policy import INSTALLATION_POLICY, PERSONAL, Actor, Permission, require, require_installation, require_person
from portal.identity import ask_to_sign_in, who

_P = ParamSpec("_P")
_T = TypeVar("_T")

PUBLIC: Final[Mapping[str, str]] = {
    "static": "style, script and pictures; the same for everybody",
    "patterns.show": "every component with made-up content; the same for everybody",
    "health.healthz": "monitors ask without a sign-in; it tells states and ages, never names",
    "api.openapi": "how programs ask; the same for everybody, and it tells nothing that is not in the source",
    "log.show": "the log is for those who do not trust us; it is made of its published files alone, which name nobody",
    "log.entry": "as show; what an entry only commits to is not in those files",
    "log.checkpoint": "what anybody needs to check the log; it names nobody",
    "log.tile": "as checkpoint: hashes, and entries in coarse form",
    "log.continued": "as checkpoint: the number of the next log",
    "exports.read_calendar": "the address itself is the proof: 256 random bits, until somebody closes the calendar",
    "access.reports": "a host's signature on each report says who it is; what is not signed by a trusted key changes nothing but a count",
    "status.show": "the status page is for everybody; it is made of one public value, which holds nothing of any account",
    "status.measures": "as status.show: what was promised in public",
    "status.access": "as status.show: accesses by role, never by person",
    "status.reasons": "as status.show: reasons that strangers read anyway, with what opens them in the log",
    "status.incident": "as status.show: what was published of one incident",
    "status.feed": "as status.show, for feed readers",
    "status.api": "as status.show, for programs",
    "status.badge": "as status.show, as a picture",
    "spot_checks.show": "anybody may check one name; limits are the action's",
    "spot_checks.ask": "as the form it comes from",
    "spot_checks.show_one": "the link itself is the permission: 128 random bits, for 24 h",
    "spot_checks.about": "what a scan looks like to those who are scanned; the same for everybody",
    "invitations.show": "the link itself is the proof: 256 random bits, once, for as long as its owner chose",
    "invitations.accept": "as show; who is signed in joins only by an invitation for their own address",
    "doors.show_forgot": "where people ask for a new password; the answer tells nobody who is known here",
    "doors.forgot": "as show_forgot",
    "doors.show_reset": "the link itself is the proof: 256 random bits, mailed, once, within an hour",
    "doors.reset": "as show_reset",
    "doors.show_sign_up": "where people come in who are new, if the operator lets them",
    "doors.ask_sign_up": "as show_sign_up; the answer tells nobody who is known here",
    "doors.show_signing_up": "the link itself is the proof: 256 random bits, mailed, once, within 24 h",
    "doors.signing_up": "as show_signing_up",
    "doors.show_email": "the link itself is the proof: 256 random bits, mailed, once, within 24 h",
    "doors.email": "as show_email",
    "factors.show_code": "where people who proved their password prove the rest; the cookie says who",
    "factors.code": "as show_code",
    "passkeys.ask": "where people prove themselves by a passkey; the question tells nobody who is known here",
    "passkeys.enter": "as ask; the device's signature says who",
    "oidc.begin": "where people go to the operator's identity provider; what is sent there says nothing of anybody",
    "oidc.back": "where the provider sends browsers back to; it looks at the cookie, and changes nothing",
    "oidc.enter": "what the provider vouches for says who it is, in the browser that went there",
    "status_mail.show": "where anybody asks to be told of incidents by mail",
    "status_mail.subscribe": "as show; the answer tells nobody who is told already",
    "status_mail.show_confirm": "the link itself is the proof: 256 random bits, mailed, once, within two days",
    "status_mail.confirm": "as show_confirm",
    "status_mail.show_leave": "the link itself is the proof: a mark by the installation's keys, in each mail",
    "status_mail.leave": "as show_leave; mail programs post here without a cookie (RFC 8058)",
    "sign_in.show": "where people sign in",
    "sign_in.enter": "where people sign in",
    "sign_in.leave": "ends the sign-in that the cookie carries; a stranger has none to end",
    "sign_in.show_setup": "the link itself is the proof: 256 random bits, once, within 24 h",
    "sign_in.set_up": "as show_setup",
    "sign_in.show_welcome": "as show_setup",
    "sign_in.welcome": "as show_setup",
}
"""Routes without a gate, by Flask's endpoint, and why."""


ON_THE_INSTALLATION: Final = frozenset().union(*INSTALLATION_POLICY.values())
"""Permissions that a role on the installation gives, and none in an account does."""


def gate(
    permission: Permission,
) -> Callable[[Callable[Concatenate[Actor, _P], ResponseReturnValue]], Callable[_P, ResponseReturnValue]]:
    """Let in who may do this in the account they act in, on the installation, or with what is their own.

    The view gets them as its first argument, `actor`. Put it nearest to the function. An action asks the policy again: the gate is for
    pages, the action for certainty.
    """

    def guard(view: Callable[Concatenate[Actor, _P], ResponseReturnValue]) -> Callable[_P, ResponseReturnValue]:
        @wraps(view)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> ResponseReturnValue:
            actor = who()
            if actor is None:
                return ask_to_sign_in()
            if permission in PERSONAL:
                require_person(actor)
            elif permission in ON_THE_INSTALLATION:
                require_installation(actor, permission)
            else:
                require(actor, permission)
            return view(actor, *args, **kwargs)

        guarded.gate = permission  # type: ignore[attr-defined]  # read by tests/rules/test_routes.py
        return guarded

    return guard


def found(thing: _T | None) -> _T:
    """The thing, or the page that says that there is none: the same for what is a stranger's and for what never was."""
    if thing is None:
        abort(404)
    return thing
