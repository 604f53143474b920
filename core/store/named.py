"""Whether a text names what is somebody's here: asked before strangers may read it."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.net.names import NameRefused, read_name
from core.store.accounts import User
from core.store.db import CHUNK
from core.store.endpoints import Domain
from core.store.public_incidents import Subscriber
from core.store.watches import Watch

_APART: Final = re.compile(r"[\s<>\"'“”„\u2018\u2019\u201a(){}\[\],;!?/\\|=*`«»…]+")
_ROUND: Final = ".:-\u2013—_~#&%+"
_AT_ONCE: Final = CHUNK // 10
_FEW: Final = 5
"""Names cost a search each."""


def named_in(session: Session, text: str) -> str:
    """The first word of the text that is a name which an account watches, lies above or below one, or is a person's address; "" for none.

    What lies in the bin counts too. Words without a dot are no names.
    """
    words = [word.strip(_ROUND) for word in _APART.split(unicodedata.normalize("NFKC", text).replace("。", "."))]
    addresses = {word.lower(): word for word in words if "@" in word}
    theirs = _persons(session, addresses)
    if theirs:
        return addresses[theirs]
    named = {name: piece for word in words for piece in _pieces(word) if (name := _name(piece))}
    found = _watched(session, named)
    return named[found] if found else ""


def for_strangers(session: Session, text: str) -> bool:
    """Whether strangers may read what somebody wrote in a hurry: it has few words that may be names, and none of them is somebody's."""
    words = [word for word in _APART.split(unicodedata.normalize("NFKC", text)) if "." in word.strip(_ROUND) or "@" in word or ":" in word]
    return len(words) <= _FEW and not named_in(session, text)


def _pieces(word: str) -> list[str]:
    """What of a word may be a name: each side of an @ and of a port's colon; an IPv6 address stays whole."""
    return [word] if _address(word) else [piece.strip(_ROUND) for part in word.split("@") for piece in part.split(":")]


def _address(word: str) -> str:
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        return ""


def _name(word: str) -> str:
    if address := _address(word):
        return address
    try:
        name = read_name(word).name
    except NameRefused:
        return ""
    return name if "." in name else ""


def _persons(session: Session, addresses: Collection[str]) -> str:
    listed = list(addresses)
    for at in range(0, len(listed), CHUNK):
        some = listed[at : at + CHUNK]
        for column in (User.email, Subscriber.email):
            found = session.scalar(sa.select(column).where(column.in_(some)).limit(1))
            if found is not None:
                return found
    return ""


def _watched(session: Session, names: Collection[str]) -> str:
    """The first of the names that is watched, or above or below what is."""
    listed = list(names)
    for at in range(0, len(listed), _AT_ONCE):
        some = listed[at : at + _AT_ONCE]
        above = {name: [name, *_parents(name)] for name in some}
        asked = sorted({each for line in above.values() for each in line})
        there = set(session.scalars(sa.select(Watch.name).where(Watch.name.in_(asked))))
        there |= set(session.scalars(sa.select(Domain.name).where(Domain.name.in_(asked))))
        there |= set(session.scalars(sa.select(Watch.address).where(Watch.address.in_(some))))
        for name in some:
            if there & set(above[name]) or _below(session, name):
                return name
    return ""


def _parents(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[at:]) for at in range(1, len(labels) - 1)]


def _below(session: Session, name: str) -> bool:
    return session.scalar(sa.select(sa.exists().where(Watch.name.endswith(f".{name}", autoescape=True)))) or False
