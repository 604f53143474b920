"""Names as people write them, read into A-labels, or refused in one plain sentence.

What is accepted: a host name in any case, with or without a trailing dot, in its own script (IDNA 2008 after UTS 46) or
as xn--; a port; a whole URL, of which host and port are kept. Everything runs in linear time and is capped before it is read.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

import idna

from core.net.text import invisible, mixed_script, named, u_label, visible

__all__ = ["Listed", "NameRefused", "mixed_script", "read_name", "u_label", "visible"]

DEFAULT_PORT: Final = 443
MOST_LINE_CHARACTERS: Final = 2_048
MOST_NAME_CHARACTERS: Final = 253  # RFC 1035 section 2.3.4, without the trailing dot
MOST_LABEL_CHARACTERS: Final = 63
HIGHEST_PORT: Final = 65_535

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_SCHEME_PORTS: Final = {
    "https": 443, "http": 443, "wss": 443, "imaps": 993, "pop3s": 995, "smtps": 465, "ldaps": 636, "ftps": 990,
    "smtp": 25, "imap": 143, "pop3": 110, "ldap": 389, "postgres": 5432, "postgresql": 5432, "mysql": 3306, "xmpp": 5222, "ftp": 21,
    "sieve": 4190, "nntp": 119,
}  # fmt: skip
_LDH: Final = re.compile(r"[a-z0-9]([a-z0-9\-]*[a-z0-9])?")  # RFC 1123 section 2.1
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as URL parsers and inet_aton read a last label
_IP: Final = "This is an IP address, or would be read as one. Names are watched here: write the name that it serves."
_ODD: Final = {
    "@": "There is an @ in this name. Write only the host name after it.",
    ",": "There is a comma in this name. Write a dot, or one name per line.",
    ";": "There is a semicolon in this name. Write one name per line.",
    "\\": "There is a backslash in this name, and no host name has one.",
    "_": "There is an underscore in this name. Names like _dmarc stand for DNS records; no host is called so.",
}


class NameRefused(ValueError):  # noqa: N818 - reads as what happened
    """A line that is no name to watch. The message is one plain sentence that says why, and repeats nothing hostile."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What to dial: the name is an A-label in lower case without a trailing dot.

    `starttls`: the protocol that upgrades to TLS there, "" where TLS comes at once; `address`: the one to dial, "" for all that the DNS
    gives.
    """

    name: str
    port: int
    starttls: str = ""
    address: str = ""

    @property
    def key(self) -> tuple[str, int, str, str]:
        """As rows are found by it."""
        return self.name, self.port, self.starttls, self.address

    @property
    def how(self) -> str:
        """How it is reached where that is not plainly TLS at all its addresses: "smtp", "at 192.0.2.1", "smtp at 192.0.2.1"."""
        return " ".join(part for part in (self.starttls, f"at {self.address}" if self.address else "") if part)


def read_name(text: str, default_port: int = DEFAULT_PORT) -> Listed:
    """The name and port that this line or URL means. Raises NameRefused."""
    line = text.strip(" \t\r\n")
    if not line:
        raise NameRefused("There is no name here.")
    if len(line) > MOST_LINE_CHARACTERS:
        raise NameRefused(f"This line has {len(line):,} characters; a host name has at most {MOST_NAME_CHARACTERS}.")
    if "\t" in line:
        raise NameRefused("There is a blank in this line. Write one name per line.")
    hidden = next((char for char in line if invisible(char) and char not in "\u200c\u200d"), None)  # these two are for IDNA to judge
    if hidden is not None:
        raise NameRefused(f"There is an invisible character in this name: {named(hidden)}. Type the name instead of pasting it.")
    scheme = _SCHEME.match(line)
    if scheme:
        known = scheme[1].lower()
        if known not in _SCHEME_PORTS:
            raise NameRefused("This address is of a kind that has no TLS certificate. Write the host name, and the port if it is not 443.")
        default_port = _SCHEME_PORTS[known] if _SCHEME_PORTS[known] != DEFAULT_PORT else default_port
        line = line[scheme.end() :]
    host, port = _split(re.split(r"[/?#]", line, maxsplit=1)[0], default_port)
    return Listed(_a_label_name(host), port)


def _split(authority: str, default_port: int) -> tuple[str, int]:
    """Host and port of "host[:port]"."""
    for char, sentence in _ODD.items():
        if char in authority and char != "_":
            raise NameRefused(sentence)
    if authority.startswith("[") or _is_ip(authority):
        raise NameRefused(_IP)
    host, colon, digits = authority.partition(":")
    if ":" in digits:
        raise NameRefused("There is more than one colon in this name. Write it like www.example.org:443.")
    if not colon or not digits:
        return host, default_port
    number = digits.lstrip("0")
    if not (digits.isascii() and digits.isdecimal()):
        raise NameRefused("What follows the colon is not a port. Write it like www.example.org:443.")
    if not number or len(number) > len(str(HIGHEST_PORT)) or int(number) > HIGHEST_PORT:
        raise NameRefused(f"This port is out of range: a port is a number from 1 to {HIGHEST_PORT}.")
    return host, int(number)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _a_label_name(host: str) -> str:
    """The host as A-labels. Everything that is refused about a name alone is refused here."""
    if any(char.isspace() for char in host):
        raise NameRefused("There is a space in this name. Write one name per line.")
    if len(host) > MOST_NAME_CHARACTERS + 1:
        raise NameRefused(f"This name has {len(host):,} characters; a host name has at most {MOST_NAME_CHARACTERS}.")
    mapped = _mapped(host)
    name = mapped.removesuffix(".")
    if not name:
        raise NameRefused("There is no name here.")
    if "*" in name:
        raise NameRefused("This is a wildcard, and a wildcard has no address. List the names that use it, such as www.example.org.")
    labels = name.split(".")
    if "" in labels:
        raise NameRefused("This name begins with a dot or has two dots in a row.")
    if _NUMBER.fullmatch(labels[-1]):
        raise NameRefused(_IP)
    whole = ".".join(_a_label(label) for label in labels)
    if len(whole) > MOST_NAME_CHARACTERS:
        raise NameRefused(f"This name has {len(whole):,} characters; a host name has at most {MOST_NAME_CHARACTERS}.")
    return whole


def _mapped(host: str) -> str:
    """Lower case, full-width forms and the dots of other scripts made plain (UTS 46 section 4)."""
    if host.isascii():
        return host.lower()
    try:
        return idna.uts46_remap(host, std3_rules=False, transitional=False)
    except idna.IDNAError:
        raise NameRefused(f"There is a character in this name that no host name may have{_culprit(host)}.") from None


def _culprit(host: str) -> str:
    for char in host:
        try:
            idna.uts46_remap(char, std3_rules=False, transitional=False)
        except idna.IDNAError:
            return f": {named(char)}"
    return ""


def _a_label(label: str) -> str:
    length = len(label) if label.isascii() else len("xn--") + len(label.encode("punycode"))
    if length > MOST_LABEL_CHARACTERS:
        raise NameRefused(f"A part of this name has {length:,} characters; between dots there are at most {MOST_LABEL_CHARACTERS}.")
    encoded = label if label.isascii() else _encoded(label)
    if not _LDH.fullmatch(encoded):
        raise NameRefused(_not_ldh(encoded))
    if encoded.startswith("xn--") and not _decodes(encoded):
        raise NameRefused("A part of this name begins with xn-- and is not a valid international name.")
    return encoded


def _encoded(label: str) -> str:
    try:
        return idna.alabel(label).decode("ascii")
    except idna.InvalidCodepoint:
        odd = next((char for char in label if ord(char) > 127 and not _allowed(char)), None)  # noqa: PLR2004 - the end of ASCII
        which = f": {named(odd)}" if odd else ""
        raise NameRefused(f"There is a character in this name that no host name may have{which}.") from None
    except idna.IDNAError:
        raise NameRefused("This name breaks the rules for international names (IDNA 2008).") from None


def _allowed(char: str) -> bool:
    try:
        idna.check_label(f"a{char}")
    except idna.InvalidCodepoint:
        return False
    except idna.IDNAError:
        return True
    return True


def _not_ldh(label: str) -> str:
    odd = next((char for char in label if not (char.isalnum() or char == "-")), None)
    if odd in _ODD:
        return _ODD[odd]
    if odd is not None:
        return f"There is a character in this name that no host name has: {named(odd)}."
    return "A part of this name begins or ends with a hyphen."


def _decodes(label: str) -> bool:
    """Whether xn-- is followed by Punycode of something that is not ASCII. Stricter rules bind who registers, not who watches."""
    try:
        return not label[4:].encode("ascii").decode("punycode").isascii()
    except (UnicodeError, ValueError, OverflowError):
        return False
