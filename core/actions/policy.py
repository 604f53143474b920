"""Who may do what: one table, asked by every action first and by pages before they draw a button."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Permission(enum.StrEnum):
    """What can be done in an account; then what on the installation; then what everybody may with their own sign-ins and password."""

    READ = "read"
    ADD_DOMAINS = "add_domains"
    EDIT_DOMAINS = "edit_domains"
    SCAN_NOW = "scan_now"
    MAKE_TOKENS = "make_tokens"
    REMOVE_DOMAINS = "remove_domains"
    RESTORE_DOMAINS = "restore_domains"
    EXPORT = "export"
    IMPORT = "import"
    MANAGE_TEAM = "manage_team"
    MANAGE_ACCOUNT = "manage_account"
    LEAVE = "leave"
    SEE_OPERATIONS = "see_operations"
    OPERATE = "operate"
    IMPERSONATE = "impersonate"
    SEE_SELF = "see_self"
    CHANGE_SELF = "change_self"


_READS = frozenset({Permission.READ, Permission.LEAVE, Permission.MAKE_TOKENS})
_WORKS = _READS | {
    Permission.ADD_DOMAINS,
    Permission.EDIT_DOMAINS,
    Permission.SCAN_NOW,
    Permission.REMOVE_DOMAINS,
    Permission.RESTORE_DOMAINS,
    Permission.EXPORT,
    Permission.IMPORT,
}

POLICY: Mapping[str, frozenset[Permission]] = {
    "owner": _WORKS | {Permission.MANAGE_TEAM, Permission.MANAGE_ACCOUNT},
    "manager": _WORKS,
    "viewer": _READS,
}
"""Permissions by role in an account."""
ROLES: Mapping[str, str] = {
    "owner": "does everything in the account, decides who belongs to it, and may remove it",
    "manager": "adds, scans, removes and restores names, takes the account's data out and brings it back",
    "viewer": "sees everything, changes nothing",
}
"""What each role is for, in words."""

INSTALLATION_POLICY: Mapping[str, frozenset[Permission]] = {
    "operator": frozenset({Permission.SEE_OPERATIONS, Permission.OPERATE, Permission.IMPERSONATE}),
    "auditor": frozenset({Permission.SEE_OPERATIONS}),
}
"""Permissions by role on the installation."""


PERSONAL = frozenset({Permission.SEE_SELF, Permission.CHANGE_SELF})
"""What needs no role: each person has it about themselves, and about nobody else."""

_SET_UP = "Set one up under Security, in the menu under your name."


WHILE_IMPERSONATING = frozenset({Permission.READ, Permission.SEE_OPERATIONS, Permission.IMPERSONATE})
"""What is left to an operator who looks at an account: it is read, and nothing is changed in anybody's name."""
_LOOKS = "You look at an account for its owners: you see it and change nothing. End the look at the top of every page first."


class NotAllowed(Exception):  # noqa: N818 - it is a refusal in words, not a fault
    """The actor's role does not allow it. The message is a sentence for them; `out` is what helps: "account", "factor", "" an owner."""

    def __init__(self, message: str, out: str = "") -> None:
        super().__init__(message)
        self.out = out


class Refused(ValueError):  # noqa: N818 - a refusal in words
    """What was asked cannot be done. `field` names the input it is about; the message says what to do."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a member of an account, or the installation's own terminal or worker, where `user_id` is None and that is set."""

    user_id: int | None = None
    user_ref: str = ""
    account_id: int | None = None
    account_ref: str = ""
    role: str = ""
    installation_role: str = ""
    terminal: bool = False
    worker: bool = False
    unproven: bool = False
    """Their role on the installation rests until they have a second factor."""
    resting: bool = False
    """Their role in the account rests: it asks its members for a second factor, and they have none."""
    impersonating: bool = False
    """They look at the account as an operator, for its owners: they read it, and may do nothing but end that."""

    @property
    def name(self) -> str:
        """The actor as the log names them: never a person's own words."""
        if self.worker:
            return "worker"
        return "terminal" if self.terminal else f"user:{self.user_ref}" if self.user_ref else "nobody"


def allows(role: str, permission: Permission) -> bool:
    """Whether a role in an account includes a permission. An unknown role includes nothing."""
    return permission in POLICY.get(role, frozenset())


def require(actor: Actor, permission: Permission) -> int:
    """The account that the actor acts in. Raises NotAllowed when their role there does not include the permission."""
    _require_own(actor, permission)
    if actor.account_id is None:
        raise NotAllowed("You belong to no account at the moment. Ask an owner of one to invite you, or to bring you back.", "account")
    if actor.resting:
        raise NotAllowed(
            "This account asks its members for a second factor. Set one up under Security, in the menu under your name.", "factor"
        )
    if not allows(actor.role, permission):
        raise NotAllowed(f"Your role in this account does not include this ({permission.value.replace('_', ' ')}). An owner can change it.")
    return actor.account_id


def require_person(actor: Actor) -> int:
    """The person who acts. Raises NotAllowed for the terminal, workers and nobody, and for who looks at an account of others."""
    if actor.impersonating:
        raise NotAllowed(_LOOKS)
    if actor.user_id is None:
        raise NotAllowed("This is about a person's own sign-in. Sign in first.")
    return actor.user_id


def permissions(actor: Actor) -> frozenset[Permission]:
    """All that the actor may do, in their account and on the installation."""
    on_the_installation = frozenset() if actor.unproven else INSTALLATION_POLICY.get(actor.installation_role, frozenset())
    in_the_account = frozenset() if actor.resting else POLICY.get(actor.role, frozenset())
    held = in_the_account | on_the_installation
    return held & WHILE_IMPERSONATING if actor.impersonating else held


def _require_own(actor: Actor, permission: Permission) -> None:
    if actor.impersonating and permission not in WHILE_IMPERSONATING:
        raise NotAllowed(_LOOKS)


def require_installation(actor: Actor, permission: Permission) -> None:
    """Raises NotAllowed unless the actor's role on the installation includes the permission; the terminal may do all."""
    _require_own(actor, permission)
    if actor.unproven and permission in INSTALLATION_POLICY.get(actor.installation_role, frozenset()):
        raise NotAllowed(
            "Who runs an installation needs a second factor. Set one up under Security, in the menu under your name.", "factor"
        )
    if not actor.terminal and permission not in INSTALLATION_POLICY.get(actor.installation_role, frozenset()):
        raise NotAllowed("This is for the people who run this installation. An operator can make somebody one, at the terminal.")


def require_worker(actor: Actor) -> None:
    """Raises NotAllowed unless the act is a worker's own, or comes from the machine's terminal."""
    if not (actor.worker or actor.terminal):
        raise NotAllowed("This is done by KeyChest's own workers, and by nobody else.")


def require_terminal(actor: Actor) -> None:
    """Raises NotAllowed unless the act comes from the machine's own terminal."""
    if not actor.terminal:
        raise NotAllowed("This can be done at the terminal of the machine that KeyChest runs on, and nowhere else.")
