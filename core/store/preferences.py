"""How a person wants to see dates and times."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from core.store.base import Base


class Preferences(Base):
    """One row for who chose something. `time_zone` is a name of the IANA's, `dates` one of core.render.LANGUAGES."""

    __tablename__ = "preferences"
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), primary_key=True, autoincrement=False)
    time_zone: Mapped[str] = mapped_column(sa.String(64))
    dates: Mapped[str] = mapped_column(sa.String(8))
