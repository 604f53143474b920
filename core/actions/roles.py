"""What each role may do, in words: docs/roles.md and the table on the team's page, both taken from the policy table.

python -m core.actions.roles > docs/roles.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from core.actions.policy import INSTALLATION_POLICY, PERSONAL, POLICY, ROLES, Permission

WORDS: Final[Mapping[Permission, str]] = {
    Permission.READ: "See names, certificates, findings, mails, the bin and the team",
    Permission.MAKE_TOKENS: "Make API tokens and revoke their own; owners revoke anybody's",
    Permission.LEAVE: "Leave the account",
    Permission.ADD_DOMAINS: "Add names",
    Permission.EDIT_DOMAINS: "Write notes and tags on names, and say who is responsible for them",
    Permission.SCAN_NOW: "Scan now",
    Permission.REMOVE_DOMAINS: "Put names into the bin",
    Permission.RESTORE_DOMAINS: "Bring names back from the bin",
    Permission.EXPORT: "Take the account's data out, now or by a plan, and open calendars",
    Permission.IMPORT: "Bring a file's data into the account, and undo that",
    Permission.MANAGE_TEAM: "Invite people, change roles, remove members and bring them back",
    Permission.MANAGE_ACCOUNT: "Name the account, ask its members for a second factor, remove it and bring it back",
    Permission.SEE_OPERATIONS: "See backups and alarms, users, accounts (never what is in them), workers, settings and lost mail",
    Permission.OPERATE: "Ask for backups and drills, set and lift holds, disable and enable users, give roles on the installation; "
    "with a second factor, tell the public of incidents",
    Permission.IMPERSONATE: "Look at an account as its viewer for half an hour, for a reason that its owners are told",
    Permission.SEE_SELF: "See one's own sign-ins",
    Permission.CHANGE_SELF: "End one's own sign-ins, change one's password, look at another account of one's own, make one",
}
"""Each permission as people read it."""
HEAD: Final = """# Roles

Who may do what. This page is made from the table that every action asks before it changes anything (`python -m core.actions.roles`);
pages ask the same table before they draw a button, and the routes behind the buttons say no all the same. What belongs to another
account is not found, whoever asks.

A user may belong to several accounts, with a role in each. A role on the installation is given at the terminal
(`./keychest user create EMAIL --operator`) or by an operator under Operations, and says nothing about accounts; the last operator
who can sign in keeps it. An account always has an owner: the last one can neither leave nor be made anything else.
"""


def matrix(roles: Mapping[str, frozenset[Permission]]) -> tuple[tuple[str, tuple[bool, ...]], ...]:
    """A row for each permission that one of these roles has: its words, and whether each role has it, in the roles' order."""
    return tuple(
        (words, tuple(permission in held for held in roles.values()))
        for permission, words in WORDS.items()
        if any(permission in held for held in roles.values())
    )


def page() -> str:
    """The whole of docs/roles.md."""
    own = "".join(f"- {WORDS[permission]}\n" for permission in WORDS if permission in PERSONAL)
    meant = "".join(f"- **{role}**: {words}\n" for role, words in ROLES.items())
    return (
        f"{HEAD}\n## In an account\n\n{meant}\n{_table(POLICY)}\n## On the installation\n\n{_table(INSTALLATION_POLICY)}\n"
        f"## Everybody, about themselves alone\n\n{own}"
    )


def _table(roles: Mapping[str, frozenset[Permission]]) -> str:
    lines = [("may", *roles), ("---", *("---" for _ in roles))]
    lines += [(words, *("yes" if may else "" for may in has)) for words, has in matrix(roles)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
