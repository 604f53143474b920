"""History out of a bundle: into the account's own tables, and nowhere else. What is shared holds what was seen here, by nobody's word."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.exports.form import CERTIFICATES, CHAINS, INCIDENTS, OBSERVATIONS
from core.exports.lines import certificate_of
from core.exports.read import Bundle
from core.exports.shapes import line_of, read_instant
from core.scanner.certificate import read_certificate
from core.store.base import Base
from core.store.imported import certificates_brought, chains_brought, incidents_seen, seen_of
from core.store.imports import ImportedCertificate, ImportedChain, ImportedIncident, ImportedObservation
from core.store.watches import Key

_AT_ONCE: Final = 2_000


@dataclass(slots=True)
class Brought:
    """How much came: new lines, those that were here already, and those of names that are not watched here."""

    observations: int = 0
    incidents: int = 0
    certificates: int = 0
    here: int = 0
    left_out: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """As summaries keep it."""
        return {
            "observations": self.observations, "incidents": self.incidents, "certificates": self.certificates, "here": self.here,
            "left_out": self.left_out,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose history it becomes. `keys`: what the account watches of it; `import_id` is None for a preview: then nothing is written."""

    account_id: int
    keys: frozenset[Key]
    import_id: int | None = None


def bring(session: Session, bundle: Bundle, whose: Whose) -> Brought:
    """Bring observations, incidents, and the certificates that these are about. Raises BundleRefused where a line is none."""
    brought = Brought()
    named: set[str] = set()
    for rows in _in_batches(_new_observations(session, bundle, whose, brought)):
        brought.observations += len(rows)
        named.update(row["chain"] for row in rows if row["chain"])
        for row in rows:
            del row["chain"]
        _write(session, ImportedObservation, whose, rows)
    for rows in _in_batches(_new_incidents(session, bundle, whose, brought)):
        brought.incidents += len(rows)
        _write(session, ImportedIncident, whose, rows)
    wanted = _chains(session, bundle, whose, named, brought)
    _certificates(session, bundle, whose, wanted, brought)
    brought.told += bundle.told_of(OBSERVATIONS, INCIDENTS, CHAINS, CERTIFICATES)
    return brought


def _write(session: Session, table: type[Base], whose: Whose, rows: list[dict[str, Any]]) -> None:
    if whose.import_id is not None and rows:
        own = {"account_id": whose.account_id, "import_id": whose.import_id, "deleted_at": None}
        session.execute(sa.insert(table), [row | own for row in rows])


def _in_batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    for row in rows:
        held.append(row)
        if len(held) == _AT_ONCE:
            yield held
            held = []
    if held:
        yield held


def _by_names(bundle: Bundle, member: str, whose: Whose, brought: Brought) -> Iterator[tuple[list[str], list[tuple[Key, dict[str, Any]]]]]:
    """Lines of watched names, some hundred names at a time: each group is asked about once."""
    names: list[str] = []
    lines: list[tuple[Key, dict[str, Any]]] = []
    for name, same in groupby(bundle.lines(member), key=lambda line: str(line["name"])):
        for line in same:
            key = (line["name"], line["port"], line["starttls"], line["fixed"])
            if key in whose.keys:
                lines.append((key, line))
            else:
                brought.left_out += 1
        names.append(name)
        if len(lines) >= _AT_ONCE or len(names) >= _AT_ONCE // 4:
            yield names, lines
            names, lines = [], []
    yield names, lines


def _new_observations(session: Session, bundle: Bundle, whose: Whose, brought: Brought) -> Iterator[dict[str, Any]]:
    for names, lines in _by_names(bundle, OBSERVATIONS, whose, brought):
        seen = seen_of(session, whose.account_id, names) if lines else set()
        for key, line in lines:
            at = read_instant(line["seen_at"])
            this = (key, line["perspective"], line["address"], line["key_asked"], at, line["content_sha256"])
            if this in seen:
                brought.here += 1
                continue
            seen.add(this)
            yield _place(key) | {
                "perspective": line["perspective"], "address": line["address"], "key_asked": line["key_asked"], "seen_at": at,
                "content_sha256": line["content_sha256"], "line": line_of(line), "chain": line["chain"],
            }  # fmt: skip


def _new_incidents(session: Session, bundle: Bundle, whose: Whose, brought: Brought) -> Iterator[dict[str, Any]]:
    for names, lines in _by_names(bundle, INCIDENTS, whose, brought):
        known = incidents_seen(session, whose.account_id, names) if lines else set()
        for key, line in lines:
            at: datetime = read_instant(line["opened_at"])
            this = (key, at, line["check"], line["certificate"])
            if this in known:
                brought.here += 1
                continue
            known.add(this)
            yield _place(key) | {"opened_at": at, "check": line["check"], "certificate": line["certificate"], "line": line_of(line)}


def _place(key: Key) -> dict[str, Any]:
    return dict(zip(("name", "port", "starttls", "fixed"), key, strict=True))


def _chains(session: Session, bundle: Bundle, whose: Whose, named: set[str], brought: Brought) -> set[str]:
    """Write the chains that are named and were not brought before; the certificates in them."""
    before = chains_brought(session, whose.account_id) if named else set()
    wanted: set[str] = set()
    found: set[str] = set()

    def fresh() -> Iterator[dict[str, Any]]:
        for line in bundle.lines(CHAINS):
            if line["chain"] not in named or line["chain"] in found:
                continue
            if line["chain"] != chain_name(line["certificates"]):
                brought.told.append("A chain in it is not what it is called, and is left out.")
                continue
            found.add(line["chain"])
            wanted.update(line["certificates"])
            if line["chain"] not in before:
                yield {"chain": line["chain"], "certificates": line["certificates"]}

    for rows in _in_batches(fresh()):
        _write(session, ImportedChain, whose, rows)
    if missing := len(named - found):
        brought.told.append(f"{missing:,} of the chains that it names are not in it.")
    return wanted


def _certificates(session: Session, bundle: Bundle, whose: Whose, wanted: set[str], brought: Brought) -> None:
    """Write the certificates that are wanted. What is told of each is read anew from the certificate itself."""
    before = certificates_brought(session, whose.account_id) if wanted else set()
    otherwise = 0

    def fresh() -> Iterator[dict[str, Any]]:
        nonlocal otherwise
        for told, der in bundle.certificates():
            if told["sha256"] in wanted and told["sha256"] not in before:
                line = line_of(certificate_of(read_certificate(der)))
                otherwise += line != line_of(told)
                yield {"sha256": told["sha256"], "der": der, "line": line}

    for rows in _in_batches(fresh()):
        brought.certificates += len(rows)
        _write(session, ImportedCertificate, whose, rows)
    if otherwise:
        brought.told.append(f"{otherwise:,} certificates are told of otherwise than they are: what they are was read anew.")


def chain_name(certificates: Sequence[str]) -> str:
    """What a chain is called (docs/export-format.md)."""
    return hashlib.sha256(",".join(certificates).encode()).hexdigest()
