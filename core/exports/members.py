"""Members of a bundle, line by line. What is told twice, or as a table too, is read once, and kept aside on the disk until its turn."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy.orm import Session

from core.exports.chains import Chains
from core.exports.lines import certificate_line, domain_line, incident_lines, observation_lines, pem_of, watch_line
from core.exports.streams import Aside, once, table_line
from core.store import exported
from core.store.exported import DomainRow, Reach
from core.store.exported_certificates import CertificateRow, certificates_of
from core.store.exported_seen import imported_observations_of, observations_of

CERTIFICATE_COLUMNS: Final = CertificateRow._fields
DOMAIN_COLUMNS: Final = ("name", "port", "starttls", "fixed", "note", "tags", "responsible")
_CHAIN: Final = re.compile(r'"chain":"([0-9a-f]{64})"')
_NONE: Final = (None, iter(()))


def domains(session: Session, reach: Reach, watches: Aside, table: Aside) -> Iterator[str]:
    """Lines of `domains.jsonl`; those of `watches.jsonl` and `domains.csv` are put aside: all come by name."""
    table.add(table_line(DOMAIN_COLUMNS))
    rows = exported.watches_of(session, reach)
    row = next(rows, None)
    for domain in exported.domains_of(session, reach):
        yield domain_line(domain)
        while row is not None and row[0] <= domain.name:
            _watch(row, domain, watches, table)
            row = next(rows, None)
    if row is not None:
        raise RuntimeError(f"a watch of {row[0]} has no domain in reach")  # never left out without a word


def _watch(row: Any, domain: DomainRow, watches: Aside, table: Aside) -> None:
    name, port, starttls, fixed, _ = row
    if name != domain.name:
        raise RuntimeError(f"a watch of {name} has no domain in reach")
    watches.add(f"{watch_line(row)}\n")
    table.add(table_line([name, str(port), starttls, fixed, domain.note, ", ".join(domain.tags), domain.responsible]))


def observations(session: Session, reach: Reach, chains: Chains) -> Iterator[str]:
    """Lines of `observations.jsonl`: what was seen here and what was brought, each once, in one order."""
    for _, certificates in exported.imported_chains_of(session, reach.account_id):
        chains.bring(",".join(certificates))
    brought = groupby(imported_observations_of(session, reach), itemgetter(0, 1, 2, 3))
    key, theirs = next(brought, _NONE)
    for watched, own in observations_of(session, reach, partial(observation_lines, chains)):
        if watched.key != key:
            yield from once(own)
            continue
        for line in once(heapq.merge(own, (row[4:] for row in theirs))):
            named = _CHAIN.search(line)
            chains.name(named[1] if named else None)
            yield line
        key, theirs = next(brought, _NONE)
    if key is not None:
        raise RuntimeError(f"imported lines of {key} belong to no watch that was written")  # as above


def incidents(session: Session, reach: Reach) -> Iterator[str]:
    """Lines of `incidents.jsonl`."""
    own = incident_lines(exported.incidents_of(session, reach))
    theirs = ((row[:7], row[6]) for row in exported.imported_incidents_of(session, reach))
    return once(heapq.merge(own, theirs))


def certificates(session: Session, reach: Reach, digests: Iterable[str], lines: Aside, table: Aside) -> Iterator[str]:
    """`certificates.pem`, certificate by certificate; lines of `certificates.jsonl` and the table are put aside."""
    table.add(table_line(CERTIFICATE_COLUMNS))
    for seen, brought, der in certificates_of(session, reach.account_id, digests):
        told = CertificateRow(**json.loads(brought)) if brought else seen
        yield pem_of(told.sha256, der)
        lines.add(f"{brought or certificate_line(told)}\n")
        *texts, unreadable = told
        table.add(table_line([*(text or "" for text in texts), " ".join(unreadable)]))
