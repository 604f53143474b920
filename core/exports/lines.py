"""What is seen here, as lines of a bundle: JSON with sorted keys, no blanks, characters as they are; one function for each kind."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

from core.exports.shapes import line_of
from core.store.observations import Certificate

_NAMED: Final = re.compile(r'"chain":"([0-9a-f]{64})"')


def instant(at: datetime | str) -> str:
    """`2026-11-29T06:05:57.000000Z`. Text is as SQLite keeps it."""
    if isinstance(at, str):
        return f"{at[:10]}T{at[11:26]}Z"
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def or_none(at: datetime | None) -> str | None:
    """An instant, where there is one."""
    return instant(at) if at is not None else None


class Chains:
    """Every chain and certificate that was written of, each once. A chain is kept as its raw digests: there may be many."""

    def __init__(self) -> None:
        self._chains: dict[bytes, bytes] = {}
        self._brought: dict[bytes, bytes] = {}

    def add(self, joined: str) -> str:
        """The name of a chain, which is its digests joined by commas."""
        name = hashlib.sha256(joined.encode()).digest()
        if name not in self._chains:
            self._chains[name] = bytes.fromhex(joined.replace(",", ""))
        return name.hex()

    def bring(self, joined: str) -> None:
        """Keep a chain ready that an imported line may name; it counts from then on."""
        name = hashlib.sha256(joined.encode()).digest()
        self._brought[name] = bytes.fromhex(joined.replace(",", ""))

    def name(self, line: str) -> None:
        """Count the chain that an imported line names."""
        found = _NAMED.search(line)
        if found is not None and (name := bytes.fromhex(found[1])) in self._brought:
            self._chains.setdefault(name, self._brought[name])

    def lines(self) -> Iterator[str]:
        """Lines of `chains.jsonl`."""
        for name in sorted(self._chains):
            raw = self._chains[name].hex()
            yield line_of({"certificates": [raw[at : at + 64] for at in range(0, len(raw), 64)], "chain": name.hex()})

    def certificates(self) -> list[str]:
        """The digests of all certificates in them, sorted."""
        found = {raw[at : at + 32] for raw in self._chains.values() for at in range(0, len(raw), 32)}
        return [each.hex() for each in sorted(found)]


Keyed = tuple[tuple[Any, ...], str]
"""A line, and what it is sorted by: the watch, perspective, address, when, content, the line itself."""


def observation_lines(rows: Iterable[Any], chains: Chains) -> Iterator[Keyed]:
    """Lines of `observations.jsonl` from rows of core.store.exported, in order.

    What was seen before the watch began and held then is told as of then: when somebody else's watch saw it first is theirs to know.
    """
    held: list[Keyed] = []
    for each in _observations(rows, chains):
        if held and (held[-1][0][6] != each[0][6] or held[-1][0][:7] != each[0][:7]):
            yield from held if len(held) == 1 else sorted(held)
            held.clear()
        held.append(each)
    yield from sorted(held)


def _observations(rows: Iterable[Any], chains: Chains) -> Iterator[Keyed]:
    """Put together by hand, the keys sorted: there may be a million, and most of what is in them is the same over and over."""
    for (
        name, port, starttls, fixed, since, perspective, address, key_asked, seen, content, failure, stage, message, version, cipher, group,
        alpn, chain, staple, scts,
    ) in rows:  # fmt: skip
        at = instant(max(seen, since))
        served = chain.translate(_NO_BRACKETS) if chain else ""
        line = (
            f'{{"address":{_text(address)},"chain":{_chain(served, chains)},"content_sha256":"{content}",'
            f'"failure":{_failure(failure, stage, message)},"fixed":{_text(fixed)},"key_asked":"{key_asked}","name":{_text(name)},'
            f'"ocsp_staple":{_bytes(staple)},"perspective":{_text(perspective)},"port":{port},"scts":{_bytes(scts)},"seen_at":"{at}",'
            f'"starttls":"{starttls}","tls":{_tls(version, cipher, group, alpn)}}}'
        )
        yield (name, port, starttls, fixed, perspective, address, at, content, line), line


_NO_BRACKETS: Final = str.maketrans("", "", '[]" ')
"""What is between the digests of a chain in JSON, but for commas."""


def _chain(served: str, chains: Chains) -> str:
    return f'"{chains.add(served)}"' if served else "null"


@lru_cache(maxsize=4_096)
def _failure(kind: str | None, stage: str | None, message: str | None) -> str:
    return "null" if kind is None else line_of({"kind": kind, "message": message, "stage": stage})


@lru_cache(maxsize=4_096)
def _tls(version: str | None, cipher: str | None, group: str | None, alpn: str | None) -> str:
    return "null" if version is None else line_of({"alpn": alpn, "cipher": cipher, "group": group, "version": version})


@lru_cache(maxsize=4_096)
def _text(text: str) -> str:
    return line_of(text)


def _bytes(raw: bytes | None) -> str:
    return "null" if raw is None else f'"{base64.b64encode(raw).decode()}"'


def incident_lines(rows: Iterable[Any]) -> Iterator[Keyed]:
    """Lines of `incidents.jsonl`, in order: what nothing else tells apart comes by what is on the line."""
    for _, same in groupby(_incidents(rows), key=lambda each: each[0][:6]):
        yield from sorted(same)


def _incidents(rows: Iterable[Any]) -> Iterator[Keyed]:
    for name, port, starttls, fixed, opened, check, certificate, severity, message, closed, removed, cleared in rows:
        line = line_of({
            "name": name, "port": port, "starttls": starttls, "fixed": fixed, "check": check, "certificate": certificate,
            "severity": severity, "message": message, "opened_at": instant(opened), "closed_at": or_none(closed), "removed": bool(removed),
            "cleared_at": or_none(cleared),
        })  # fmt: skip
        yield (name, port, starttls, fixed, instant(opened), check, line), line


def certificate_of(row: Certificate | Any) -> dict[str, Any]:
    """What `certificates.jsonl` says of a certificate, from a row or from what was read of its DER; not when anybody saw it first."""
    return {
        "sha256": row.sha256, "subject": row.subject, "issuer": row.issuer, "serial": row.serial, "not_before": or_none(row.not_before),
        "not_after": or_none(row.not_after), "key": row.key, "spki_sha256": row.spki_sha256, "unreadable": list(row.unreadable),
    }  # fmt: skip


def pem_of(sha256: str, der: bytes) -> str:
    """A certificate as text (RFC 7468), after a line with its digest."""
    body = base64.b64encode(der).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"# {sha256}\n-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
