"""Accounts that have something of everything, and what their exports are made with."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from core.actions.cards import Typed, edit_card
from core.actions.domains import add_domains
from core.actions.import_plan import Choices
from core.actions.imports import Preview, apply_import, hand_in
from core.actions.policy import Actor
from core.exports.content import open_content
from core.exports.keys import BundleKey
from core.exports.write import Made, Whence, reading, write_bundle
from core.net.names import Listed
from core.store.accounts import User
from core.store.db import Sessions
from core.store.imported import import_by_ref
from core.store.watches import Watch
from demo.pki import Chain, make_chain
from tests.make import NOW
from tests.people import joined, person
from tests.scenes import roots_of, scan_all

HOUR: Final = timedelta(hours=1)
KEY: Final = BundleKey("keys.example.org", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
WHENCE: Final = Whence("https://keys.example.org", "1.0", KEY)
NAMES: Final = (
    Listed("www.harbour.example", 443), Listed("mail.harbour.example", 25, "smtp"), Listed("www.harbour.example", 8443),
    Listed("xn--bcher-kva.harbour.example", 443), Listed("shop.harbour.example", 443, "", "192.0.2.7"),
)  # fmt: skip
NOTES: Final = {
    "www.harbour.example": '=HYPERLINK("http://x")\nRenewed by Mira, “quoted”, 日本語, \u2028 and a tab\t.',
    "mail.harbour.example": "'plain",
}


def write_card(session: Session, actor: Actor, name: str, note: str = "", tags: str = "", who: str = "") -> None:
    """What stands on a name's card."""
    ref = session.scalars(sa.select(Watch.ref).where(Watch.account_id == actor.account_id, Watch.name == name).limit(1)).one()
    responsible = session.scalars(sa.select(User.ref).where(User.email == who)).one() if who else ""
    edit_card(session, actor, ref=ref, typed=Typed(note, tags, responsible, 0), now=NOW)


def make_rich(sessions: Sessions, email: str = "mira@example.org") -> tuple[Actor, Chain]:
    """An account with names of every kind, cards, two members, and some days of history, incidents among it."""
    with sessions.writing() as session:
        owner, _ = person(session, email)
        joined(session, owner, f"max.{email}", "manager")
        add_domains(session, owner, listed=NAMES, private_ranges=False, now=NOW)
        write_card(session, owner, "www.harbour.example", NOTES["www.harbour.example"], "web, prod", f"max.{email}")
        write_card(session, owner, "mail.harbour.example", NOTES["mail.harbour.example"], "mail")
    old = make_chain(["www.harbour.example"], not_after=NOW + 3 * HOUR)
    new = make_chain(["www.harbour.example", "*.harbour.example"], not_after=NOW + timedelta(days=80))
    roots = roots_of(old, new)
    scan_all(sessions, {"www.harbour.example": {"192.0.2.1": old.ders, "192.0.2.2": old.ders}}, roots, NOW + HOUR)
    scan_all(sessions, {"www.harbour.example": {"192.0.2.1": old.ders, "192.0.2.2": new.ders}}, roots, NOW + 5 * HOUR)
    scan_all(sessions, {each.name: {"192.0.2.1": new.ders} for each in NAMES}, roots, NOW + 9 * HOUR)
    return owner, new


def export(sessions: Sessions, actor: Actor, path: Path, *, history: str = "all", now: datetime = NOW, whence: Whence = WHENCE) -> Made:
    """The account's bundle as a file."""
    assert actor.account_id is not None
    with reading(sessions) as session, path.open("wb") as file:
        return write_bundle(session, actor.account_id, file, whence=whence, history=history, now=now)


def members(path: Path) -> dict[str, bytes]:
    """What is in a bundle."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def values(content: bytes) -> list[dict[str, Any]]:
    """Lines of JSON, read."""
    return [json.loads(line) for line in content.decode().split("\n")[:-1]]


def bring_in(
    sessions: Sessions, actor: Actor, path: Path, *, now: datetime = NOW, own: tuple[str, ...] = (KEY.vkey,), **chosen: Any
) -> tuple[str, Preview]:  # fmt: skip
    """The file applied to the account, as a worker does it: its reference, and what was done."""
    choices = Choices(**chosen)
    with open_content(path, own_vkeys=own) as content, sessions.writing() as session:
        ref = hand_in(session, actor, name=path.name, size=path.stat().st_size, sha256="0" * 64, now=now)
        row = import_by_ref(session, actor.account_id or 0, ref)
        assert row is not None
        return ref, apply_import(session, actor, row, content, choices, private_ranges=False, now=now)
