"""/api/v1: what a program may read of an account, as JSON. docs/api.md says how."""

from __future__ import annotations

import json
import re
from typing import Final

from flask import Blueprint, Flask, current_app, request
from flask.typing import ResponseReturnValue

from core.scanner.certificate import read_certificate
from core.store.cards import Written, written_on
from core.store.listing import Row, Wanted, is_cursor, listing
from core.store.served import Served, served_now
from core.store.standing import ders
from core.store.tokens import Bearer
from core.store.watches import NO_END
from portal.api_answers import Account, Certificate, Certificates, Domain, Domains, Me, Person, Place, Token
from portal.api_document import document, refuse, told
from portal.bearer import bearer
from portal.cursors import cursor, read_cursor
from portal.parts import reading

views = Blueprint("api", __name__, url_prefix="/api/v1")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DOCUMENT: Final = "keychest.api"


def describe(app: Flask) -> None:
    """Write the document of the routes, once: they are the same for as long as the application runs."""
    app.extensions[_DOCUMENT] = json.dumps(document(app), indent=1)


@views.get("/openapi.json", provide_automatic_options=False)
def openapi() -> ResponseReturnValue:
    """What can be asked here, as OpenAPI 3.1."""
    answer = current_app.response_class(current_app.extensions[_DOCUMENT], mimetype="application/json")
    answer.headers["Cache-Control"] = "no-cache"
    answer.add_etag()
    return answer.make_conditional(request)


@views.get("/me", provide_automatic_options=False)
@bearer()
@told(Me, "Who the token speaks for.")
def me(holder: Bearer) -> Me:
    """Who the token speaks for, and what it may."""
    return Me(
        account=Account(ref=holder.account_ref, name=holder.account_name),
        person=Person(ref=holder.user_ref, email=holder.email, role=holder.role),
        token=Token(name=holder.token_name, scopes=list(holder.scopes), expires_at=holder.expires_at),
    )


@views.get("/domains", provide_automatic_options=False)
@bearer("read:domains")
@told(Domains, "One page of the watches.", query=Place)
def domains(holder: Bearer, query: Place) -> Domains:
    """The account's live watches, by name.

    The token needs the scope `read:domains`.
    """
    if query.after and not is_cursor(reading(), holder.account_id, "name", query.after):
        refuse("after")
    found = listing(reading(), holder.account_id, Wanted(sort="name", after=query.after), query.limit)
    cards = written_on(reading(), [row.domain_id for row in found.rows])
    return Domains(items=[_domain(row, cards[row.domain_id]) for row in found.rows], next=found.next or None)


@views.get("/certificates", provide_automatic_options=False)
@bearer("read:certificates")
@told(Certificates, "One page of the certificates.", query=Place)
def certificates(holder: Bearer, query: Place) -> Certificates:
    """What the account's live watches serve now, those that end first at the top.

    The token needs the scope `read:certificates`.
    """
    after = read_cursor(query.after)
    if query.after and (after is None or not _DIGEST.fullmatch(after[1])):
        refuse("after")
    rows = served_now(reading(), holder.account_id, after=after, most=query.limit + 1)
    shown = rows[: query.limit]
    stored = ders(reading(), [row.sha256 for row in shown])
    more = cursor(shown[-1].not_after or NO_END, shown[-1].sha256) if len(rows) > query.limit else None
    return Certificates(items=[_certificate(row, stored.get(row.sha256)) for row in shown], next=more)


def _domain(row: Row, card: Written) -> Domain:
    responsible = card.responsible if card.responsible and not card.left else None
    return Domain(
        ref=row.ref,
        name=row.name,
        port=row.port,
        state=row.state,
        ends_at=row.ends_at,
        tags=list(card.tags),
        note=card.note,
        responsible=responsible,
    )


def _certificate(row: Served, der: bytes | None) -> Certificate:
    return Certificate(
        sha256=row.sha256,
        subject=row.subject,
        issuer=row.issuer,
        not_before=row.not_before,
        not_after=row.not_after,
        names=list(dict.fromkeys(read_certificate(der).sans)) if der is not None else [],
    )
