"""XMPP (RFC 6120 section 5): a stream of XML, of which we look for four elements and read no more."""

from __future__ import annotations

import re
from typing import Final

from core.scanner.facts import FailureKind
from core.scanner.starttls.talk import NotUpgraded, Talk, not_offered, not_spoken, refused, sent_away

_HEAD: Final = (
    "<?xml version='1.0'?><stream:stream to='{name}' version='1.0' xml:lang='en' xmlns='{space}' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.\-]*[a-z0-9])?")
_TLS: Final = b"urn:ietf:params:xml:ns:xmpp-tls"
_START: Final = b"<starttls xmlns='" + _TLS + b"'/>"


async def client(talk: Talk, name: str) -> None:
    """As a client of this name's server would."""
    await _upgrade(talk, name, "jabber:client")


async def server(talk: Talk, name: str) -> None:
    """As another server would."""
    await _upgrade(talk, name, "jabber:server")


async def _upgrade(talk: Talk, name: str, space: str) -> None:
    if not _NAME.fullmatch(name):
        raise NotUpgraded(FailureKind.PROTOCOL_ERROR, "This name cannot be said in XMPP. Nothing was sent.")
    await talk.say(_HEAD.format(name=name, space=space).encode("ascii"))
    if await talk.exactly(1) != b"<" or not (await talk.until(b">")).startswith((b"?xml", b"stream:")):
        raise not_spoken("XMPP")
    features = await talk.until(b"</stream:features>", b"<stream:features/>", b"<stream:error", b"</stream:stream>")
    if not features.endswith((b"</stream:features>", b"<stream:features/>")):
        raise sent_away("XMPP")
    if not re.search(rb"<starttls\s[^>]*" + re.escape(_TLS), features):
        raise not_offered("XMPP")
    await talk.say(_START)
    answer = await talk.until(b">")
    if not re.match(rb"\s*<proceed[\s/>]", answer):
        raise refused("XMPP")
    if not answer.endswith(b"/>"):
        await talk.until(b"</proceed>")
