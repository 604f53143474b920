"""The log's tables. For now the outbox alone: what happened, in the transaction in which it happened."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from core.store.base import Base, Id


class OutboxEvent(Base):
    """An event as its action told it: `public` holds coarse fields, `private` what only commitments will show. Rows are only ever added."""

    __tablename__ = "audit_outbox"
    id: Mapped[Id]
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(sa.String(64))
    actor: Mapped[str] = mapped_column(sa.String(32))
    account_ref: Mapped[str] = mapped_column(sa.String(16), default="")
    public: Mapped[dict[str, Any]]
    private: Mapped[dict[str, Any]]
