"""A bundle, written as a stream: rows are read, told and compressed some at a time, so memory stays flat however large the account is.

The place it is written to need not be seekable. Equal data gives equal bytes.
"""

from __future__ import annotations

import gc
import hashlib
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from sqlalchemy.orm import Session

from audit.published import UnreadableError, published_logs
from core.exports import members
from core.exports.chains import Chains
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
from core.exports.lines import instant, or_none
from core.exports.page import Page, page_of
from core.exports.shapes import line_of
from core.exports.streams import Aside, Counted, blocks
from core.store import exported
from core.store.db import Sessions, postgresql
from core.store.exported import Reach

_LEVEL: Final = 1
_WAITING: Final = 8
_TOGETHER: Final = 256
_ROWS_BETWEEN: Final = 100_000
SOFTWARE: Final = "keychest"
Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class LogHead:
    """The newest checkpoint of the installation's log, as its note stands."""

    origin: str
    checkpoint: str


def log_head(folder: Path | None) -> LogHead | None:
    """The newest checkpoint that is published in this folder; None where nothing is, or it cannot be read from here."""
    if folder is None:
        return None
    with suppress(UnreadableError):
        logs = published_logs(folder)
        return LogHead(logs[-1].checkpoint.origin, logs[-1].note.raw.decode()) if logs else None
    return None


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


@contextmanager
def _few_collections() -> Iterator[None]:
    """Rows come and go by the million, and none is a part of itself: looking for circles among them takes a tenth of all the time."""
    before = gc.get_threshold()
    gc.set_threshold(_ROWS_BETWEEN, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def write_bundle(
    session: Session, account_id: int, into: BinaryIO, *, whence: Whence, history: str, now: datetime, say: Say = silent
) -> Made:
    """Write the account's bundle. `history` is one of core.exports.form.HISTORIES; `say` is told the step, and how far it is of what.

    The session is one of `reading`, else rows that come meanwhile may be in one member and not in another.
    """
    account = exported.account_of(session, account_id)
    reach = Reach(account_id, account.deleted_at, since(history, now), history=history != "none")
    counted = Counted(into)
    zipped = zipfile.ZipFile(counted, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
    with _few_collections(), zipped as archive, ThreadPoolExecutor(1) as beside:
        bundle = _Bundle(session, reach, archive, beside, say, exported.counted(session, reach))
        bundle.members()
        manifest = {
            "format": FORMAT, "version": VERSION, "installation": whence.installation, "software": whence.software,
            "account": {"ref": account.ref, "name": account.name}, "made_at": instant(now), "history": history,
            "since": or_none(reach.since) if reach.history else None, "counts": bundle.counts, "members": bundle.written,
            "log": {"origin": whence.log.origin, "checkpoint": whence.log.checkpoint} if whence.log else None, "signer": whence.key.vkey,
        }  # fmt: skip
        bundle.page(account.name, manifest)
        digest = bundle.value(MANIFEST, manifest)
        bundle.write(SIGNATURE, [whence.key.sign(digest)])
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
        self.value(ACCOUNT, {"name": account.name, "created_at": instant(account.created_at)})
        plans = [
            dict(zip(("every", "history", "place", "address", "recipient"), each, strict=True))
            for each in exported.plans_of(session, reach.account_id)
        ]
        self.value(SETTINGS, {"factor_required": exported.factor_required(session, reach.account_id), "plans": plans})
        people = exported.people_of(session, reach)
        with closing(Aside()) as watches, closing(Aside()) as table:
            self.lines(DOMAINS, members.domains(session, reach, watches, table))
            self.aside(WATCHES, watches)
            self.lines(MEMBERS_OF, (line_of({"email": email, "role": role, "since_at": instant(at)}) for email, role, at in people))
            self.lines(CHANNELS, (line_of({"kind": "mail", "to": email}) for email, *_ in people))
            with Chains() as chains:
                self.lines(OBSERVATIONS, members.observations(session, reach, chains) if reach.history else ())
                self.lines(INCIDENTS, members.incidents(session, reach) if reach.history else ())
                self.lines(CHAINS, chains.lines())
                self._certificates(chains)
            self.write(DOMAINS_CSV, table.blocks())

    def _certificates(self, chains: Chains) -> None:
        """The certificates themselves first: nothing else takes as long to compress, and it is done while the rest is told."""
        with closing(Aside()) as lines, closing(Aside()) as table:
            texts = members.certificates(self.session, self.reach, chains.certificates(), lines, table)
            self.write(CERTIFICATES_PEM, self._told("certificates", blocks(texts)))
            self.aside(CERTIFICATES, lines)
            self.write(CERTIFICATES_CSV, table.blocks())

    def page(self, name: str, manifest: Mapping[str, Any]) -> None:
        """The page for people."""
        self.write(PAGE, [page_of(self.session, self.reach, Page(name, manifest)).encode()])

    def value(self, member: str, value: Mapping[str, Any]) -> str:
        """A member that is one object; its digest."""
        return self.write(member, [f"{line_of(value)}\n".encode()])

    def _told(self, step: str, content: Iterable[bytes]) -> Iterator[bytes]:
        for block in content:
            self.say(step, self.done, max(self.total, self.done))
            yield block

    def aside(self, member: str, lines: Aside) -> None:
        """A member of lines that were put aside, counted."""
        self.counts[member.partition(".")[0]] = lines.count
        self.write(member, lines.blocks())

    def lines(self, member: str, lines: Iterable[str]) -> None:
        """A member of lines, counted."""
        name = member.partition(".")[0]
        self.counts[name] = 0

        def ended() -> Iterator[str]:
            rest = iter(lines)
            while some := list(islice(rest, _TOGETHER)):
                self.counts[name] += len(some)
                self.done += len(some)
                yield "\n".join((*some, ""))

        self.write(member, self._told(name, blocks(ended())))

    def write(self, member: str, content: Iterable[bytes]) -> str:
        """A member; its digest. Compressing and hashing goes on in a thread beside, since both let go of Python's lock."""
        digest, size = hashlib.sha256(), 0
        waiting: deque[Future[None]] = deque()
        with self.archive.open(member, "w", force_zip64=True) as file:

            def put(block: bytes) -> None:
                digest.update(block)
                file.write(block)

            for block in content:
                size += len(block)
                waiting.append(self.beside.submit(put, block))
                if len(waiting) > _WAITING:
                    waiting.popleft().result()
            for each in waiting:
                each.result()
        self.written.append({"name": member, "bytes": size, "sha256": digest.hexdigest()})
        return digest.hexdigest()
