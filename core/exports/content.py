"""What a file that somebody brings says, whichever form it has: names with their cards, settings, and how much history there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.exports.foreign import Form, Unread, Wanted, kind_of, read_foreign
from core.exports.form import ACCOUNT, CHANNELS, DOMAINS, INCIDENTS, MEMBERS_OF, OBSERVATIONS, SETTINGS, WATCHES, Trust
from core.exports.read import Bundle, open_bundle
from core.net.lists import read_address
from core.net.names import Listed, NameRefused, read_name
from core.net.upgrades import PROTOCOLS


@dataclass(frozen=True, slots=True)
class Content:
    """All but the history, which is read from `bundle` as it is needed. `trust` is "" for what is no bundle.

    `name` of the account and `factor_required` are None where the file has none; `people`: who belonged to the account.
    """

    form: Form
    wanted: tuple[Wanted, ...]
    unread: tuple[Unread, ...]
    told: tuple[str, ...]
    version: int = 0
    trust: Trust | None = None
    signer: str = ""
    name: str | None = None
    factor_required: bool | None = None
    people: tuple[str, ...] = ()
    observations: int = 0
    incidents: int = 0
    bundle: Bundle | None = None


@contextmanager
def open_content(path: Path, *, own_vkeys: Sequence[str]) -> Iterator[Content]:
    """What the file says, while the block lasts. Raises BundleRefused with a sentence, and OSError."""
    if kind_of(path) != "bundle":
        found = read_foreign(path)
        yield Content(found.form, found.wanted, found.unread, found.told)
        return
    with open_bundle(path, own_vkeys=own_vkeys) as bundle:
        yield _of(bundle)


def _of(bundle: Bundle) -> Content:
    account, settings = bundle.value(ACCOUNT), bundle.value(SETTINGS)
    cards = {each["name"]: each for each in bundle.lines(DOMAINS)}
    wanted: list[Wanted] = []
    unread: list[Unread] = []
    for number, each in enumerate(bundle.lines(WATCHES), 1):
        try:
            listed = _listed(each)
        except NameRefused as error:
            unread.append(Unread(number, each["name"], str(error)))
            continue
        card = cards.get(each["name"])
        wanted.append(
            Wanted(listed, card["note"], tuple(card["tags"]), card["responsible"], card["kind"]) if card is not None else Wanted(listed)
        )
    people = tuple(each["email"] for each in bundle.lines(MEMBERS_OF))
    sum(1 for _ in bundle.lines(CHANNELS))  # looked at, since a bundle is whole or refused; mail goes to members
    told = [*bundle.told, *bundle.told_of(ACCOUNT, SETTINGS, DOMAINS, WATCHES, MEMBERS_OF, CHANNELS)]
    if people:
        who = _so_many(len(people), "person", "people")
        told.append(f"It lists {who} with a role. Nobody is let in by a file: invite them under Team.")
    if settings["plans"]:
        plans = _so_many(len(settings["plans"]), "plan", "plans")
        told.append(f"It lists {plans} of exports, whose secrets are not in it: make them anew under Exports.")
    return Content(
        "bundle", tuple(wanted), tuple(unread), tuple(told), bundle.version, bundle.trust, bundle.signer, account["name"],
        settings["factor_required"], people, bundle.count(OBSERVATIONS), bundle.count(INCIDENTS), bundle,
    )  # fmt: skip


def _so_many(count: int, one: str, many: str) -> str:
    """With an ordinary blank: what is told stands beside what strangers wrote, where others are spelled out."""
    return f"{count:,} {one if count == 1 else many}"


def _listed(watch: dict[str, object]) -> Listed:
    """As somebody might have typed it: what could not be typed is not taken from a file either. Raises NameRefused."""
    name, port, starttls, fixed = str(watch["name"]), watch["port"], str(watch["starttls"]), str(watch["fixed"])
    plain = read_name(f"{name}:{port}")
    if plain.name != name:
        raise NameRefused("This name is not written as it is dialled.")
    if starttls and starttls not in PROTOCOLS:
        raise NameRefused("Its protocol is none that is known here.")
    return Listed(name, plain.port, starttls, read_address(fixed) if fixed else "")
