"""What workers do with files that people handed in: look through them, and apply what was chosen. A killed worker leaves nothing half."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.import_plan import Choices
from core.actions.imports import KEPT_FOR, Preview, apply_import, look_through
from core.actions.policy import Actor, NotAllowed, require_worker
from core.exports.content import Content
from core.store.accounts import Account, Membership, User
from core.store.db import rowcount
from core.store.imports import Import

_NEXT = {"waiting": "reading", "reading": "reading", "wanted": "applying", "applying": "applying"}


def take_import(session: Session, import_id: int, *, lease: timedelta, now: datetime) -> Import | None:
    """The import, in hand until the lease is over; None where another worker has it, or there is nothing to do with it."""
    free = sa.or_(Import.lease_until.is_(None), Import.lease_until <= now)
    state = sa.case(*((Import.state == was, becomes) for was, becomes in _NEXT.items()), else_=Import.state)
    mine = (Import.id == import_id, Import.state.in_(_NEXT), free)
    values = {"state": state, "lease_until": now + lease, "claim": Import.claim + 1}
    taken = session.execute(sa.update(Import).where(*mine).values(values).execution_options(synchronize_session=False))
    return session.get(Import, import_id, populate_existing=True) if rowcount(taken) else None


def hold_import(session: Session, row: Import, *, lease: timedelta, now: datetime) -> bool:
    """The lease anew. False where somebody else has it meanwhile."""
    mine = (Import.id == row.id, Import.claim == row.claim, Import.state == row.state)
    values = {"lease_until": now + lease}
    return rowcount(session.execute(sa.update(Import).where(*mine).values(values).execution_options(synchronize_session=False))) == 1


def for_whom(session: Session, row: Import) -> Actor:
    """Who handed it in, in the role that they have now. Raises NotAllowed where they left the account, or it is in the bin."""
    found = session.execute(
        sa.select(User, Account, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .join(Account, Account.id == Membership.account_id)
        .where(
            User.id == row.handed_in_by, Account.id == row.account_id, User.deleted_at.is_(None), Membership.deleted_at.is_(None),
            Account.deleted_at.is_(None),
        )
    ).first()  # fmt: skip
    if found is None:
        raise NotAllowed("Who handed this file in does not belong to the account any more. Nothing was changed.")
    user, account, role = found
    return Actor(user_id=user.id, user_ref=user.ref, account_id=account.id, account_ref=account.ref, role=role)


def preview_import(session: Session, row: Import, content: Content, *, now: datetime) -> Preview:
    """What it would do, by the choices that stand first. Raises BundleRefused and NotAllowed. Nothing is changed."""
    return look_through(session, for_whom(session, row), content, Choices.read(row.choices), now=now)


def record_preview(session: Session, actor: Actor, row: Import, content: Content, preview: Preview) -> bool:
    """It was looked through. False where somebody else has it meanwhile."""
    require_worker(actor)
    values: dict[str, Any] = {
        "state": "previewed", "lease_until": None, "form": content.form, "version": content.version, "trust": content.trust or "",
        "signer": content.signer, "error": "",
        "summary": preview.summary | {
            "people": list(content.people), "name": content.name or "", "factor": bool(content.factor_required),
            "observations": content.observations, "incidents": content.incidents,
        },
    }  # fmt: skip
    mine = (Import.id == row.id, Import.claim == row.claim, Import.state == "reading")
    return rowcount(session.execute(sa.update(Import).where(*mine).values(values).execution_options(synchronize_session=False))) == 1


def refuse_import(session: Session, actor: Actor, row: Import, *, error: str) -> None:
    """It cannot be taken: says why. Where it was to be applied, what was looked through stays, to be applied another time or dropped."""
    require_worker(actor)
    state = "refused" if row.state == "reading" else "previewed"
    mine = (Import.id == row.id, Import.claim == row.claim, Import.state == row.state)
    values = {"state": state, "lease_until": None, "error": error[:2_000]}
    session.execute(sa.update(Import).where(*mine).values(values).execution_options(synchronize_session=False))


def apply_wanted(session: Session, row: Import, content: Content, *, allowed_accounts: Sequence[int], now: datetime) -> Preview | None:
    """Apply what was chosen, in the caller's transaction. None where somebody else has it meanwhile."""
    held = session.scalar(sa.select(Import).where(Import.id == row.id).with_for_update().execution_options(populate_existing=True))
    if held is None or held.claim != row.claim or held.state != "applying":
        return None
    actor = for_whom(session, held)
    private = held.account_id in allowed_accounts
    done = apply_import(session, actor, held, content, Choices.read(held.choices), private_ranges=private, now=now)
    held.lease_until = None
    return done


def drop_old_imports(session: Session, refs: Sequence[str], *, now: datetime) -> list[str]:
    """Which of these files are done with: of imports that were applied, dropped or refused, and of those that nobody wanted in a week."""
    left = (Import.state.in_(("previewed", "refused", "waiting")), Import.handed_in_at < now - KEPT_FOR)
    session.execute(sa.update(Import).where(*left).values(state="dropped").execution_options(synchronize_session=False))
    at_work = ("waiting", "reading", "previewed", "wanted", "applying")
    needed = set(session.scalars(sa.select(Import.ref).where(Import.ref.in_(refs), Import.state.in_(at_work))))
    return [ref for ref in refs if ref not in needed]
