"""Spot checks: asked within limits, handed out, answered, purged after a day.

Anybody may ask, so the limits protect two sides: this installation by what one visitor and one network may ask, and everybody else
by what one name and one address may be asked for by all visitors together.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.policy import Refused
from core.net.lists import read_target
from core.net.names import Listed, NameRefused
from core.net.optout import OptedOut
from core.net.upgrades import PORT_PROTOCOL
from core.store.db import rowcount
from core.store.spot_checks import KEPT, SpotCheck, SpotDial, lock_limits, new_spot_ref

PORTS: Final = {443: "", 8443: "", 25: "smtp", 465: "", 587: "smtp", 110: "pop3", 995: "", 143: "imap", 993: "", 4190: "sieve"}
"""The ports that strangers may have dialled, and how each is reached: web and mail, and nothing else."""
WINDOW: Final = timedelta(minutes=10)
PER_VISITOR, PER_NETWORK, PER_NAME, PER_ADDRESS = 10, 30, 6, 20
"""Questions in ten minutes: of one visitor, of one network (/24 or /64), about one name, and leading to one address."""
MOST_WAITING: Final = 60
LEASE: Final = timedelta(seconds=60)
TRIES: Final = 3
STOPPED: Final = {"state": "unk", "sentence": "This check was stopped three times before it ended. Nothing is known; the log says why."}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a question comes from, as digests: the address itself is not kept."""

    visitor: str
    network: str

    @classmethod
    def at(cls, address: str, key: str) -> Visitor:
        """The digests of an address and of its network, keyed, so that nobody can find the address by trying all."""
        try:
            literal = ipaddress.ip_address(address)
            network = str(ipaddress.ip_network(f"{literal}/{24 if literal.version == 4 else 64}", strict=False))  # noqa: PLR2004 - IPv4
        except ValueError:
            network = "unknown"
        return cls(_digest(address, key), _digest(network, key))


def _digest(text: str, key: str) -> str:
    return hmac.new(key.encode(), b"spot check " + text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def read_spot_target(text: str) -> Listed:
    """The name and port that a stranger typed. Raises Refused: only web and mail ports, reached as they are everywhere."""
    try:
        listed = read_target(text)
    except NameRefused as refused:
        raise Refused(str(refused), "name") from None
    if listed.address or listed.starttls != PORT_PROTOCOL.get(listed.port, ""):
        raise Refused("Write the name alone, or with a port. To reach it in another way, watch it from an account.", "name")
    if listed.port not in PORTS:
        ports = ", ".join(map(str, sorted(PORTS)))
        raise Refused(f"Port {listed.port} is not checked for strangers; web and mail ports are: {ports}.", "name")
    return listed


def ask_spot_check(session: Session, *, listed: Listed, visitor: Visitor, opted_out: OptedOut, now: datetime) -> str:
    """Take on a question; its reference. Raises Refused where a limit is reached or the name asked not to be scanned."""
    if words := opted_out.name_refusal([listed.name]):
        raise Refused(words, "name")
    lock_limits(session)
    since = sa.and_(SpotCheck.asked_at > now - WINDOW, SpotCheck.asked_at <= now + WINDOW)
    again = f"Try again after {now + WINDOW:%H:%M} UTC."
    for column, value, most, words in (
        (SpotCheck.visitor, visitor.visitor, PER_VISITOR, f"You asked {PER_VISITOR} times within ten minutes, which is the most."),
        (SpotCheck.network, visitor.network, PER_NETWORK, "So much was asked from your network within ten minutes that we wait now."),
        (SpotCheck.name, listed.name, PER_NAME, "This name was checked so often within ten minutes, by all together, that it rests now."),
    ):  # fmt: skip
        asked = session.scalar(sa.select(sa.func.count()).select_from(SpotCheck).where(column == value, since)) or 0
        if asked >= most:
            raise Refused(f"{words} {again}", "name")
    waiting = session.scalar(sa.select(sa.func.count()).select_from(SpotCheck).where(SpotCheck.shown_at.is_(None), SpotCheck.ends_at > now))
    if (waiting or 0) >= MOST_WAITING:
        raise Refused("Too many checks are waiting already. Try again in a minute.", "name")
    check = SpotCheck(
        ref=new_spot_ref(), name=listed.name, port=listed.port, starttls=listed.starttls, visitor=visitor.visitor,
        network=visitor.network, asked_at=now, ends_at=now + KEPT, lease_until=None, began_at=None, shown_at=None, answer={},
    )  # fmt: skip
    session.add(check)
    session.flush()
    return check.ref


def claim_spot_check(session: Session, check_id: int, now: datetime) -> int | None:
    """Take one in hand; its claim. None where it is in somebody's hand or over. One that was stopped again and again is given up."""
    free = sa.or_(SpotCheck.lease_until.is_(None), SpotCheck.lease_until <= now, SpotCheck.lease_until > now + LEASE)
    row = session.execute(
        sa.update(SpotCheck)
        .where(SpotCheck.id == check_id, SpotCheck.shown_at.is_(None), free)
        .values(lease_until=now + LEASE, claim=SpotCheck.claim + 1, began_at=now, step="addresses")
        .returning(SpotCheck.claim)
        .execution_options(synchronize_session=False)
    ).first()
    if row is None:
        return None
    if row[0] > TRIES:
        record_spot_check(session, check_id, row[0], answer=STOPPED, shown_at=now)
        return None
    claim: int = row[0]
    return claim


def spot_check_may_dial(session: Session, check_id: int, addresses: Sequence[str], now: datetime) -> str:
    """Note that these are dialled now, and how many there are; a sentence instead where one of them was dialled too often."""
    lock_limits(session)
    keys = sorted({_address_key(address) for address in addresses})
    count = sa.func.count()
    since = sa.and_(SpotDial.at > now - WINDOW, SpotDial.at <= now + WINDOW)
    dialled = session.execute(sa.select(SpotDial.address, count).where(SpotDial.address.in_(keys), since).group_by(SpotDial.address))
    if any(times >= PER_ADDRESS for _, times in dialled):
        return "The server behind this name was checked so often within ten minutes, by everybody together, that we let it rest."
    session.add_all(SpotDial(address=key, at=now) for key in keys)
    values = {"step": "dialling", "addresses": len(addresses)}
    session.execute(sa.update(SpotCheck).where(SpotCheck.id == check_id).values(values).execution_options(synchronize_session=False))
    return ""


def _address_key(address: str) -> str:
    literal = ipaddress.ip_address(address)
    return str(ipaddress.ip_network(f"{literal}/64", strict=False)) if literal.version == 6 else str(literal)  # noqa: PLR2004 - IPv6


def record_spot_check(session: Session, check_id: int, claim: int, *, answer: Mapping[str, Any], shown_at: datetime) -> bool:
    """Keep the answer, to be shown from `shown_at` on. False where another claim was faster: then nothing is changed."""
    where = (SpotCheck.id == check_id, SpotCheck.claim == claim, SpotCheck.shown_at.is_(None))
    values = {"answer": dict(answer), "shown_at": shown_at, "lease_until": None, "step": "done"}
    return rowcount(session.execute(sa.update(SpotCheck).where(*where).values(values).execution_options(synchronize_session=False))) == 1
