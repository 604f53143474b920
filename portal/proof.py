"""The password that somebody who is signed in types again, for what a found browser must not do."""

from __future__ import annotations

from flask import request

from core.actions.passwords import Checked, check_password, kept_of
from portal.gate import found
from portal.identity import person
from portal.parts import looking


def typed(field: str) -> Checked:
    """What was typed in this field, compared with what is kept of the person. Hashed with no session open: ask before the request acts."""
    with looking() as session:
        kept = kept_of(session, found(person()).email)
    return check_password(kept, request.form.get(field, ""))
