"""Protocols that talk in counted bytes: LDAP, PostgreSQL, MySQL."""

from __future__ import annotations

import struct
from typing import Final

from core.scanner.facts import FailureKind
from core.scanner.starttls.talk import NotUpgraded, Talk, not_offered, not_spoken, refused, sent_away

_START_TLS_OID: Final = b"1.3.6.1.4.1.1466.20037"
_MOST_ANSWER_BYTES: Final = 4096
_SEQUENCE, _INTEGER, _ENUMERATED, _EXTENDED_RESPONSE = 0x30, 0x02, 0x0A, 0x78
_POSTGRES_SSL_REQUEST: Final = struct.pack(">II", 8, 80877103)
_MYSQL_TEN: Final = 10
_MYSQL_ERROR: Final = 0xFF
_CLIENT_LONG_PASSWORD, _CLIENT_PROTOCOL_41, _CLIENT_SSL, _CLIENT_SECURE_CONNECTION = 1, 1 << 9, 1 << 11, 1 << 15
_UTF8MB4: Final = 45


async def ldap(talk: Talk, _name: str) -> None:
    """RFC 4511 section 4.14: an ExtendedRequest in BER, answered by an ExtendedResponse whose resultCode is 0."""
    request = b"\x77" + bytes([2 + len(_START_TLS_OID)]) + b"\x80" + bytes([len(_START_TLS_OID)]) + _START_TLS_OID
    message = b"\x02\x01\x01" + request
    await talk.say(b"\x30" + bytes([len(message)]) + message)
    whole = await _ber_value(talk, _SEQUENCE)
    message_id, rest = _element(whole, _INTEGER)
    response, _ = _element(rest, _EXTENDED_RESPONSE)
    code, _ = _element(response, _ENUMERATED)
    if message_id != b"\x01":  # 0: it tells us that it ends the connection
        raise sent_away("LDAP")
    if code != b"\x00":
        raise refused("LDAP", str(int.from_bytes(code[:2])))


async def _ber_value(talk: Talk, tag: int) -> bytes:
    """The contents of one element (X.690 section 8.1), of a length that is definite and small."""
    head = await talk.exactly(2)
    if head[0] != tag:
        raise not_spoken("LDAP")
    length = head[1]
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:  # noqa: PLR2004 - a length of more bytes is none that we read
            raise not_spoken("LDAP")
        length = int.from_bytes(await talk.exactly(count))
    if length > _MOST_ANSWER_BYTES:
        raise NotUpgraded(FailureKind.PROTOCOL_ERROR, "The server's answer to STARTTLS is larger than we read.")
    return await talk.exactly(length)


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The first element's contents, and what follows it."""
    if len(data) < 2 or data[0] != tag:  # noqa: PLR2004 - a tag and a length
        raise not_spoken("LDAP")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    if len(data) < start + length:
        raise not_spoken("LDAP")
    return data[start : start + length], data[start + length :]


async def postgres(talk: Talk, _name: str) -> None:
    """PostgreSQL's SSLRequest, which is answered by one byte: S or N."""
    await talk.say(_POSTGRES_SSL_REQUEST)
    answer = await talk.exactly(1)
    if answer == b"N":
        raise not_offered("PostgreSQL")
    if answer != b"S":
        raise not_spoken("PostgreSQL")


async def mysql(talk: Talk, _name: str) -> None:
    """MySQL's protocol 10: the greeting tells whether it can TLS, an SSLRequest asks for it, and no answer comes before TLS."""
    head = await talk.exactly(4)
    length = int.from_bytes(head[:3], "little")
    if not 1 <= length <= _MOST_ANSWER_BYTES or head[3] != 0:
        raise not_spoken("MySQL")
    greeting = await talk.exactly(length)
    if greeting[0] == _MYSQL_ERROR:
        raise sent_away("MySQL", str(int.from_bytes(greeting[1:3], "little")))
    version_end = greeting.find(b"\0", 1)
    # after the version: connection id (4), challenge (8), filler (1), capabilities (2)
    capabilities = greeting[version_end + 14 : version_end + 16]
    if greeting[0] != _MYSQL_TEN or version_end < 0 or len(capabilities) != 2:  # noqa: PLR2004 - two bytes
        raise not_spoken("MySQL")
    if not int.from_bytes(capabilities, "little") & _CLIENT_SSL:
        raise not_offered("MySQL")
    flags = _CLIENT_LONG_PASSWORD | _CLIENT_PROTOCOL_41 | _CLIENT_SSL | _CLIENT_SECURE_CONNECTION
    request = struct.pack("<IIB23x", flags, 1 << 24, _UTF8MB4)
    await talk.say(len(request).to_bytes(3, "little") + b"\x01" + request)
