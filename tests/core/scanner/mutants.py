"""Certificates changed by chance, but not only on the surface: elements of the DER are moved, lengths mostly made to fit again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from core.scanner import der
from tests.fuzzing import damaged

CONSTRUCTED: Final = 0x20
OCTETS: Final = (b"", b"\0", b"\xff", b"\x80", b"\x7f", b"\0" * 9, b"\xff" * 21, b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x02\x01\x00")
CONTENTS: Final = (
    *OCTETS, b"99991231235959Z", b"000101000000Z", b"19500229000000Z", b"20260101000000.5Z", b"\x55\x1d\x11", b"\x55\x1d\x1e",
    b"\x2a\x86\x48", b"\x80" * 40 + b"\x01", b"a" * 300, "ä\u202e\U0001f600".encode(), b"\xed\xa0\x80", b"a\0b", b"*.com", b"*.", b"xn--",
    b"127.0.0.1", b"\x7f\0\0\1", b"\x7f\0\0\1\xff\0\xff\0", b"javascript:alert(1)", b"http://[::1", b"\x1b[2J", b"\x01\x01\xff",
)  # fmt: skip
TAGS: Final = bytes.fromhex("0102030405060a0c13141617181c1e1f3031808182868788a0a1a3a4ff")
DEEPEST: Final = 40


@dataclass
class Node:
    """An element that can be changed: octets, or elements inside. `inside` without CONSTRUCTED is a string that holds DER."""

    tag: int
    octets: bytes = b""
    inside: list[Node] = field(default_factory=list)

    def encoded(self) -> bytes:
        return der.wrap(self.tag, b"".join(node.encoded() for node in self.inside) if self.inside else self.octets)

    def below(self) -> list[tuple[Node, int]]:
        """Every place below: who holds it, and where."""
        return [place for at, node in enumerate(self.inside) for place in ((self, at), *node.below())]


def parsed(data: bytes, depth: int = 0) -> Node:
    """The first element. Raises ValueError."""
    whole = der.element(data)
    node = Node(whole.tag, whole.content)
    holds = whole.tag & CONSTRUCTED or whole.tag == der.OCTET_STRING
    if holds and depth < DEEPEST and whole.content:
        try:
            node.inside = [parsed(each.whole, depth + 1) for each in der.elements(whole.content)]
        except ValueError:
            node.inside = []  # a string that holds no DER
    return node


def mutant(seed: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """A certificate made from `seed`, perhaps with elements of `others`."""
    try:
        tree = parsed(seed)
    except ValueError:
        return damaged(seed, chance, OCTETS)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
        places = tree.below()
        if places:
            _change(*chance.choice(places), others, chance)
    data = tree.encoded()
    return damaged(data, chance, OCTETS) if chance.random() < 0.2 else data


def _change(holder: Node, at: int, others: Sequence[bytes], chance: random.Random) -> None:
    node = holder.inside[at]
    match chance.randrange(9):
        case 0:
            holder.inside[at] = Node(chance.choice(TAGS), node.octets, node.inside)
        case 1:
            del holder.inside[at]
        case 2:
            holder.inside[at:at] = [node] * chance.choice((1, 1, 1, 50))
        case 3:
            chance.shuffle(holder.inside)
        case 4:
            holder.inside[at] = _grafted(node, others, chance)
        case 5:
            for _ in range(chance.choice((1, 2, 100))):
                node = Node(chance.choice((der.SEQUENCE, 0x31, 0xA0, 0xA4)), b"", [node])
            holder.inside[at] = node
        case 6:
            holder.inside[at] = Node(node.tag, damaged(node.encoded() if node.inside else node.octets, chance, CONTENTS))
        case _:
            holder.inside[at] = Node(node.tag, chance.choice(CONTENTS))


def _grafted(node: Node, others: Sequence[bytes], chance: random.Random) -> Node:
    """An element of another certificate, of the same tag where there is one."""
    try:
        places = [holder.inside[at] for holder, at in parsed(chance.choice(others)).below()]
    except ValueError:
        return node
    alike = [other for other in places if other.tag == node.tag] or places
    return chance.choice(alike) if alike else node
