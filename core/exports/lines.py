"""What is seen here, as lines of a bundle: JSON with sorted keys, no blanks, characters as they are; one function for each kind."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from typing import Any

from core.exports.chains import Chains
from core.exports.shapes import line_of, text_of
from core.store.exported import DomainRow
from core.store.exported_certificates import CertificateRow


def instant(at: datetime) -> str:
    """`2026-11-29T06:05:57.000000Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def or_none(at: datetime | str | None) -> str | None:
    """An instant, where there is one. Text is one already."""
    return instant(at) if isinstance(at, datetime) else at


def domain_line(row: DomainRow) -> str:
    """A line of `domains.jsonl`. As those below it is put together by hand, the keys sorted: there may be many."""
    tags = ",".join(map(text_of, row.tags))
    return (
        f'{{"created_at":"{row.created_at}","kind":"{row.kind}","name":{text_of(row.name)},"note":{text_of(row.note)},'
        f'"responsible":{text_of(row.responsible)},"tags":[{tags}]}}'
    )


def watch_line(row: Sequence[Any]) -> str:
    """A line of `watches.jsonl`."""
    name, port, starttls, fixed, since = row
    return f'{{"fixed":{text_of(fixed)},"name":{text_of(name)},"port":{port},"since_at":"{since}","starttls":{text_of(starttls)}}}'


Keyed = tuple[str, str, str, str, str]
"""A line of a watch, after what lines of one watch are sorted by: perspective, address, when, content."""


def observation_lines(chains: Chains, watched: Sequence[Any], rows: Iterable[Any]) -> Iterator[Keyed]:
    """Lines of `observations.jsonl` about a watch, in order, from rows of core.store.exported_seen.

    What was seen before the watch began is left out; what held then still is told as of then: when somebody else's watch saw it first is
    theirs to know. Put together by hand, the keys sorted: there may be a million, most of them the same but for a few words.
    """
    name, port, starttls, fixed, since, _ = watched
    of_it, starttls = f'"fixed":{line_of(fixed)},"key_asked":"', f'"starttls":{line_of(starttls)},"tls":'
    name, port = f'","name":{line_of(name)},"ocsp_staple":', f',"port":{port},"scts":'
    names, held = chains.names, list[Keyed]()
    before: tuple[Any, ...] = ()
    said_failure = said_tls = ""
    for (
        _, perspective, address, at, content, key_asked, failure, stage, message, version, cipher, group, alpn, chain, staple, scts,
        until,
    ) in rows:  # fmt: skip
        if early := at <= since:
            if at < since and (until is None or until < since):
                continue
            at = since  # noqa: PLW2901 - as it is told
        if before != (how := (failure, stage, message, version, cipher, group, alpn)):
            before, said_failure, said_tls = how, _failure(failure, stage, message), _tls(version, cipher, group, alpn)
        line = (
            f'{{"address":{_text(address)},"chain":{names.get(chain) or chains.add(chain)},"content_sha256":"{content}",'
            f'"failure":{said_failure},{of_it}{key_asked}{name}{"null" if staple is None else _bytes(staple)},'
            f'"perspective":{_text(perspective)}{port}{"null" if scts is None else _bytes(scts)},"seen_at":"{at}",'
            f"{starttls}{said_tls}}}"
        )
        if early:
            held.append((perspective, address, at, content, line))
            continue
        if held:
            yield from sorted(held)
            held.clear()
        yield perspective, address, at, content, line
    yield from sorted(held)


@lru_cache(maxsize=4_096)
def _failure(kind: str | None, stage: str | None, message: str | None) -> str:
    return "null" if kind is None else line_of({"kind": kind, "message": message, "stage": stage})


@lru_cache(maxsize=4_096)
def _tls(version: str | None, cipher: str | None, group: str | None, alpn: str | None) -> str:
    return "null" if version is None else line_of({"alpn": alpn, "cipher": cipher, "group": group, "version": version})


@lru_cache(maxsize=4_096)
def _text(text: str) -> str:
    return line_of(text)


def _bytes(raw: bytes) -> str:
    return f'"{base64.b64encode(raw).decode()}"'


def incident_lines(rows: Iterable[Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Lines of `incidents.jsonl`, in order, each after what it is sorted by: what nothing else tells apart comes by what is on the line."""
    for _, same in groupby(_incidents(rows), key=lambda each: each[0][:6]):
        yield from sorted(same)


def _incidents(rows: Iterable[Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    for name, port, starttls, fixed, opened, check, certificate, severity, message, closed, removed, cleared in rows:
        line = line_of({
            "name": name, "port": port, "starttls": starttls, "fixed": fixed, "check": check, "certificate": certificate,
            "severity": severity, "message": message, "opened_at": opened, "closed_at": closed, "removed": bool(removed),
            "cleared_at": cleared,
        })  # fmt: skip
        yield (name, port, starttls, fixed, opened, check, line), line


def certificate_of(row: CertificateRow | Any) -> dict[str, Any]:
    """What `certificates.jsonl` says of a certificate, from a row or from what was read of its DER; not when anybody saw it first."""
    return {
        "sha256": row.sha256, "subject": row.subject, "issuer": row.issuer, "serial": row.serial, "not_before": or_none(row.not_before),
        "not_after": or_none(row.not_after), "key": row.key, "spki_sha256": row.spki_sha256, "unreadable": list(row.unreadable),
    }  # fmt: skip


def certificate_line(row: CertificateRow) -> str:
    """The line that says it."""
    unreadable = ",".join(map(text_of, row.unreadable))
    return (
        f'{{"issuer":{_or_null(row.issuer)},"key":{_or_null(row.key)},"not_after":{_or_null(row.not_after)},'
        f'"not_before":{_or_null(row.not_before)},"serial":{_or_null(row.serial)},"sha256":"{row.sha256}",'
        f'"spki_sha256":{_or_null(row.spki_sha256)},"subject":{_or_null(row.subject)},"unreadable":[{unreadable}]}}'
    )


def _or_null(text: str | None) -> str:
    return "null" if text is None else text_of(text)


def pem_of(sha256: str, der: bytes) -> str:
    """A certificate as text (RFC 7468), after a line with its digest."""
    body = base64.b64encode(der).decode()
    lines = "\n".join([body[at : at + 64] for at in range(0, len(body), 64)])
    return f"# {sha256}\n-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
