"""How one endpoint stands, as one account may see it: nothing of a shared endpoint from before the account's watch began.

Instants from before are moved up to that beginning: an account must not learn how long another has watched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.endpoints import Endpoint, Schedule, Verdict
from core.store.incidents import Incident
from core.store.observations import Certificate, Current, Finding, Observation
from core.store.watches import Watch


@dataclass(frozen=True, slots=True)
class Look:
    """When an endpoint was scanned from one perspective, and what the rules said. `judged_at` is None before the first scan.

    `pending`: a person asked for a scan that has not been recorded yet.
    """

    perspective: str
    pending: bool
    scanned_at: datetime | None
    next_scan_at: datetime | None
    judged_at: datetime | None
    ruleset: str
    cname_chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """A live watch and how its endpoint stands. The row numbers are for further questions and never shown."""

    watch_id: int
    endpoint_id: int
    domain_id: int
    ref: str
    name: str
    port: int
    how: str
    starttls: str
    address: str
    state: str
    sentence: str
    ends_at: datetime
    since_at: datetime
    looks: tuple[Look, ...]

    @property
    def pending(self) -> bool:
        """Whether a scan was asked for and has not been recorded yet."""
        return any(look.pending for look in self.looks)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one address served to one perspective when it was looked at last. Either `failure_kind` or `leaf` is set.

    `key_asked` is "" for the server's own choice, else the kind of key that alone was offered (core.scanner.facts).

    `since_at` is when this was seen first, `gone` when the name no longer has the address; `chain` and `path` are digests.
    """

    perspective: str
    address: str
    since_at: datetime
    last_seen_at: datetime
    gone: bool
    failure_kind: str | None
    failure_stage: str | None
    failure_message: str | None
    tls_version: str | None
    tls_cipher: str | None
    tls_group: str | None
    tls_alpn: str | None
    leaf: str | None
    key_asked: str
    chain: tuple[str, ...]
    path: tuple[str, ...]
    verified: bool
    not_before: datetime | None
    not_after: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """An open finding. `status` and `severity` have the values of design section 3."""

    check: str
    severity: str
    status: str
    message: str
    cause: str
    fix: str
    perspective: str
    address: str
    certificate: str
    evidence: dict[str, Any]
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a history: kind "seen" or "failed" (an observation), "opened", "closed" or "removed" (an incident).

    "removed": it ended because the watch went into the bin; nobody knows whether it was cured.

    `about` is the certificate, `words` the failure's or the incident's sentence, `severity` the incident's.
    """

    at: datetime
    kind: str
    address: str
    words: str
    about: str
    severity: str


def standing(session: Session, account_id: int, ref: str) -> Standing | None:
    """How the account's live watch with this reference stands; None for strangers' watches and those in the bin."""
    rows = session.execute(
        sa.select(Watch, Schedule, Verdict)
        .join(Endpoint, Endpoint.id == Watch.endpoint_id)
        .outerjoin(Schedule, Schedule.endpoint_id == Watch.endpoint_id)
        .outerjoin(Verdict, sa.and_(Verdict.endpoint_id == Watch.endpoint_id, Verdict.perspective == Schedule.perspective))
        .where(Watch.account_id == account_id, Watch.ref == ref, Watch.deleted_at.is_(None))
        .order_by(Schedule.perspective)
    ).all()
    if not rows:
        return None
    watch: Watch = rows[0][0]
    looks = tuple(_look(schedule, verdict, watch.since_at) for _, schedule, verdict in rows if schedule is not None)
    return Standing(
        watch_id=watch.id,
        endpoint_id=watch.endpoint_id,
        domain_id=watch.domain_id,
        ref=watch.ref,
        name=watch.name,
        port=watch.port,
        how=watch.how,
        starttls=watch.starttls,
        address=watch.address,
        state=watch.state,
        sentence=watch.sentence,
        ends_at=watch.ends_at,
        since_at=watch.since_at,
        looks=looks,
    )


def _look(schedule: Schedule, verdict: Verdict | None, since_at: datetime) -> Look:
    scanned_at, asked_at = schedule.last_scanned_at, schedule.requested_at
    own = verdict if verdict is not None and verdict.judged_at >= since_at else None
    return Look(
        perspective=schedule.perspective,
        pending=asked_at is not None and (scanned_at is None or scanned_at < asked_at),
        scanned_at=scanned_at if scanned_at is not None and scanned_at >= since_at else None,
        next_scan_at=schedule.next_scan_at,
        judged_at=own.judged_at if own else None,
        ruleset=own.ruleset if own else "",
        cname_chain=tuple(own.cname_chain) if own else (),
    )


def seen_now(session: Session, watched: Standing) -> tuple[Seen, ...]:
    """Every address as it was seen last, those that are gone at the end."""
    rows = session.execute(
        sa.select(Current, Observation, Certificate.not_before, Certificate.not_after)
        .join(Observation, Observation.id == Current.observation_id)
        .outerjoin(Certificate, Certificate.sha256 == Observation.leaf_sha256)
        .where(Current.endpoint_id == watched.endpoint_id, Current.last_seen_at >= watched.since_at)
        .order_by(Current.gone_at.is_not(None), Current.address, Current.key_asked, Current.perspective)
    )
    return tuple(
        Seen(
            perspective=current.perspective,
            address=current.address,
            since_at=max(row.seen_at, watched.since_at),
            last_seen_at=current.last_seen_at,
            gone=current.gone_at is not None,
            failure_kind=row.failure_kind,
            failure_stage=row.failure_stage,
            failure_message=row.failure_message,
            tls_version=row.tls_version,
            tls_cipher=row.tls_cipher,
            tls_group=row.tls_group,
            tls_alpn=row.tls_alpn,
            leaf=row.leaf_sha256,
            key_asked=current.key_asked,
            chain=tuple(row.chain),
            path=tuple(current.path),
            verified=current.verified,
            not_before=not_before,
            not_after=not_after,
        )
        for current, row, not_before, not_after in rows
    )


_WORST = ("critical", "high", "medium", "low", "info")


def found_now(session: Session, watched: Standing) -> tuple[Found, ...]:
    """Open findings, worst first, then by check and address."""
    rows = session.scalars(
        sa.select(Finding)
        .where(Finding.endpoint_id == watched.endpoint_id, Finding.closed_at.is_(None), Finding.last_seen_at >= watched.since_at)
        .order_by(sa.case({word: rank for rank, word in enumerate(_WORST)}, value=Finding.severity, else_=len(_WORST)))
        .order_by(Finding.check, Finding.address, Finding.id)
    )
    return tuple(
        Found(
            check=row.check,
            severity=row.severity,
            status=row.status,
            message=row.message,
            cause=row.cause,
            fix=row.fix,
            perspective=row.perspective,
            address=row.address,
            certificate=row.certificate,
            evidence=dict(row.evidence),
            opened_at=max(row.opened_at, watched.since_at),
        )
        for row in rows
    )


def ders(session: Session, digests: Sequence[str]) -> dict[str, bytes]:
    """The stored bytes of those of these certificates that are stored."""
    rows = session.execute(sa.select(Certificate.sha256, Certificate.der).where(Certificate.sha256.in_(set(digests))))
    return {row.sha256: row.der for row in rows}


def history(session: Session, watched: Standing, *, until: datetime | None, skip: int, most: int) -> tuple[Change, ...]:
    """Changes since the watch began, newest first: those not after `until`, without the `skip` newest of that very instant.

    An instant and a count is a key that tells no row number; `skip` stays as small as one scan.
    """
    nothing = sa.literal("")
    seen = sa.select(
        Observation.seen_at.label("at"),
        sa.case((Observation.failure_kind.is_(None), sa.literal("seen")), else_=sa.literal("failed")).label("kind"),
        Observation.address.label("address"),
        sa.func.coalesce(Observation.failure_message, "").label("words"),
        sa.func.coalesce(Observation.leaf_sha256, "").label("about"),
        nothing.label("severity"),
        Observation.id.label("row"),
    ).where(Observation.endpoint_id == watched.endpoint_id, Observation.seen_at >= watched.since_at)
    ended = sa.case((Incident.removed, sa.literal("removed")), else_=sa.literal("closed"))
    told = [
        sa.select(moment, kind, nothing, Incident.message, Incident.certificate, Incident.severity, Incident.id).where(
            Incident.watch_id == watched.watch_id, moment >= watched.since_at
        )
        for moment, kind in ((Incident.opened_at, sa.literal("opened")), (Incident.closed_at, ended))
    ]
    every = sa.union_all(seen, *told).subquery()
    query = sa.select(every).order_by(every.c.at.desc(), every.c.kind, every.c.row.desc()).limit(most)
    if until is not None:
        query = query.where(every.c.at <= until).offset(skip)
    return tuple(
        Change(at, kind, address, words, about, severity) for at, kind, address, words, about, severity, _ in session.execute(query)
    )
