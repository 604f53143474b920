"""Protocols that talk in lines: SMTP, IMAP, POP3, FTP, ManageSieve, NNTP."""

from __future__ import annotations

import re
from typing import Final

from core.scanner.starttls.talk import Talk, not_offered, not_spoken, refused, sent_away

_REPLY: Final = re.compile(r"([1-5][0-9]{2})([ -]?)(.*)")
_WHO_WE_ARE: Final = b"EHLO keychest-scan.invalid\r\n"
"""A name that can never be anybody's (RFC 6761): we send no mail, and what we scan is no word of ours."""


async def _reply(talk: Talk, protocol: str, code: str = "") -> tuple[str, list[str]]:
    """A reply of three digits and all its lines (RFC 5321 section 4.2.1, RFC 959 section 4.2). `code`: whose text lines may be anything."""
    words: list[str] = []
    while True:
        line = await talk.line()
        found = _REPLY.fullmatch(line)
        if found is None or (code and found[1] != code):
            if not code:
                raise not_spoken(protocol)
            words.append(line.strip())  # FTP: lines between the first and the last need no code
            continue
        code = found[1]
        words.append(found[3].strip())
        if found[2] != "-":
            return code, words


async def smtp(talk: Talk, _name: str) -> None:
    """RFC 3207."""
    await _greeted(talk, "SMTP", "220")
    await talk.say(_WHO_WE_ARE)
    code, words = await _reply(talk, "SMTP")
    if code != "250":
        raise refused("SMTP", code)
    if "STARTTLS" not in (word.upper() for word in words[1:]):
        raise not_offered("SMTP")
    await _agreed(talk, "SMTP", b"STARTTLS\r\n", "220")


async def ftp(talk: Talk, _name: str) -> None:
    """RFC 4217."""
    await _greeted(talk, "FTP", "220")
    await _agreed(talk, "FTP", b"AUTH TLS\r\n", "234")


async def nntp(talk: Talk, _name: str) -> None:
    """RFC 4642. 200 and 201 differ in whether one may post."""
    await _greeted(talk, "NNTP", "200", "201")
    await _agreed(talk, "NNTP", b"STARTTLS\r\n", "382")


async def _greeted(talk: Talk, protocol: str, *codes: str) -> None:
    code, _ = await _reply(talk, protocol)
    if code == "120" and protocol == "FTP":  # ready in some minutes: the greeting follows
        code, _ = await _reply(talk, protocol)
    if code not in codes:
        raise sent_away(protocol, code) if code[0] in "45" else not_spoken(protocol)


async def _agreed(talk: Talk, protocol: str, words: bytes, code: str) -> None:
    await talk.say(words)
    answered, _ = await _reply(talk, protocol)
    if answered != code:
        raise refused(protocol, answered)


async def imap(talk: Talk, _name: str) -> None:
    """RFC 9051 section 6.2.1. One that greets with PREAUTH cannot upgrade any more."""
    greeting = (await talk.line()).upper()
    if greeting.startswith("* BYE"):
        raise sent_away("IMAP")
    if greeting.startswith("* PREAUTH"):
        raise not_offered("IMAP")
    if not greeting.startswith("* OK"):
        raise not_spoken("IMAP")
    await talk.say(b"kc STARTTLS\r\n")
    while (line := await talk.line()).startswith("* "):  # what nobody asked for may come first
        if line.upper().startswith("* BYE"):
            raise refused("IMAP")
    if not re.match(r"kc OK\b", line, re.IGNORECASE):
        raise refused("IMAP")


async def pop3(talk: Talk, _name: str) -> None:
    """RFC 2595 section 4."""
    greeting = await talk.line()
    if not greeting.startswith("+OK"):
        raise sent_away("POP3") if greeting.startswith("-ERR") else not_spoken("POP3")
    await talk.say(b"STLS\r\n")
    if not (await talk.line()).startswith("+OK"):
        raise refused("POP3")


async def sieve(talk: Talk, _name: str) -> None:
    """RFC 5804 section 2.2. The greeting is the list of capabilities, and ends with OK."""
    offers = await _capabilities(talk)
    if not any(re.match(r'"STARTTLS"', line, re.IGNORECASE) for line in offers):
        raise not_offered("ManageSieve")
    await talk.say(b"STARTTLS\r\n")
    if not re.match(r"OK\b", await talk.line(), re.IGNORECASE):
        raise refused("ManageSieve")


async def _capabilities(talk: Talk) -> list[str]:
    found: list[str] = []
    while not re.match(r"OK\b", line := await talk.line(), re.IGNORECASE):
        if re.match(r"(NO|BYE)\b", line, re.IGNORECASE):
            raise sent_away("ManageSieve")
        if not line.startswith('"'):
            raise not_spoken("ManageSieve")
        found.append(line)
    return found
