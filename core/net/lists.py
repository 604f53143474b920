"""Lists as people paste them: one name on each line, with a port, an upgrade protocol or a fixed address where they say so.

`www.example.org`, `mail.example.org:25 smtp`, `mail.example.org smtp`, `www.example.org 192.0.2.1` ("check the standby machine"),
`mail.example.org:25 tls` (TLS at once, on a port that is known for an upgrade). Without a word the port says which protocol it is.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Final

from core.net.names import DEFAULT_PORT, MOST_LINE_CHARACTERS, Listed, NameRefused, read_name
from core.net.upgrades import PORT_PROTOCOL, PROTOCOLS

__all__ = ["Line", "ListRefused", "read_address", "read_list", "read_target"]

MOST_LIST_BYTES: Final = 2 * 1024 * 1024
DIRECT: Final = "tls"
_PORTS: Final = {protocol: port for port, protocol in reversed(list(PORT_PROTOCOL.items()))}
_AFTER: Final = f"After a name may follow how to reach it: {', '.join(PROTOCOLS)}, {DIRECT}, or an IP address."


class ListRefused(ValueError):  # noqa: N818 - reads as what happened
    """A list that is too large to be read at all. The message says how large it may be."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a pasted list, comment cut off: what it names, or why it was refused. Lines count from 1.

    `first_seen_at_line` is set where the same target stood on an earlier line.
    """

    number: int
    text: str
    listed: Listed | None = None
    refusal: str | None = None
    first_seen_at_line: int | None = None


def read_list(text: str, most: int = 10_000, most_bytes: int = MOST_LIST_BYTES) -> tuple[Line, ...]:
    """Every line that holds something other than a `#` comment. Raises ListRefused before anything is parsed."""
    if len(text) > most_bytes or len(text.encode("utf-8", "surrogatepass")) > most_bytes:
        raise ListRefused(f"This list is larger than {most_bytes >> 20} MB. Nothing was read; paste it in parts.")
    unix = text.replace("\r\n", "\n").replace("\r", "\n")
    count = unix.count("\n") + (not unix.endswith("\n"))
    if count > most:
        raise ListRefused(f"This list has {count:,} lines, and {most:,} can be read at once. Nothing was read; paste it in parts.")
    lines: list[Line] = []
    seen: dict[Listed, int] = {}
    for number, whole in enumerate(unix.split("\n"), 1):
        line = whole.partition("#")[0].strip(" \t")
        if not line:
            continue
        try:
            listed = read_target(line)
        except NameRefused as refused:
            lines.append(Line(number, line, refusal=str(refused)))
            continue
        first = seen.setdefault(listed, number)
        lines.append(Line(number, line, listed, first_seen_at_line=first if first != number else None))
    return tuple(lines)


def read_target(text: str, *, starttls: str = "", address: str = "") -> Listed:
    """The target that a line means. `starttls` (a protocol or "tls") and `address` are as words after it. Raises NameRefused."""
    line = text.strip(" ")
    name, *words = line.split() or [""] if len(line) <= MOST_LINE_CHARACTERS and "\t" not in line else [line]
    protocol, literal = starttls, read_address(address) if address else ""
    for word in words:
        if word.lower() in (*PROTOCOLS, DIRECT):
            if protocol:
                raise NameRefused("Two protocols follow this name. Write one of them; a second one is a line of its own.")
            protocol = word.lower()
        elif _is_address(word):
            if literal:
                raise NameRefused("Two addresses follow this name. Write one of them; a second one is a line of its own.")
            literal = read_address(word)
        else:
            raise NameRefused(f"There is a space in this name. Write one name per line. {_AFTER}")
    port = _PORTS.get(protocol, DEFAULT_PORT)
    listed = read_name(name, port)
    upgrade = protocol or PORT_PROTOCOL.get(listed.port, "")
    return replace(listed, starttls="" if upgrade == DIRECT else upgrade, address=literal)


def read_address(text: str) -> str:
    """An IP address as it is written, brackets or an @ before it taken off. Raises NameRefused."""
    try:
        literal = ipaddress.ip_address(_bare(text))
    except ValueError:
        raise NameRefused("This is no IP address. Write one such as 192.0.2.1 or 2001:db8::1.") from None
    if isinstance(literal, ipaddress.IPv6Address) and literal.scope_id is not None:
        raise NameRefused("This address names an interface of one machine (%), which means nothing elsewhere. Write it without that.")
    return str(literal)


def _bare(text: str) -> str:
    return text.removeprefix("@").removeprefix("[").removesuffix("]")


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(_bare(word))
    except ValueError:
        return False
    return True
