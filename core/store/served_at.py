"""Where an account sees a certificate served now."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.observations import Current, Observation
from core.store.watches import Watch

MOST = 50
HTTPS = 443


def served_at(session: Session, account_id: int, certificate: str) -> list[str]:
    """Names at which the account's live watches see this leaf, like "mail.example.org:25 (smtp)"; at most 50, in order."""
    rows = session.execute(
        sa.select(Watch.name, Watch.port, Watch.how)
        .join(Current, Current.endpoint_id == Watch.endpoint_id)
        .join(Observation, Observation.id == Current.observation_id)
        .where(
            Watch.account_id == account_id,
            Watch.deleted_at.is_(None),
            Current.gone_at.is_(None),
            Current.last_seen_at >= Watch.since_at,
            Observation.leaf_sha256 == certificate,
        )
        .distinct()
        .order_by(Watch.name, Watch.port, Watch.how)
        .limit(MOST)
    )
    return [f"{name}{'' if port == HTTPS else f':{port}'}{how and f' ({how})'}" for name, port, how in rows]
