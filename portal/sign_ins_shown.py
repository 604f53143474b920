"""The page about a person's own security, as several views show it."""

from __future__ import annotations

from typing import Final

from flask import request
from flask.typing import ResponseReturnValue

from core.actions.passwords import PASSWORD_LEAST, kept_of
from core.actions.policy import Actor, Refused, require_person
from core.render import LANGUAGES, time_zones
from core.store.accounts import own_sign_ins
from core.store.attempts import KEPT_FOR, attempts_on
from core.store.factors import has_factor
from core.store.identities import identity_of
from portal.gate import found
from portal.html import page
from portal.identity import person
from portal.parts import now, parts, reading

SHOWN: Final = 30
"""So many sign-ins does the page list."""
ATTEMPTS: Final = 5


def security_page(actor: Actor, refused: Refused | None = None) -> ResponseReturnValue:
    """Sign-ins, password, second factor, the provider and the address, with what was refused."""
    session, user_id, own, provider = reading(), require_person(actor), found(person()), parts().provider
    listed = own_sign_ins(session, user_id, current_id=own.session_id, now=now(), most=SHOWN)
    errors = {"current": "", "password": "", "email": "", "proof": "", "identity_proof": "", "time_zone": "", "dates": ""}
    return page(
        "sign_ins/show.html",
        status=200 if refused is None else 422,
        held=[each for each in listed if not each.over],
        past=[each for each in listed if each.over],
        typed=request.form.get("email", "") if refused is not None else "",
        errors=errors | ({refused.field: str(refused)} if refused is not None else {}),
        least=PASSWORD_LEAST,
        zones=time_zones(),
        languages=LANGUAGES,
        factor=has_factor(session, user_id),
        has_password=kept_of(session, own.email).password_hash != "",
        provider=provider.name if provider is not None else "",
        attempts=attempts_on(session, user_id, now() - KEPT_FOR, most=ATTEMPTS),
        identity=identity_of(session, user_id, provider.issuer) if provider is not None else None,
    )
