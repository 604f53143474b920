"""The log as those see it who run the installation: whether it goes on, what waits, and the last entries. Never a tenant's values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from audit.asked import Place, Told, Waiting, newest_log, told_of_all, waiting
from audit.keeper import STANDING
from audit.kinds import KINDS
from audit.published import Cosigned, PublishedLog, UnreadableError, published_logs
from core.actions.policy import Actor, Permission, require_installation
from core.store.heartbeats import heartbeats
from portal.activity_asked import place
from portal.frame import silent_sequencer
from portal.gate import gate
from portal.html import page
from portal.log_shown import Coarse, coarse
from portal.parts import now, parts, reading

views = Blueprint("operations_log", __name__, url_prefix="/operations/log")
_ROWS: Final = 30
_LONGEST: Final = 64
_LATE_S: Final = 60
_FIELDS: Final = ("kind", "account", "actor")


@dataclass(frozen=True, slots=True)
class Row:
    """One entry: what strangers see of it, and what the database knows."""

    told: Told
    coarse: Coarse

    @property
    def values(self) -> list[tuple[str, str]]:
        """What strangers see; and of an entry that is in no account the rest, too."""
        return replace(self.coarse, said=self.told.values).short if self.told.sealed else self.coarse.short


@views.get("/")
@gate(Permission.SEE_OPERATIONS)
def show(actor: Actor) -> ResponseReturnValue:
    """How the log stands, and its newest entries."""
    require_installation(actor, Permission.SEE_OPERATIONS)
    wanted = {name: request.args.get(name, "").strip()[:_LONGEST] for name in _FIELDS}
    after = place(request.args.get("after", ""))
    found = told_of_all(
        reading(), kind=wanted["kind"], account_ref=wanted["account"], actor=wanted["actor"], after=after, most=_ROWS + 1
    )  # fmt: skip
    shown = [Row(each, coarse(each.index, each.body)) for each in found[:_ROWS]]
    return page(
        "operations/log.html",
        tab="operations",
        at="log",
        log=newest_log(reading()),
        published=_published(),
        silent=silent_sequencer(heartbeats(reading()), now()),
        seen_at=heartbeats(reading()).get("sequencer"),
        waits=(waits := waiting(reading())),
        late=_late(waits),
        witnesses=_witnesses(),
        rows=shown,
        wanted=wanted,
        kinds=sorted(KINDS),
        older=_address(wanted, (found[_ROWS - 1].log, found[_ROWS - 1].index)) if len(found) > _ROWS else "",
        first=after is None,
    )


def _late(waits: Waiting) -> bool:
    return waits.oldest is not None and (now() - waits.oldest).total_seconds() > _LATE_S


def _address(wanted: Mapping[str, str], after: Place) -> str:
    named = [(name, value) for name, value in wanted.items() if value]
    return f"/operations/log?{urlencode([*named, ('after', f'{after[0]}.{after[1]}')])}"


def _published() -> PublishedLog | str | None:
    """The newest log that is published; None before the first, and a sentence where that cannot be read."""
    try:
        logs = published_logs(parts().log_folder)
    except UnreadableError as error:
        return str(error)
    return logs[-1] if logs else None


def _witnesses() -> list[tuple[Cosigned, str]]:
    """Each witness, and why it did not cosign when it was asked last."""
    newest = _published()
    if not isinstance(newest, PublishedLog):
        return []
    troubles = _troubles()
    return [(each, troubles.get(each.name, "")) for each in newest.cosigned(parts().log_witnesses)]


def _troubles() -> dict[str, str]:
    try:
        told: Any = json.loads((parts().log_folder.parent / STANDING).read_bytes())
        return {str(each["name"]): str(each["trouble"]) for each in told}
    except (OSError, ValueError, TypeError, KeyError):
        return {}  # nobody was asked yet, or the file is being looked at by somebody else's version
