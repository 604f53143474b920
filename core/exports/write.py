"""A bundle, written as a stream: rows are read, told and compressed some at a time, so memory stays flat however large the account is.

The place it is written to need not be seekable. Equal data gives equal bytes.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, BinaryIO, Final

from sqlalchemy.orm import Session

from core.exports.form import (
    ACCOUNT,
    CERTIFICATES,
    CERTIFICATES_CSV,
    CERTIFICATES_PEM,
    CHAINS,
    CHANNELS,
    DOMAINS,
    DOMAINS_CSV,
    FORMAT,
    INCIDENTS,
    MANIFEST,
    MEMBERS_OF,
    OBSERVATIONS,
    PAGE,
    SETTINGS,
    SIGNATURE,
    VERSION,
    WATCHES,
    since,
)  # fmt: skip
from core.exports.keys import BundleKey
from core.exports.lines import Chains, certificate_of, incident_lines, instant, observation_lines, or_none, pem_of
from core.exports.page import Page, page_of
from core.exports.shapes import line_of
from core.exports.streams import Counted, blocks, once, table_lines
from core.store import exported
from core.store.cards import BLANK
from core.store.db import Sessions, postgresql
from core.store.exported import Reach
from core.store.exported_certificates import certificates_of, ders_of

_LEVEL: Final = 1
_WAITING: Final = 8
_SAY_EACH: Final = 5_000
CERTIFICATE_COLUMNS: Final = ("sha256", "subject", "issuer", "serial", "not_before", "not_after", "key", "spki_sha256", "unreadable")
DOMAIN_COLUMNS: Final = ("name", "port", "starttls", "fixed", "note", "tags", "responsible")
Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class LogHead:
    """The newest checkpoint of the installation's log, as its note stands."""

    origin: str
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Whence:
    """Whose bundle it is: the installation's address, the program's version, the key that signs, and the log's head where there is one."""

    installation: str
    software: str
    key: BundleKey
    log: LogHead | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What was written: the file's size and digest, lines by member without its ending, and the manifest's digest."""

    bytes: int
    sha256: str
    counts: Mapping[str, int]
    manifest_sha256: str


def silent(_step: str, _done: int, _total: int) -> None:
    """Tell nobody how far it is."""


@contextmanager
def reading(sessions: Sessions) -> Iterator[Session]:
    """A session in which everything is of one moment, however long it takes."""
    with Session(sessions.engine, expire_on_commit=False) as session:
        if postgresql(session):
            session.connection(execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True})
        yield session


def write_bundle(
    session: Session, account_id: int, into: BinaryIO, *, whence: Whence, history: str, now: datetime, say: Say = silent
) -> Made:
    """Write the account's bundle. `history` is one of core.exports.form.HISTORIES; `say` is told the step, and how far it is of what.

    The session is one of `reading`, else rows that come meanwhile may be in one member and not in another.
    """
    account = exported.account_of(session, account_id)
    reach = Reach(account_id, account.deleted_at, since(history, now), history=history != "none")
    counted = Counted(into)
    with zipfile.ZipFile(counted, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive, ThreadPoolExecutor(1) as beside:
        bundle = _Bundle(session, reach, archive, beside, say, exported.counted(session, reach))
        bundle.members()
        manifest = {
            "format": FORMAT, "version": VERSION, "installation": whence.installation, "software": whence.software,
            "account": {"ref": account.ref, "name": account.name}, "made_at": instant(now), "history": history,
            "since": or_none(reach.since) if reach.history else None, "counts": bundle.counts, "members": bundle.written,
            "log": {"origin": whence.log.origin, "checkpoint": whence.log.checkpoint} if whence.log else None, "signer": whence.key.vkey,
        }  # fmt: skip
        bundle.page(account.name, manifest)
        digest = bundle.write(MANIFEST, [f"{line_of(manifest)}\n"])
        bundle.write(SIGNATURE, [whence.key.sign(digest).decode()])
    return Made(counted.bytes, counted.digest.hexdigest(), bundle.counts, digest)


@dataclass(slots=True)
class _Bundle:
    """One that is being written. `written` becomes the manifest's list of members, `counts` that of lines."""

    session: Session
    reach: Reach
    archive: zipfile.ZipFile
    beside: ThreadPoolExecutor
    say: Say
    total: int
    counts: dict[str, int] = field(default_factory=dict)
    written: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0

    def members(self) -> None:
        """Every member before the page, in order."""
        session, reach = self.session, self.reach
        account = exported.account_of(session, reach.account_id)
        self.write(ACCOUNT, [f"{line_of({'name': account.name, 'created_at': instant(account.created_at)})}\n"])
        plans = [
            dict(zip(("every", "history", "place", "address", "recipient"), each, strict=True))
            for each in exported.plans_of(session, reach.account_id)
        ]
        self.write(SETTINGS, [f"{line_of({'factor_required': exported.factor_required(session, reach.account_id), 'plans': plans})}\n"])
        self.lines(DOMAINS, self._domains())
        self.lines(WATCHES, self._watches())
        people = exported.people_of(session, reach)
        self.lines(MEMBERS_OF, (line_of({"email": email, "role": role, "since_at": instant(at)}) for email, role, at in people))
        self.lines(CHANNELS, (line_of({"kind": "mail", "to": email}) for email, *_ in people))
        chains = Chains()
        self.lines(OBSERVATIONS, self._observations(chains) if reach.history else ())
        self.lines(INCIDENTS, self._incidents() if reach.history else ())
        self.lines(CHAINS, chains.lines())
        self._certificates(chains.certificates())
        self.write(DOMAINS_CSV, self._table())

    def _domains(self) -> Iterator[str]:
        for name, kind, created_at, card in exported.domains_of(self.session, self.reach):
            yield line_of({
                "name": name, "kind": kind, "created_at": instant(created_at), "note": card.note, "tags": sorted(card.tags),
                "responsible": card.responsible,
            })  # fmt: skip

    def _watches(self) -> Iterator[str]:
        for row in exported.watches_of(self.session, self.reach):
            yield line_of({
                "name": row.name, "port": row.port, "starttls": row.starttls, "fixed": row.address, "since_at": instant(row.since_at),
            })  # fmt: skip

    def _observations(self, chains: Chains) -> Iterator[str]:
        """What was seen here and what was brought, each once, in one order."""
        for _, certificates in exported.imported_chains_of(self.session, self.reach.account_id):
            chains.bring(",".join(certificates))
        own = observation_lines(exported.observations_of(self.session, self.reach), chains)
        theirs = (((*row[:6], instant(row[6]), *row[7:]), row[8]) for row in exported.imported_observations_of(self.session, self.reach))
        first = next(theirs, None)
        if first is None:
            yield from once(own)
            return
        for line in once(heapq.merge(own, chain((first,), theirs))):
            chains.name(line)
            yield line

    def _incidents(self) -> Iterator[str]:
        own = incident_lines(exported.incidents_of(self.session, self.reach))
        theirs = (((*row[:4], instant(row[4]), *row[5:]), row[6]) for row in exported.imported_incidents_of(self.session, self.reach))
        return once(heapq.merge(own, theirs))

    def _certificates(self, digests: list[str]) -> None:
        """Read twice, and the certificates themselves once more for their own member: 100,000 are not kept in memory."""
        account_id = self.reach.account_id

        def told() -> Iterator[dict[str, Any]]:
            for seen, brought in certificates_of(self.session, account_id, digests):
                yield json.loads(brought) if brought else certificate_of(seen)

        self.lines(CERTIFICATES, map(line_of, told()))
        self.write(
            CERTIFICATES_CSV, table_lines(CERTIFICATE_COLUMNS, ([_plain(row[name]) for name in CERTIFICATE_COLUMNS] for row in told()))
        )
        self.write(CERTIFICATES_PEM, (pem_of(*each) for each in ders_of(self.session, account_id, digests)))

    def _table(self) -> Iterator[str]:
        """Watches with what stands on their domains: both come by name, so they are put together as they come."""
        cards = exported.domains_of(self.session, self.reach)
        name, card = "", BLANK

        def rows() -> Iterator[list[str]]:
            nonlocal name, card
            for row in exported.watches_of(self.session, self.reach):
                while name != row.name:
                    name, _, _, card = next(cards)
                yield [row.name, str(row.port), row.starttls, row.address, card.note, ", ".join(sorted(card.tags)), card.responsible]

        return table_lines(DOMAIN_COLUMNS, rows())

    def page(self, name: str, manifest: Mapping[str, Any]) -> None:
        """The page for people."""
        self.write(PAGE, [page_of(self.session, self.reach, Page(name, manifest))])

    def lines(self, member: str, lines: Iterable[str]) -> None:
        """A member of lines, counted."""
        name = member.partition(".")[0]
        self.counts[name] = 0

        def ended() -> Iterator[str]:
            for count, line in enumerate(lines, 1):
                self.counts[name] = count
                self.done += 1
                if not self.done % _SAY_EACH:
                    self.say(name, self.done, max(self.total, self.done))
                yield f"{line}\n"

        self.say(name, self.done, max(self.total, self.done))
        self.write(member, ended())

    def write(self, member: str, texts: Iterable[str]) -> str:
        """A member; its digest. Compressing and hashing goes on in a thread beside, since both let go of Python's lock."""
        digest, size = hashlib.sha256(), 0
        waiting: deque[Future[None]] = deque()
        with self.archive.open(member, "w", force_zip64=True) as file:

            def put(block: bytes) -> None:
                digest.update(block)
                file.write(block)

            for block in blocks(texts):
                size += len(block)
                waiting.append(self.beside.submit(put, block))
                if len(waiting) > _WAITING:
                    waiting.popleft().result()
            for each in waiting:
                each.result()
        self.written.append({"name": member, "bytes": size, "sha256": digest.hexdigest()})
        return digest.hexdigest()


def _plain(value: Any) -> str:
    return "" if value is None else " ".join(value) if isinstance(value, list) else str(value)
