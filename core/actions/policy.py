"""Who may do what: one table, asked by every action first and by pages before they draw a button."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Permission(enum.StrEnum):
    """What can be done in an account."""

    READ = "read"
    ADD_DOMAINS = "add_domains"
    SCAN_NOW = "scan_now"
    REMOVE_DOMAINS = "remove_domains"
    RESTORE_DOMAINS = "restore_domains"


_READS = frozenset({Permission.READ})
_WORKS = _READS | {Permission.ADD_DOMAINS, Permission.SCAN_NOW, Permission.REMOVE_DOMAINS, Permission.RESTORE_DOMAINS}

POLICY: Mapping[str, frozenset[Permission]] = {"owner": _WORKS, "manager": _WORKS, "viewer": _READS}
"""Permissions by role in an account."""


class NotAllowed(Exception):  # noqa: N818 - it is a refusal in words, not a fault
    """The actor's role does not allow it. The message is a sentence for them."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a member of an account, or the installation's own terminal, where `user_id` is None and `terminal` is set."""

    user_id: int | None = None
    user_ref: str = ""
    account_id: int | None = None
    account_ref: str = ""
    role: str = ""
    terminal: bool = False

    @property
    def name(self) -> str:
        """The actor as the log names them: never a person's own words."""
        return "terminal" if self.terminal else f"user:{self.user_ref}" if self.user_ref else "nobody"


def allows(role: str, permission: Permission) -> bool:
    """Whether a role in an account includes a permission. An unknown role includes nothing."""
    return permission in POLICY.get(role, frozenset())


def require(actor: Actor, permission: Permission) -> int:
    """The account that the actor acts in. Raises NotAllowed when their role there does not include the permission."""
    if actor.account_id is None or not allows(actor.role, permission):
        raise NotAllowed(f"Your role in this account does not include this ({permission.value.replace('_', ' ')}). An owner can change it.")
    return actor.account_id


def require_terminal(actor: Actor) -> None:
    """Raises NotAllowed unless the act comes from the machine's own terminal."""
    if not actor.terminal:
        raise NotAllowed("This can be done at the terminal of the machine that KeyChest runs on, and nowhere else.")
