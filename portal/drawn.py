"""What an endpoint's page draws: letters for certificates, rows of addresses, and chains as served with the root that is trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core.scanner.certificate import Certificate
from core.store.standing import Change, Found, Seen
from portal.fields import fours, short, short_name, title_of

_FIRST = datetime.min.replace(tzinfo=UTC)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MOST_CHAINS = 6
MARKS = {"error": "bad", "warn": "soon", "notice": "info", "unknown": "unk"}
"""The shape of a finding's status."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A certificate on one page, by rank: A is what most addresses serve. `style` is the fill's class; the letter is always there."""

    letter: str
    style: str
    sha256: str
    short: str
    not_before: datetime | None
    not_after: datetime | None
    addresses: int


@dataclass(frozen=True, slots=True)
class AddressRow:
    """One address and what each perspective saw there; a second one where it serves a certificate of the other kind of key too."""

    address: str
    key_asked: str
    seen: Mapping[str, Seen]
    marks: tuple[str, ...]

    @property
    def first(self) -> Seen:
        """What the first perspective saw: the protocol is told once."""
        return next(iter(self.seen.values()))


@dataclass(frozen=True, slots=True)
class Part:
    """One certificate of a chain. `role` says what it is and whether it was sent; `sha256` is "" where only its name is known."""

    role: str
    name: str
    key: str
    not_after: datetime | None
    sha256: str
    served: bool

    @property
    def short(self) -> str:
        """The first digits of its fingerprint."""
        return short(self.sha256)

    @property
    def whole(self) -> str:
        """Its fingerprint."""
        return fours(self.sha256)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain as served, and how it ends. `letter` is its leaf's; `key_asked` the only kind of key offered, "" where all were."""

    letter: Letter
    key_asked: str
    parts: tuple[Part, ...]
    addresses: tuple[str, ...]
    state: str
    words: str


def letters(seen: Sequence[Seen]) -> dict[str, Letter]:
    """A letter for each certificate: the one at most addresses first, of two the one that ends later. Gone addresses come last."""
    leaves = {each.leaf: each for each in seen if each.leaf}
    held = Counter(each.leaf for each in seen if each.leaf and not each.gone)
    ranked = sorted(leaves, key=lambda leaf: (-held[leaf], -(leaves[leaf].not_after or _FIRST).timestamp(), leaf))
    styles = ("fa", *["fb"] * len(ranked))
    return {
        leaf: Letter(
            letter=_LETTERS[rank] if rank < len(_LETTERS) else str(rank + 1),
            style=styles[rank],
            sha256=leaf,
            short=short(leaf),
            not_before=leaves[leaf].not_before,
            not_after=leaves[leaf].not_after,
            addresses=held[leaf],
        )
        for rank, leaf in enumerate(ranked)
    }


def first_to_end(ranked: Iterable[Letter]) -> Letter | None:
    """Of what is served now, the certificate that ends first."""
    return min(
        (letter for letter in ranked if letter.addresses and letter.not_after), key=lambda letter: letter.not_after or _FIRST, default=None
    )


def together(changes: Sequence[Change]) -> tuple[tuple[Change, tuple[str, ...]], ...]:
    """Changes of one instant that say the same of several addresses, once, with the addresses."""
    groups: dict[tuple[datetime, str, str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.at, change.kind, change.about, change.words), []).append(change)
    return tuple((group[0], tuple(sorted(change.address for change in group))) for group in groups.values())


def address_rows(seen: Sequence[Seen], found: Sequence[Found]) -> tuple[AddressRow, ...]:
    """The addresses that the name has now, each with the worst marks of the findings about it."""
    rows: dict[tuple[str, str], dict[str, Seen]] = {}
    for each in seen:
        if not each.gone:
            rows.setdefault((each.address, each.key_asked), {})[each.perspective] = each
    leaves = {each.leaf for each in seen}
    spread = Counter((finding.check, finding.certificate) for finding in found)
    local = [finding for finding in found if spread[finding.check, finding.certificate] < len(rows)]
    return tuple(
        AddressRow(address, key_asked, there, _marks(address, {each.leaf for each in there.values()}, leaves, local))
        for (address, key_asked), there in rows.items()
    )


def _marks(address: str, own: set[str | None], leaves: set[str | None], found: Sequence[Found]) -> tuple[str, ...]:
    """Of what was found at this address, what is not about a leaf that another row of it serves."""
    here = [finding for finding in found if finding.address == address]
    return tuple(MARKS.get(each.status, "unk") for each in here if each.certificate in own or each.certificate not in leaves)


def grouped(found: Iterable[Found]) -> tuple[tuple[Found, tuple[str, ...]], ...]:
    """Findings that say the same about several addresses, once, with the addresses."""
    groups: dict[tuple[str, str, str], tuple[Found, list[str]]] = {}
    for finding in found:
        groups.setdefault((finding.check, finding.certificate, finding.message), (finding, []))[1].append(finding.address)
    return tuple((finding, tuple(sorted({address for address in addresses if address}))) for finding, addresses in groups.values())


def chains(seen: Sequence[Seen], known: Mapping[str, Certificate], by_leaf: Mapping[str, Letter]) -> tuple[Chain, ...]:
    """Every distinct chain that is served now, in the letters' order, with the addresses that serve it."""
    groups: dict[tuple[str, ...], list[Seen]] = {}
    for each in seen:
        if each.leaf and not each.gone:
            groups.setdefault(each.chain, []).append(each)
    ranked = sorted(groups.values(), key=lambda group: (by_leaf[group[0].leaf or ""].letter, -len(group), group[0].chain))
    return tuple(_chain(group, known, by_leaf) for group in ranked[:_MOST_CHAINS])


def _chain(group: Sequence[Seen], known: Mapping[str, Certificate], by_leaf: Mapping[str, Letter]) -> Chain:
    first = group[0]
    root = first.path[-1] if len(first.path) > 1 else ""
    parts = [_part(digest, known, _served_role(rank, digest, root, known), served=True) for rank, digest in enumerate(first.chain)]
    for digest in first.path:
        if digest not in first.chain:
            role = "Root, not served, trusted" if digest == root else "Intermediate, not served"
            parts.append(_part(digest, known, role, served=False))
    state, words = _outcome(group)
    return Chain(by_leaf[first.leaf or ""], first.key_asked, tuple(parts), tuple(sorted({each.address for each in group})), state, words)


def _outcome(group: Sequence[Seen]) -> tuple[str, str]:
    if all(each.verified for each in group):
        return "ok", "Leads to a trusted root"
    if all(each.path for each in group):
        return "bad", "Ends at a trusted root, but is not valid here"
    return "bad", "No path to a trusted root"


def _served_role(rank: int, digest: str, root: str, known: Mapping[str, Certificate]) -> str:
    cert = known.get(digest)
    self_issued = cert is not None and cert.subject is not None and cert.subject == cert.issuer
    if rank == 0:
        return "Leaf, served, signed by itself" if self_issued else "Leaf, served"
    if digest == root:
        return "Root, served, trusted"
    return "Root, served" if self_issued else "Intermediate, served"


def _part(digest: str, known: Mapping[str, Certificate], role: str, *, served: bool) -> Part:
    cert = known.get(digest)
    if cert is None:
        return Part(role, "Not stored", "", None, digest, served)
    name = title_of(cert) if role.startswith("Leaf") else short_name(cert.subject) or title_of(cert)
    return Part(role, name, cert.key or "", cert.not_after, digest, served)
