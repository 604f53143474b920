"""What stands beside the list of backups: where they lie, what is weak about that, and which keys open them. Nothing is dialled or made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.backups import keys
from core.backups.engine import BackupError
from core.backups.plan import Plan
from core.patience import within
from core.seal import fingerprint, read_recipient, recipient_of
from core.store.backups import Backup, RecoveryKit
from portal.fields import fours


@dataclass(frozen=True, slots=True)
class Place:
    """A target: its address without secrets, a state's mark, and what became of the newest backup there."""

    shown: str
    mark: str
    said: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key by the fingerprint of its public half; `said` where there is none, or what there is to know."""

    name: str
    fingerprint: str
    mark: str
    said: str


@dataclass(frozen=True, slots=True)
class Beside:
    """`refused`: why no backup can be made as things are set, "" where one can; `unreadable`: why the targets cannot be told.

    `repository`: where the rows themselves lie, in a sentence, "" where they lie at the places.
    """

    places: tuple[Place, ...]
    repository: str
    unreadable: str
    weaknesses: tuple[str, ...]
    refused: str
    keys: tuple[Key, ...]
    kit_places: tuple[Place, ...]


def beside(plan: Plan, newest: Backup | None, kit: RecoveryKit | None) -> Beside:
    """All of it. Settings that cannot be used are told, not raised."""
    places: tuple[Place, ...] = ()
    weaknesses: tuple[str, ...] = ()
    unreadable = ""
    try:
        places = _places(tuple(target.shown for target in plan.targets()), newest)
        weaknesses = _weaknesses(plan)
    except BackupError as error:
        unreadable = str(error)
    return Beside(
        places,
        _repository(plan),
        unreadable,
        weaknesses,
        within(lambda: _refused(plan)) or "",
        (_recovery_key(plan), _drill_key(plan)),
        _kit_places(kit),
    )


def _weaknesses(plan: Plan) -> tuple[str, ...]:
    found = within(plan.weaknesses)
    return ("A folder that backups are put into does not answer: see whether its disk or its server is well.",) if found is None else found


def _repository(plan: Plan) -> str:
    """On PostgreSQL the places hold small files alone."""
    if not plan.postgresql:
        return ""
    try:
        kept_in = plan.repository()
    except BackupError as error:
        return f"Where pgBackRest keeps the rows is not known here. {error}"
    here = "Here lie what tells of each backup, the recovery kit and the escrow."
    return f"The rows lie in pgBackRest's own repository{f', {kept_in}' if kept_in else ''}. {here}"


def _places(named: tuple[str, ...], newest: Backup | None) -> tuple[Place, ...]:
    became = newest.targets if newest is not None else {}
    found = [_place(shown, became.get(shown), any_yet=newest is not None) for shown in named]
    gone = [Place(shown, "soon", "It holds the newest backup, and is not named any more.") for shown in became if shown not in named]
    return (*found, *gone)


def _place(shown: str, said: str | None, *, any_yet: bool) -> Place:
    if said is None:
        return Place(
            shown, "info", "It was named after the newest backup; the next one is put there." if any_yet else "Nothing was put there yet."
        )
    return Place(shown, "bad", said) if said else Place(shown, "ok", "It took the newest backup and gave it back the same.")


def _kit_places(kit: RecoveryKit | None) -> tuple[Place, ...]:
    if kit is None:
        return ()
    return tuple(Place(shown, "bad" if said else "ok", said) for shown, said in kit.targets.items())


def _refused(plan: Plan) -> str:
    """What `core.backups.make` would refuse before it copies anything."""
    try:
        if plan.production or plan.recovery_key:  # in development the key is made with the first backup, and not by looking at a page
            keys.recovery_recipient(plan.recovery_key, plan.data, production=plan.production)
        plan.targets()
        plan.require_apart()
        plan.engine()
    except BackupError as error:
        return str(error)
    return ""


def _recovery_key(plan: Plan) -> Key:
    name = "Recovery key"
    if plan.recovery_key:
        try:
            return Key(name, _for_people(read_recipient(plan.recovery_key)), "ok", "Offline: its private half is not on this machine.")
        except ValueError as error:
            return Key(name, "", "bad", f"{keys.RECOVERY_SETTING}: {error}.")
    if plan.production:
        return Key(name, "", "bad", f"None. Without one, nothing could be opened after the loss of this machine. {keys.KEYGEN} makes it.")
    return _kept(name, plan.data / keys.RECOVERY_KEY, "For development: it lies in the data folder, and is lost with it.", "soon")


def _drill_key(plan: Plan) -> Key:
    return _kept("Drill key", plan.data / keys.DRILL_KEY, "It lies in the data folder, for drills to open what they prove.", "ok")


def _kept(name: str, path: Path, said: str, mark: str) -> Key:
    try:
        if not path.is_file():
            return Key(name, "", "info", "Not made yet: the first backup makes it.")
        return Key(name, _for_people(recipient_of(keys.read_identities(path)[0])), mark, said)
    except (OSError, BackupError):
        return Key(name, "", "unk", "The portal may not read it, so its fingerprint is not known here.")


def _for_people(recipient: str) -> str:
    return fours(fingerprint(recipient))
