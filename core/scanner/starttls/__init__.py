"""From a plain connection to the moment at which TLS may begin: one dialect for each protocol that upgrades (STARTTLS).

Nothing of what a server says is repeated, what it may say is bounded, and what it says too early is not taken for TLS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from core.net.dial import Stream
from core.net.upgrades import PROTOCOLS
from core.scanner.facts import Failure, FailureKind, Stage
from core.scanner.starttls import binary, lines, xmpp
from core.scanner.starttls.talk import NotUpgraded, Talk

__all__ = ["PROTOCOLS", "upgrade"]

Dialect = Callable[[Talk, str], Awaitable[None]]

_DIALECTS: Final[Mapping[str, Dialect]] = {
    "smtp": lines.smtp,
    "imap": lines.imap,
    "pop3": lines.pop3,
    "ldap": binary.ldap,
    "postgres": binary.postgres,
    "mysql": binary.mysql,
    "xmpp": xmpp.client,
    "xmpp-server": xmpp.server,
    "ftp": lines.ftp,
    "sieve": lines.sieve,
    "nntp": lines.nntp,
}

_EARLY: Final = "The server sent more in plain text after it agreed to TLS. That could be anybody's, so we went no further."


async def upgrade(stream: Stream, protocol: str, name: str) -> Failure | None:
    """Bring the connection to where our ClientHello is due, or say why not. `name`: an A-label name, which only XMPP sends.

    Waits as long as the caller lets it. Raises OSError as the stream does, and ValueError for what is not in PROTOCOLS.
    """
    if protocol not in _DIALECTS:
        raise ValueError(f"{protocol!r} is not an upgrade protocol we speak")
    talk = Talk(stream)
    try:
        await _DIALECTS[protocol](talk, name)
    except NotUpgraded as refused:
        return Failure(refused.kind, Stage.STARTTLS, refused.message)
    return Failure(FailureKind.PROTOCOL_ERROR, Stage.STARTTLS, _EARLY) if talk.early else None
