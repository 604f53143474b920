"""Findings from open to close: one row for as long as a check gives the same verdict on the same certificate and address."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.scanner.verdict import Verdict
from core.store.observations import Finding


def record_findings(session: Session, seen: Sequence[tuple[int, Verdict]], now: datetime) -> None:
    """Open what is new, move along what still holds, close what no longer does."""
    endpoint_ids = [endpoint_id for endpoint_id, _ in seen]
    rows = session.scalars(sa.select(Finding).where(Finding.endpoint_id.in_(endpoint_ids), Finding.closed_at.is_(None)))
    open_rows = {(row.endpoint_id, row.perspective, row.address, row.check, row.certificate): row for row in rows}
    for endpoint_id, verdict in seen:
        perspective = verdict.scan.observations[0].perspective
        by_key = {(finding.address, finding.check, finding.certificate): finding for finding in reversed(verdict.findings)}
        for finding in by_key.values():
            row = open_rows.pop((endpoint_id, perspective, finding.address, finding.check, finding.certificate), None)
            if row is None:
                row = Finding(
                    endpoint_id=endpoint_id, perspective=perspective, address=finding.address, check=finding.check,
                    certificate=finding.certificate, opened_at=now, closed_at=None,
                )  # fmt: skip
                session.add(row)
            row.severity, row.status = finding.severity.value, finding.status.value
            row.message, row.cause, row.fix = finding.message, finding.cause, finding.fix
            row.evidence = dict(finding.evidence)
            row.last_seen_at = now
    for row in open_rows.values():
        row.closed_at = now
    session.flush()
