"""What happened in an account, in full words: for every kind that an account's events have, and in general words for any other.

A sentence is who, what they did, to whom or what (in people's own words, to be escaped and set apart), and the rest. No value makes
it fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from audit.kinds import KINDS, UNKNOWN
from core.render import plural
from core.store.teams import TeamMember
from portal import activity_exports

Values = Mapping[str, Any]
GROUPS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "names": (
        "Names",
        frozenset({"domains.added.v1", "domains.edited.v1", "domains.removed.v1", "domains.restored.v1", "scan.requested.v1"}),
    ),
    "team": (
        "Team",
        frozenset(
            {
                "member.invited.v1", "member.joined.v1", "member.left.v1", "member.removed.v1", "member.restored.v1",
                "invitation.withdrawn.v1", "role.changed.v1",
            }
        ),
    ),
    "access": (
        "Access",
        frozenset(
            {
                "account.factor_required.v1", "activity.downloaded.v1", "api_token.made.v1", "api_token.revoked.v1",
                "impersonation.begun.v1", "impersonation.ended.v1",
            }
        ),
    ),
    "account": ("Account", frozenset({"account.made.v1", "account.removed.v1", "account.renamed.v1", "account.restored.v1"})),
    "data": ("Exports and imports", activity_exports.KINDS),
    "removals": ("Large removals", frozenset({"removal.approved.v1", "removal.asked.v1", "removal.refused.v1"})),
}  # fmt: skip
"""Kinds of an account's events by what they are about; what is in none is found under "other"."""
GROUPED: Final = frozenset().union(*(kinds for _, kinds in GROUPS.values()))
_BY_OPERATORS: Final = frozenset({"impersonation.begun.v1", "impersonation.ended.v1"})
_NOBODY: Final[Mapping[str, str]] = {
    "worker": "KeyChest itself",
    "terminal": "The operator, at the terminal of the machine",
    "nobody": "Somebody who was not signed in",
    "log": "The log itself",
}
_LABELS: Final[Mapping[str, str]] = {
    "added": "Tags added", "address": "Where to", "email": "Address", "export": "Reference of the export", "history": "How far back",
    "import": "Reference of the import", "name": "Called", "note": "Note changed", "plan": "Reference of the plan",
    "reason": "Reason given",
    "responsible": "Now responsible", "scopes": "May read", "sha256": "SHA-256", "taken": "Tags taken away",
    "token": "Reference of the token", "user": "Person", "why": "Why",
}  # fmt: skip
_PEOPLE: Final = frozenset({"user", "responsible"})


@dataclass(frozen=True, slots=True)
class Sentence:
    """What was done: the words, then `whom` or what it was about, "" where the words say it, then the rest. `uses`: fields it tells."""

    did: str
    whom: str = ""
    rest: str = ""
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened. `details`: what the sentence does not tell, in labels and values."""

    who: str
    what: Sentence
    details: tuple[tuple[str, str], ...]
    at: datetime | None


class People:
    """How an account calls people: by address while they belong to it, as a former member then."""

    def __init__(self, there: tuple[TeamMember, ...], left: tuple[TeamMember, ...]) -> None:
        self.there, self.left = there, left
        self._called = {each.ref: f"{each.email} (a former member)" for each in left} | {each.ref: each.email for each in there}

    def called(self, ref: object) -> str:
        """A person, by reference."""
        return self._called.get(str(ref), "a former member") if ref else "nobody"

    def who(self, actor: str, kind: str) -> str:
        """An actor, at the beginning of a sentence."""
        if kind in _BY_OPERATORS:
            return "An operator of this installation"
        if actor in _NOBODY:
            return _NOBODY[actor]
        called = self.called(actor.removeprefix("user:"))
        return called if "@" in called else called.capitalize()

    def with_text(self, text: str) -> frozenset[str]:
        """References of those whose address has it."""
        return frozenset(each.ref for each in (*self.there, *self.left) if text.lower() in each.email.lower())


def line(kind: str, actor: str, at: datetime | None, values: Values, people: People) -> Line:
    """What happened, in words. It never fails, whatever the values are."""
    named = {name: people.called(value) if name in _PEOPLE else value for name, value in values.items()}
    what = sentence(kind, named)
    rest = [(name, value) for name, value in sorted(named.items()) if name not in what.uses and not _empty(value)]
    return Line(people.who(actor, kind), what, tuple((_LABELS.get(name) or _label(name), _said(value)) for name, value in rest), at)


def sentence(kind: str, values: Values) -> Sentence:
    """What was done, with these values; in the log's own general words for a kind that is not an account's."""
    make = _SENTENCES.get(kind)
    return make(values) if make is not None else Sentence(f"did something: {KINDS.get(kind, UNKNOWN).says}")


def kinds_with_text(text: str) -> frozenset[str]:
    """Kinds whose words have it."""
    wanted = text.lower()
    return frozenset(kind for kind in GROUPED if wanted in _spoken(sentence(kind, {})) or wanted in KINDS[kind].says.lower())


def _spoken(said: Sentence) -> str:
    return f"{said.did} {said.whom} {said.rest}".replace("\u00a0", " ").lower()


def _many(values: Values, name: str, word: str = "name") -> str:
    value = values.get(name)
    return plural(value, word) if isinstance(value, int) and not isinstance(value, bool) else f"some {word}s"


def _text(values: Values, name: str, otherwise: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) and value else otherwise


def _role(values: Values, name: str = "role") -> str:
    return _text(values, name, "member")


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _empty(value: object) -> bool:
    return value is None or value is False or value == ""  # never a count: 0 is told


def _said(value: object) -> str:
    return "yes" if value is True else f"{value:,}" if isinstance(value, int) else str(value)


def _names(did: str, count: str, rest: str = "") -> Callable[[Values], Sentence]:
    """How many names, and which where that is told."""

    def made(values: Values) -> Sentence:
        listed = _text(values, "names", "")
        words = f"{did} {_many(values, count)}{rest}"
        return Sentence(f"{words}:" if listed else words, listed, uses=frozenset({count, "names"}))

    return made


def _added(values: Values) -> Sentence:
    listed, back = _text(values, "names", ""), values.get("restored")
    words = f"added {_many(values, 'added')}"
    if isinstance(back, int) and back > 0:
        words = f"brought {_many(values, 'restored')} back by listing them again" + (f", and {words}" if values.get("added") else "")
    return Sentence(f"{words}:" if listed else words, listed, uses=frozenset({"added", "restored", "names"}))


def _member(did: str, whom: str, rest: str) -> Callable[[Values], Sentence]:
    """Somebody and their role."""
    return lambda values: Sentence(did, _text(values, whom, "somebody"), rest.format(_role(values)), frozenset({whom, "role"}))


def _own(did: str) -> Callable[[Values], Sentence]:
    """What the actor did themselves, in a role."""
    return lambda values: Sentence(did.format(_role(values)), uses=frozenset({"role"}))


def _removal(did: str) -> Callable[[Values], Sentence]:
    """A large removal: of names, or of the account."""

    def made(values: Values) -> Sentence:
        verb = "took back the request for" if did == "refused" and values.get("withdrawn") is True else did
        what = "this whole account" if values.get("account") is True else _many(values, "names")
        return Sentence(f"{verb} the removal of {what}", uses=frozenset({"names", "account", "withdrawn"}))

    return made


def _ended(values: Values) -> Sentence:
    how = {"time": ", as its time was over", "sign-in": ", as their sign-in ended"}.get(_text(values, "by", ""), "")
    return Sentence(f"stopped looking at this account{how}", uses=frozenset({"by"}))


def _exports(kind: str) -> Callable[[Values], Sentence]:
    """Of exports and imports, whose words stand apart."""

    def made(values: Values) -> Sentence:
        did, uses = activity_exports.words(kind, values)
        return Sentence(did, uses=uses)

    return made


_SENTENCES: Final[Mapping[str, Callable[[Values], Sentence]]] = {
    "account.factor_required.v1": lambda values: Sentence(
        "asked every member for a second factor" if values.get("on") is not False else "stopped asking members for a second factor",
        uses=frozenset({"on"}),
    ),
    "account.made.v1": lambda _: Sentence("made this account"),
    "account.removed.v1": lambda values: Sentence(
        f"put this account into the bin, with {_many(values, 'names')} and {_many(values, 'members', 'member')}",
        uses=frozenset({"names", "members"}),
    ),
    "account.renamed.v1": lambda _: Sentence("gave this account another name"),
    "account.restored.v1": lambda values: Sentence(
        f"brought this account back from the bin, with {_many(values, 'names')}", uses=frozenset({"names"})
    ),
    "activity.downloaded.v1": lambda values: Sentence(
        f"downloaded this activity with its proofs: {_count(values)}", uses=frozenset({"entries"})
    ),
    "api_token.made.v1": lambda values: Sentence(f"made an API token that lasts {_many(values, 'days', 'day')}", uses=frozenset({"days"})),
    "api_token.revoked.v1": lambda _: Sentence("ended an API token"),
    "domains.added.v1": _added,
    "domains.edited.v1": lambda values: Sentence(f"wrote on {_many(values, 'names')}", uses=frozenset({"names"})),
    "domains.removed.v1": _names("put", "removed", " into the bin"),
    "domains.restored.v1": _names("brought", "restored", " back from the bin"),
    "impersonation.begun.v1": lambda values: Sentence(
        f"began to look at this account as a viewer of it would, for {_many(values, 'minutes', 'minute')} at most",
        uses=frozenset({"minutes"}),
    ),
    "impersonation.ended.v1": _ended,
    "invitation.withdrawn.v1": lambda _: Sentence("withdrew an invitation"),
    "member.invited.v1": _member("invited", "email", "as {}"),
    "member.joined.v1": _own("accepted an invitation, and is here as {}"),
    "member.left.v1": _own("left this account, where they were {}"),
    "member.removed.v1": _member("removed", "user", "who was {} here"),
    "member.restored.v1": _member("brought", "user", "back as {}"),
    "removal.approved.v1": _removal("allowed"),
    "removal.asked.v1": _removal("asked a second person to allow"),
    "removal.refused.v1": _removal("refused"),
    "role.changed.v1": lambda values: Sentence(
        "made",
        _text(values, "user", "somebody"),
        f"{_role(values, 'to')}, who was {_role(values, 'from')}",
        frozenset({"user", "from", "to"}),
    ),
    **{kind: _exports(kind) for kind in activity_exports.KINDS},
    "scan.requested.v1": lambda values: Sentence(f"asked for scans of {_many(values, 'names')} at once", uses=frozenset({"names"})),
}


def _count(values: Values) -> str:
    value = values.get("entries")
    return plural(value, "entry", "entries") if isinstance(value, int) else "some entries"
