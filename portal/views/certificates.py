"""Certificates: all that is served now, by end; and one of them, with every field, its names, places, neighbours and files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from core.actions.policy import Actor, Permission, require
from core.net.names import u_label
from core.scanner.certificate import Certificate, read_certificate
from core.store.served import MOST_COUNTED, Sighting, names_watched, others_there, served_now, sightings
from core.store.standing import ders
from core.store.watches import NO_END
from portal import charts, fields
from portal.cursors import cursor, read_cursor
from portal.gate import found, gate
from portal.html import page
from portal.parts import now, reading

views = Blueprint("certificates", __name__, url_prefix="/certificates")
_ROWS = 50
_PLACES = 200
_OTHERS = 6
_NAMES = 100
_MOST_NAMES = 20_000
_LONGEST_SEARCH = 253
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TYPES = {"pem": "application/x-pem-file", "der": "application/pkix-cert", "txt": "text/plain; charset=utf-8"}
_CHAIN_TYPE = "application/pem-certificate-chain"  # RFC 8555 section 9.1


@dataclass(frozen=True, slots=True)
class NameGroup:
    """Some of a certificate's names: how many there are, and those shown with the reference of the watch, if there is one."""

    title: str
    count: int
    shown: tuple[tuple[str, str], ...]


@views.get("/")
@gate(Permission.READ)
def show_all(actor: Actor) -> ResponseReturnValue:
    """What the account's live watches serve now, those that end first at the top."""
    search = request.args.get("q", "").strip().replace("\x00", "")[:_LONGEST_SEARCH]
    after = read_cursor(request.args.get("after", ""))
    rows = served_now(reading(), require(actor, Permission.READ), search=search, after=after, most=_ROWS + 1)
    shown = rows[:_ROWS]
    more = cursor(shown[-1].not_after or NO_END, shown[-1].sha256) if len(rows) > _ROWS else ""
    return page(
        "certificates/list.html",
        part="certificates/_list.html",
        tab="certificates",
        rows=shown,
        search=search,
        more=more,
        first=after is None,
        mini_life=charts.mini_life,
        short_name=fields.short_name,
        listed_name=fields.listed_name,
        most_counted=MOST_COUNTED,
    )


@views.get("/<string(length=64):digest>")
@gate(Permission.READ)
def show(actor: Actor, digest: str) -> ResponseReturnValue:
    """One certificate, if the account's watches saw it since they began."""
    account_id = require(actor, Permission.READ)
    seen = _seen(account_id, digest)
    chain = _chain_of(seen)
    stored = ders(reading(), [digest, *chain])
    cert = read_certificate(found(stored.get(digest)))
    values: dict[str, Any] = {
        "cert": cert,
        "title": fields.title_of(cert),
        "state": _state(cert),
        "fields": fields.fields_of(cert),
        "places": _places([each for each in seen if each.now]),
        "former": _places([each for each in seen if not each.now]),
        "as_leaf": bool(chain and chain[0] == digest),
        "chain": [read_certificate(stored[each]) for each in chain if each in stored],
        "others": others_there(reading(), account_id, digest, seen, most=_OTHERS) if chain and chain[0] == digest else (),
        "life": charts.life(cert.not_before, cert.not_after, now()) if cert.not_before and cert.not_after else "",
        "linkable": fields.linkable,
        "short": fields.short,
        "short_name": fields.short_name,
        "title_of": fields.title_of,
        **_names(account_id, cert),
    }
    return page("certificates/show.html", part="certificates/_names.html", tab="certificates", **values)


@views.get("/<string(length=64):digest>.<any(pem, der, txt):kind>")
@gate(Permission.READ)
def download(actor: Actor, digest: str, kind: str) -> ResponseReturnValue:
    """The certificate as a file: PEM, DER, or every field in text."""
    _seen(require(actor, Permission.READ), digest)
    der = found(ders(reading(), [digest]).get(digest))
    content = der if kind == "der" else (fields.pem(der) if kind == "pem" else fields.as_text(read_certificate(der))).encode()
    return _file(content, f"{digest[:16]}.{kind}", _TYPES[kind])


@views.get("/<string(length=64):digest>-chain.pem")
@gate(Permission.READ)
def download_chain(actor: Actor, digest: str) -> ResponseReturnValue:
    """The certificate and what the newest look saw served with it, in that order."""
    chain = _chain_of(_seen(require(actor, Permission.READ), digest))
    stored = ders(reading(), chain)
    content = "".join(fields.pem(stored[each]) for each in chain if each in stored)
    return _file(content.encode(), f"{digest[:16]}-chain.pem", _CHAIN_TYPE)


def _file(content: bytes, name: str, kind: str) -> Response:
    return Response(content, headers={"Content-Type": kind, "Content-Disposition": f'attachment; filename="{name}"'})


def _seen(account_id: int, digest: str) -> tuple[Sighting, ...]:
    """Where the account saw it. A stranger's certificate and one that never was are alike: not found."""
    seen = sightings(reading(), account_id, digest, most=_PLACES) if _DIGEST.fullmatch(digest) else ()
    if not seen:
        abort(404)
    return seen


def _chain_of(seen: tuple[Sighting, ...]) -> tuple[str, ...]:
    """The chain as it was served when it was looked at last."""
    return max(seen, key=lambda each: (each.now, each.last_seen_at or each.since_at)).chain


def _places(seen: list[Sighting]) -> list[Sighting]:
    """One line for each endpoint and address, from the first time to the last."""
    merged: dict[tuple[str, str], Sighting] = {}
    for each in seen:
        key = (each.watch_ref, each.address)
        known = merged.get(key, each)
        last = max((at for at in (known.last_seen_at, each.last_seen_at) if at), default=None)
        merged[key] = replace(known, since_at=min(known.since_at, each.since_at), last_seen_at=last)
    return list(merged.values())


def _state(cert: Certificate) -> tuple[str, str]:
    """By its dates alone; what is wrong with it otherwise stands on the endpoints' pages."""
    if cert.not_before is None or cert.not_after is None:
        return "unk", "End unknown"
    at: datetime = now()
    if at > cert.not_after:
        return "bad", "Ended"
    if at < cert.not_before:
        return "bad", "Not valid yet"
    due = at > cert.not_before + (cert.not_after - cert.not_before) * charts.RENEW_AT
    return ("soon", "Renewal is due") if due else ("ok", "In date")


def _names(account_id: int, cert: Certificate) -> dict[str, Any]:
    """The names in two groups, those in the account's list first; at most so many of each as were asked for."""
    wanted = request.args.get("names", "").strip()[:_LONGEST_SEARCH].lower()
    asked = request.args.get("shown", "", str)
    most = min(int(asked), _MOST_NAMES) if asked.isascii() and asked.isdecimal() and len(asked) < len(str(_MOST_NAMES)) + 1 else _NAMES
    sans = list(dict.fromkeys(cert.sans))
    matching = [name for name in sans if wanted in name.lower() or wanted in u_label(name.lower())] if wanted else sans
    watched = names_watched(reading(), account_id, [name.lower() for name in matching])
    groups = [
        NameGroup(title, len(names), tuple((name, watched.get(name.lower(), "")) for name in names[: max(most, _NAMES)]))
        for title, names in (
            ("In your list", [name for name in matching if name.lower() in watched]),
            ("Others", [name for name in matching if name.lower() not in watched]),
        )
        if names
    ]
    return {"groups": groups, "wanted": wanted, "names": len(sans), "matching": len(matching), "next_shown": max(most, _NAMES) * 5}
