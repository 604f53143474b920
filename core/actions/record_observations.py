"""Certificates once each; observations when what is seen changes; which of them is current, moved along."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.scanner.verdict import JudgedObservation, Verdict
from core.store.db import CHUNK, insert_missing
from core.store.leaves import keep_leaves
from core.store.observations import Certificate, Current, Observation

Seen = tuple[int, Verdict]
"""An endpoint's row number, and what was judged of it."""
Place = tuple[str, str, str]
"""Where something is current at an endpoint: perspective, address, and the only kind of key that was asked for."""


def content_sha256(judged: JudgedObservation) -> str:
    """What makes two observations the same: the failure's kind and stage, or the protocol facts and the chain as served."""
    seen = judged.observation
    failure = [seen.failure.kind, seen.failure.stage] if seen.failure else None
    tls = [seen.tls.version, seen.tls.cipher, seen.tls.group, seen.tls.alpn] if seen.tls else None
    return hashlib.sha256(json.dumps([failure, tls, list(seen.chain_sha256)]).encode()).hexdigest()


def keep_certificates(session: Session, verdicts: Sequence[Verdict], now: datetime) -> None:
    """Store every certificate of every served chain and verified path, once."""
    rows: dict[str, dict[str, object]] = {}
    for verdict in verdicts:
        for judged in verdict.addresses:
            for each in (*judged.chain, *(judged.path.path or judged.path.walk if judged.path else ())):
                rows[each.sha256] = {
                    "sha256": each.sha256,
                    "der": each.der,
                    "first_seen_at": now,
                    "subject": each.subject,
                    "issuer": each.issuer,
                    "serial": each.serial,
                    "not_before": each.not_before,
                    "not_after": each.not_after,
                    "key": each.key,
                    "spki_sha256": each.spki_sha256,
                    "unreadable": list(each.unreadable),
                }
    known = set(session.scalars(sa.select(Certificate.sha256).where(Certificate.sha256.in_(rows)))) if len(rows) < CHUNK else set()
    insert_missing(session, Certificate, [rows[digest] for digest in sorted(set(rows) - known)])


def keep_late(session: Session, seen: Sequence[Seen]) -> None:
    """Keep what came after a newer scan was recorded, if it is not there already: a fact, but no longer the state."""
    rows = []
    for endpoint_id, verdict in seen:
        known = _known(session, endpoint_id, verdict)
        rows += [row for row in _rows(endpoint_id, verdict) if (row["address"], row["key_asked"], row["content_sha256"]) not in known]
    insert_missing(session, Observation, rows)


def _known(session: Session, endpoint_id: int, verdict: Verdict) -> set[tuple[object, object, object]]:
    """What the endpoint's addresses show now: a result delivered twice adds nothing to it."""
    where = (Current.endpoint_id == endpoint_id, Current.perspective == verdict.scan.observations[0].perspective)
    query = sa.select(Observation.address, Observation.key_asked, Observation.content_sha256).join(
        Current, Current.observation_id == Observation.id
    )
    return set(session.execute(query.where(*where)))


def record_observations(session: Session, seen: Sequence[Seen]) -> None:
    """Add what changed, and move along what is current. Addresses that the name no longer has are marked as gone."""
    known = _current(session, [endpoint_id for endpoint_id, _ in seen])
    looks = [
        (endpoint_id, verdict.scan.scanned_at, judged, values)
        for endpoint_id, verdict in seen
        for judged, values in zip(verdict.addresses, _rows(endpoint_id, verdict), strict=True)
    ]
    new: dict[int, Observation] = {}
    for number, (endpoint_id, _, _, values) in enumerate(looks):
        _, content = known[endpoint_id].get(_place(values), (None, ""))
        if content != values["content_sha256"]:
            new[number] = Observation(**values)
    session.add_all(new.values())
    session.flush()  # all at once: each of them gets its number
    changed: set[int] = set()
    for number, (endpoint_id, at, judged, values) in enumerate(looks):
        row, _ = known[endpoint_id].pop(_place(values), (None, ""))
        if number in new or row is None or row.gone_at is not None:
            changed.add(endpoint_id)
        _move_along(row or _begin(session, new[number]), new.get(number), judged, at)
    for endpoint_id, verdict in seen:
        if not verdict.scan.partial:  # half an answer says nothing of the other half
            for row, _ in known[endpoint_id].values():
                row.gone_at = row.gone_at or verdict.scan.scanned_at
    session.flush()
    keep_leaves(session, changed)


def _current(session: Session, endpoint_ids: Sequence[int]) -> dict[int, dict[Place, tuple[Current, str]]]:
    """What is current at these endpoints, with the content of what was seen."""
    known: dict[int, dict[Place, tuple[Current, str]]] = {endpoint_id: {} for endpoint_id in endpoint_ids}
    query = sa.select(Current, Observation.content_sha256).join(Observation, Observation.id == Current.observation_id)
    for row, content in session.execute(query.where(Current.endpoint_id.in_(endpoint_ids))):
        known[row.endpoint_id][row.perspective, row.address, row.key_asked] = (row, content)
    return known


def _place(values: Mapping[str, object]) -> Place:
    return str(values["perspective"]), str(values["address"]), str(values["key_asked"])


def _begin(session: Session, first: Observation) -> Current:
    row = Current(
        endpoint_id=first.endpoint_id, perspective=first.perspective, address=first.address, key_asked=first.key_asked,
        observation_id=first.id, last_seen_at=first.seen_at, gone_at=None, path=[],
    )  # fmt: skip
    session.add(row)
    return row


def _move_along(row: Current, new: Observation | None, judged: JudgedObservation, at: datetime) -> None:
    if new is not None:
        row.observation_id = new.id
    row.last_seen_at, row.gone_at = at, None
    row.verified = judged.verified
    path = _path(judged)
    if row.path != path:
        row.path = path


def _path(judged: JudgedObservation) -> list[str]:
    """Leaf to trusted root, also where the judge built no path for another reason than the root: an expired chain has one too."""
    if judged.path is None:
        return []
    walked = judged.path.path or (judged.path.walk if judged.path.anchored else ())
    return [each.sha256 for each in walked]


def _rows(endpoint_id: int, verdict: Verdict) -> Iterator[dict[str, object]]:
    for judged in verdict.addresses:
        seen = judged.observation
        chain = list(seen.chain_sha256)
        yield {
            "endpoint_id": endpoint_id,
            "perspective": seen.perspective,
            "address": seen.address,
            "seen_at": verdict.scan.scanned_at,
            "content_sha256": content_sha256(judged),
            "failure_kind": seen.failure.kind.value if seen.failure else None,
            "failure_stage": seen.failure.stage.value if seen.failure else None,
            "failure_message": seen.failure.message if seen.failure else None,
            "tls_version": seen.tls.version if seen.tls else None,
            "tls_cipher": seen.tls.cipher if seen.tls else None,
            "tls_group": seen.tls.group if seen.tls else None,
            "tls_alpn": seen.tls.alpn if seen.tls else None,
            "leaf_sha256": chain[0] if chain else None,
            "chain": chain,
            "ocsp_staple": seen.ocsp_staple or None,
            "scts": seen.scts or None,
            "key_asked": seen.key_asked,
        }
