"""Names and networks that asked not to be scanned from here: neither for a spot check nor for a watch, whoever asks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.net.guard import Network

ASKED: str = "asked not to be scanned from here, so nothing was sent. Its owner can ask the operator of this installation to change that."


@dataclass(frozen=True, slots=True)
class OptedOut:
    """A-label names, each with everything under it, and networks."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def __str__(self) -> str:
        """As it is written in a setting."""
        return ",".join([*sorted(self.names), *map(str, self.networks)])

    def name_refusal(self, names: Iterable[str]) -> str:
        """A sentence where one of these names, or a name above it, asked; else ""."""
        for name in names:
            labels = name.split(".")
            above = next((part for start in range(len(labels)) if (part := ".".join(labels[start:])) in self.names), "")
            if above:
                return f"{above} {ASKED}"
        return ""

    def address_refusal(self, addresses: Sequence[str]) -> str:
        """A sentence where one of these addresses lies in such a network, also inside an IPv6 address that carries it; else ""."""
        for literal in map(ipaddress.ip_address, addresses):
            forms = (literal, literal.ipv4_mapped) if isinstance(literal, ipaddress.IPv6Address) and literal.ipv4_mapped else (literal,)
            if any(form in network for form in forms for network in self.networks if form is not None):
                return f"{literal} {ASKED}"
        return ""
