"""The page about second factors, as several views show it."""

from __future__ import annotations

from typing import Final

import segno
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from core.actions.factors import app_begun
from core.actions.policy import Actor, Refused, require_person
from core.passkeys import site_of
from core.store.factors import codes_left, factor_of, has_factor
from core.store.passkeys import passkeys_of
from portal.html import page
from portal.parts import parts, reading

_NO_ERRORS: Final = {"code": "", "proof": "", "codes_proof": "", "passkey_proof": "", "": ""}


def factors_page(actor: Actor, *, refused: Refused | None = None, codes: list[str] | None = None) -> ResponseReturnValue:
    """A person's passkeys and their app, with what was refused or with fresh recovery codes, which are shown this once."""
    session, user_id = reading(), require_person(actor)
    begun = app_begun(session, actor, keys=parts().keys)
    return page(
        "factors/show.html",
        status=200 if refused is None else 422,
        factor=factor_of(session, user_id),
        passkeys=passkeys_of(session, user_id),
        possible=site_of(parts().public_url) is not None,
        address=parts().public_url,
        any=has_factor(session, user_id),
        left=codes_left(session, user_id),
        begun=begun,
        picture=_picture(begun.uri) if begun else "",
        codes=codes or [],
        errors={"code": "", "proof": "", "codes_proof": "", "passkey_proof": "", "": ""}
        | ({refused.field: str(refused)} if refused is not None else {}),
    )


def _picture(uri: str) -> Markup:
    """A QR code as SVG, drawn here: nobody else sees what is in it."""
    drawn = segno.make(uri, error="m").svg_inline(
        scale=4, border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None
    )
    return Markup(drawn)  # noqa: S704 - made of squares alone
