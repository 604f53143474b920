"""Certificates once each; observations when what is seen changes; which of them is current, moved along."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.scanner.verdict import JudgedObservation, Verdict
from core.store.db import CHUNK, insert_missing
from core.store.leaves import keep_leaves
from core.store.observations import Certificate, Current, Observation

Seen = tuple[int, Verdict]
"""An endpoint's row number, and what was judged of it."""


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
    endpoint_ids = [endpoint_id for endpoint_id, _ in seen]
    current: dict[tuple[int, str, str, str], tuple[Current, str]] = {}
    query = sa.select(Current, Observation.content_sha256).join(Observation, Observation.id == Current.observation_id)
    for known, content in session.execute(query.where(Current.endpoint_id.in_(endpoint_ids))):
        current[known.endpoint_id, known.perspective, known.address, known.key_asked] = (known, content)
    changed: set[int] = set()
    for endpoint_id, verdict in seen:
        at = verdict.scan.scanned_at
        gone = {key: known for key, (known, _) in current.items() if key[0] == endpoint_id}
        for judged, values in zip(verdict.addresses, _rows(endpoint_id, verdict), strict=True):
            key = (endpoint_id, judged.observation.perspective, judged.observation.address, judged.observation.key_asked)
            known_row, content = current.get(key, (None, ""))
            same = known_row is not None and content == values["content_sha256"]
            row = known_row if known_row is not None and same else _replace(session, known_row, values)
            if not same or row.gone_at is not None:
                changed.add(endpoint_id)
            row.last_seen_at, row.gone_at = at, None
            row.verified = judged.verified
            path = _path(judged)
            if row.path != path:
                row.path = path
            gone.pop(key, None)
        for row in gone.values() if not verdict.scan.partial else ():  # half an answer says nothing of the other half
            row.gone_at = row.gone_at or at
    session.flush()
    keep_leaves(session, changed)


def _path(judged: JudgedObservation) -> list[str]:
    """Leaf to trusted root, also where the judge built no path for another reason than the root: an expired chain has one too."""
    if judged.path is None:
        return []
    walked = judged.path.path or (judged.path.walk if judged.path.anchored else ())
    return [each.sha256 for each in walked]


def _replace(session: Session, row: Current | None, values: dict[str, object]) -> Current:
    observation = Observation(**values)
    session.add(observation)
    session.flush()
    if row is None:
        row = Current(
            endpoint_id=observation.endpoint_id, perspective=observation.perspective, address=observation.address,
            key_asked=observation.key_asked,
            observation_id=observation.id, last_seen_at=observation.seen_at, gone_at=None, path=[],
        )  # fmt: skip
        session.add(row)
    row.observation_id = observation.id
    return row


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
