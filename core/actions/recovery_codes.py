"""Recovery codes: ten for each person with a second factor, each of which stands in for it once."""

from __future__ import annotations

import base64
import hashlib
import secrets
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.db import rowcount
from core.store.factors import RecoveryCode

CODES: Final = 10


def fresh_codes(session: Session, user_id: int, now: datetime) -> list[str]:
    """Ten codes in the place of those there were, to be shown once."""
    end_codes(session, user_id, now)
    plain = [base64.b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(CODES)]
    session.add_all([RecoveryCode(user_id=user_id, code_sha256=_code_sha256(code), created_at=now, used_at=None) for code in plain])
    session.flush()
    return ["-".join(code[at : at + 4] for at in range(0, 16, 4)) for code in plain]


def code_used(session: Session, user_id: int, code: str, now: datetime) -> bool:
    """Whether this is a code of theirs, not used before; it is used now."""
    unused = (RecoveryCode.user_id == user_id, RecoveryCode.code_sha256 == _code_sha256(code), RecoveryCode.used_at.is_(None))
    return rowcount(session.execute(sa.update(RecoveryCode).where(*unused).values(used_at=now))) == 1


def end_codes(session: Session, user_id: int, now: datetime) -> None:
    """None of the codes works any more."""
    unused = (RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    session.execute(sa.update(RecoveryCode).where(*unused).values(used_at=now))


def _code_sha256(code: str) -> str:
    return hashlib.sha256("".join(code.lower().split()).replace("-", "").encode("utf-8", "replace")).hexdigest()
