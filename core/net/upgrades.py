"""Which protocols upgrade a plain connection to TLS, and which of them a port is known for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PROTOCOLS: Final[tuple[str, ...]] = (
    "smtp", "imap", "pop3", "ldap", "postgres", "mysql", "xmpp", "xmpp-server", "ftp", "sieve", "nntp",
)  # fmt: skip
PORT_PROTOCOL: Final[Mapping[int, str]] = {
    25: "smtp", 587: "smtp", 143: "imap", 110: "pop3", 389: "ldap", 5432: "postgres", 3306: "mysql", 5222: "xmpp", 5269: "xmpp-server",
    21: "ftp", 4190: "sieve", 119: "nntp",
}  # fmt: skip
WORDS: Final[Mapping[str, str]] = {
    "smtp": "SMTP", "imap": "IMAP", "pop3": "POP3", "ldap": "LDAP", "postgres": "PostgreSQL", "mysql": "MySQL", "xmpp": "XMPP",
    "xmpp-server": "XMPP between servers", "ftp": "FTP", "sieve": "ManageSieve", "nntp": "NNTP",
}  # fmt: skip
"""As people call them."""
