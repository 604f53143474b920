"""Scans of made-up servers, recorded by the real actions: what a page shows was judged and stored as in life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from core.scanner.facts import Failure, Scan
from core.scanner.path import Roots
from core.store.db import Sessions
from core.store.endpoints import Endpoint, Schedule
from demo.pki import Chain, Forged
from tests.make import NOW, REFUSED, make_scan, run_scans

Served = Mapping[str, Sequence[bytes] | Failure]
"""By address: the chain as it is sent, or how it failed."""


def roots_of(*trusted: Chain | Forged) -> Roots:
    """Trust in these roots alone."""
    return Roots.of([(each.root if isinstance(each, Chain) else each).certificate for each in trusted])


def scan_all(sessions: Sessions, seen: Mapping[str, Served], roots: Roots, at: datetime = NOW) -> None:
    """One scan of every endpoint at this instant, whoever watches it; names that are not in `seen` refuse."""
    with sessions.writing() as session:
        session.execute(sa.update(Schedule).values(next_scan_at=at))
        targets = {row.id: (row.name, row.port) for row in session.execute(sa.select(Endpoint.id, Endpoint.name, Endpoint.port))}

    def look(endpoint_id: int) -> Scan:
        name, port = targets[endpoint_id]
        return make_scan(name, dict(seen.get(name, {"192.0.2.99": REFUSED})), at=at, port=port)

    with sessions.writing() as session:
        run_scans(session, look, roots=roots, now=at)
