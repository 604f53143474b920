"""How much an account may watch, and how much of one host all accounts together may."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.net.names import Listed
from core.store.db import CHUNK
from core.store.endpoints import Endpoint, Schedule
from core.store.watches import Watch

PORTS_PER_NAME = 32
"""Ports (and fixed addresses, and protocols) of one name that one account may watch."""
PORTS_PER_TARGET = 96
"""Ports of one name that all accounts together may watch: nobody's host is scanned port by port from here."""
WATCHES_PER_ACCOUNT = 100_000
_Way = tuple[int, str, str]
"""Port, upgrade protocol and fixed address: each is a handshake of its own."""
DAY = timedelta(days=1)


def over_budget(session: Session, account_id: int, wanted: Sequence[Listed], now: datetime) -> dict[Listed, str]:
    """The names that cannot be taken on, each with a sentence that says why. The others fit together.

    What was watched within the last day counts too: adding and removing in turns is no way to scan a host port by port.
    """
    names = sorted({listed.name for listed in wanted})
    mine: dict[str, set[_Way]] = {}
    every: dict[str, set[_Way]] = {}
    recent = now - DAY
    of_mine = sa.or_(Watch.deleted_at.is_(None), Watch.since_at > recent, Watch.deleted_at > recent)
    of_all = sa.or_(Schedule.watchers > 0, Endpoint.created_at > recent)
    for start in range(0, len(names), CHUNK):
        some = names[start : start + CHUNK]
        own = sa.select(Watch.name, Watch.port, Watch.starttls, Watch.address)
        _count(mine, session, own.where(Watch.account_id == account_id, of_mine, Watch.name.in_(some)))
        anybodys = sa.select(Endpoint.name, Endpoint.port, Endpoint.starttls, Endpoint.address).join(Schedule)
        _count(every, session, anybodys.where(of_all, Endpoint.name.in_(some)))
    total = session.scalar(sa.select(sa.func.count()).where(Watch.account_id == account_id, Watch.deleted_at.is_(None))) or 0
    refused: dict[Listed, str] = {}
    for listed in wanted:
        ways, all_ways = mine.setdefault(listed.name, set()), every.setdefault(listed.name, set())
        way = listed.key[1:]
        if way in ways:
            continue
        if len(ways) >= PORTS_PER_NAME:
            refused[listed] = f"{PORTS_PER_NAME} ports of this name are watched already, which is the most for one name."
        elif way not in all_ways and len(all_ways) >= PORTS_PER_TARGET:
            refused[listed] = "So many ports of this name are watched here that no further one is taken on."
        elif total >= WATCHES_PER_ACCOUNT:
            refused[listed] = f"This account watches {WATCHES_PER_ACCOUNT:,} names, which is the most."
        else:
            ways.add(way)
            all_ways.add(way)
            total += 1
    return refused


def _count(ports: dict[str, set[_Way]], session: Session, query: sa.Select[str, int, str, str]) -> None:
    for name, port, starttls, address in session.execute(query):
        ports.setdefault(name, set()).add((port, starttls, address))
