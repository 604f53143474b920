"""Contact escrow: whom to tell after a loss, whatever was lost. Account names and contact addresses, for the offline key alone.

It is small, lies on another target than the backups, and is no backup: nothing can be restored from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.backups.engine import BackupError
from core.backups.keys import open_object
from core.seal import Identity, Recipient, seal_small
from core.store.accounts import Account, Membership, User

FORMAT: Final = "keychest-escrow/1"
CONTACT_ROLES: Final = frozenset({"owner", "manager"})
"""Who is told for an account; where it has none of them left, everybody in it is."""
_WHAT: Final = "The escrow"


@dataclass(frozen=True, slots=True)
class Contacts:
    """An account by its name, and whom to tell: in the order they came, nobody twice, () where nobody is left."""

    account: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Escrow:
    """All accounts that were alive at `at`, oldest first. Two may have the same name."""

    installation: str
    at: datetime
    accounts: tuple[Contacts, ...]

    def to_json(self) -> dict[str, Any]:
        """What is sealed."""
        return {
            "format": FORMAT,
            "installation": self.installation,
            "at": self.at.astimezone(UTC).isoformat(),
            "accounts": [{"name": each.account, "addresses": list(each.addresses)} for each in self.accounts],
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Escrow:
        """What `to_json` wrote. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        accounts = tuple(Contacts(str(each["name"]), tuple(str(one) for one in each["addresses"])) for each in kept["accounts"])
        at = datetime.fromisoformat(kept["at"])
        if at.tzinfo is None:
            raise ValueError("an instant without its zone")
        return cls(str(kept["installation"]), at, accounts)


def gather(session: Session, *, installation: str, at: datetime) -> Escrow:
    """Names and contact addresses of all live accounts, in one question."""
    rows = session.execute(
        sa.select(Account.id, Account.name, Membership.role, User.email)
        .outerjoin(Membership, sa.and_(Membership.account_id == Account.id, Membership.deleted_at.is_(None)))
        .outerjoin(User, sa.and_(User.id == Membership.user_id, User.deleted_at.is_(None)))
        .where(Account.deleted_at.is_(None))
        .order_by(Account.id, Membership.id)
    )
    names: dict[int, str] = {}
    people: dict[int, list[tuple[str, str]]] = {}
    for account_id, name, role, email in rows:
        names[account_id] = name
        people.setdefault(account_id, [])
        if email is not None:
            people[account_id].append((role, email))
    return Escrow(installation, at, tuple(Contacts(names[each], _contacts(people[each])) for each in names))


def _contacts(members: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    chosen = [email for role, email in members if role in CONTACT_ROLES] or [email for _, email in members]
    return tuple(dict.fromkeys(chosen))


def seal_escrow(escrow: Escrow, recipient: Recipient) -> bytes:
    """The escrow for the offline recovery key alone: whoever takes the machine must not learn from the other target whom it serves."""
    return seal_small(json.dumps(escrow.to_json(), indent=1).encode(), recipient)


def open_escrow(sealed: bytes, identities: Sequence[Identity]) -> Escrow:
    """What was sealed. Raises BackupError."""
    kept = open_object(sealed, identities, what=_WHAT, kind=FORMAT)
    try:
        return Escrow.from_json(kept)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BackupError("damaged", f"{_WHAT} cannot be read: {type(error).__name__} in what was sealed.") from None
