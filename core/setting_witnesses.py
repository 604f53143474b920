"""How the settings about witnesses are read, as `core/setting_readers.py` reads the others."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from core.net.provider import on_this_machine

MOST: Final = 14
"""With a log's own signature, and another one's while its key changes, these are the sixteen lines that every reader takes."""
_WRITE: Final = "write the key that `./keychest witness keygen` printed and an address, like witness.example.org+1a2b3c4d+BK8s... https://witness.example.org"


def witnesses(value: str) -> tuple[tuple[str, str], ...]:
    """Who cosigns the log: the key of each witness and the address that its requests begin with."""
    from audit.note import COSIGNATURE, NoteError, Verifier  # it loads cryptography, and every verb reads the settings

    found: dict[bytes, tuple[str, str]] = {}
    for part in (each.strip() for each in value.split(",") if each.strip()):
        vkey, *rest = part.split()
        try:
            key = Verifier.read(vkey)
        except NoteError as error:
            raise ValueError(f"{error} {_WRITE}") from None
        if key.kind != COSIGNATURE:
            raise ValueError(f"{vkey} is the key of a log, and not of a witness; {_WRITE}")
        if len(rest) != 1 or not _leads_to_a_witness(rest[0]):
            raise ValueError(f"{key.name} has no address, or one without TLS that is not this machine's; {_WRITE}")
        if key.key in found:
            raise ValueError(f"the key of {key.name} stands there twice; {_WRITE}")
        found[key.key] = (vkey, rest[0].rstrip("/"))
    if len(found) > MOST:
        raise ValueError(f"write at most {MOST} witnesses: some who read the log take no more lines under a checkpoint")
    return tuple(found.values())


def quorum(value: str) -> int:
    """How many witnesses must have cosigned a checkpoint before it is published."""
    if not (value.strip().isascii() and value.strip().isdecimal()) or int(value) > MOST:
        raise ValueError(f"write how many witnesses, from 0 (publish without) to {MOST}, for example 2")
    return int(value)


def _leads_to_a_witness(address: str) -> bool:
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    plain = parts.query or parts.fragment or parts.username or parts.password
    return usable and not plain and (parts.scheme == "https" or (parts.scheme == "http" and on_this_machine(address)))
