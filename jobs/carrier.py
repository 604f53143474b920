"""What may be carried: the jobs there are, and the rebuilding of a job from its name and ids alone.

Who can write to the broker must not be able to run code here. RQ would import any function a job names, run its callbacks, call
its webhooks and repeat it; unpickling runs code by itself. `CarriedJob` reads none of that: a hash that holds more than a name in
`JOBS` and a JSON list of ids is refused, ends FAILED, and nothing in it is run.
"""

from __future__ import annotations

import importlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis, ResponseError
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.utils import as_text

from jobs.context import Context

PAYLOAD_BYTES = 65_536  # 1,000 ids of 19 digits are 20 kB
ID_CHARACTERS = 64
FAILURE_TTL_S = 3_600

Id = int | str


@dataclass(frozen=True, slots=True)
class Kind:
    """A job that workers run: `module:function`, called with a Context and the ids, stopped after `timeout_s`.

    `alone`: where the horse itself dies, this job is given out again in halves, and what it still dies of by itself goes to that job.
    """

    name: str
    queues: tuple[str, ...]
    runs: str
    timeout_s: int
    alone: str = ""

    def function(self) -> Callable[..., object]:
        """The function itself, imported only where it runs."""
        module, _, name = self.runs.partition(":")
        found: Callable[..., object] = getattr(importlib.import_module(module), name)
        return found


JOBS: tuple[Kind, ...] = (
    Kind(name="scan_batch", queues=("now", "scan"), runs="jobs.scan:scan_batch", timeout_s=180, alone="tell_unread"),
    Kind(name="tell_unread", queues=("now", "scan"), runs="jobs.scan:tell_unread", timeout_s=60),
    Kind(name="spot_checks", queues=("now",), runs="jobs.spot_check:spot_checks", timeout_s=60),
    Kind(name="send_notices", queues=("ops", "now"), runs="jobs.notify:send_notices", timeout_s=120),
    Kind(name="send_letters", queues=("ops", "now"), runs="jobs.letters:send_letters", timeout_s=120),
    Kind(name="back_up", queues=("backup",), runs="jobs.backup:back_up", timeout_s=21_600),
    Kind(name="drill", queues=("backup",), runs="jobs.drill:drill", timeout_s=21_600),
    Kind(name="purge", queues=("ops",), runs="jobs.purge:purge", timeout_s=600),
    Kind(name="export", queues=("ops",), runs="jobs.exports:export", timeout_s=7_200),
    Kind(name="bring_in", queues=("ops",), runs="jobs.imports:bring_in", timeout_s=7_200),
    Kind(name="deliver", queues=("ops",), runs="jobs.deliver:deliver", timeout_s=7_200),
    Kind(name="sweep_files", queues=("ops",), runs="jobs.files:sweep_files", timeout_s=600),
    Kind(name="look", queues=("ops",), runs="jobs.look:look", timeout_s=600),
)


class RefusedJobError(Exception):
    """A job that KeyChest did not make. Nothing in it was run."""


# What RQ writes for a job of ours. All else a hash may hold is either written empty or means that others wrote it.
_READ = ("data", "created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat", "status", "origin", "worker_name")
_NEVER = (
    "success_callback_name",
    "failure_callback_name",
    "stopped_callback_name",
    "webhooks",
    "dependency_id",
    "dependency_ids",
    "repeats_left",
    "repeat_intervals",
    "retries_left",
    "retry_intervals",
    "rate_limit_key",
    "rate_limit_concurrency",
    "group_id",
    "meta",
)


class CarriedJob(Job):
    """A job rebuilt from its name and ids. `refusal` says in words why it was not; then it fails when it is performed."""

    refusal: str | None = None
    name: str = ""
    ids: tuple[Id, ...] = ()
    open_context: Callable[[], Context] | None = None
    """Set by the work horse: what the job's function gets before its ids."""

    @classmethod
    def fetch(cls, id: str, connection: Redis | None = None, serializer: Any = None) -> CarriedJob:  # noqa: A002 - RQ's word
        """The job, refused or not. Raises NoSuchJobError for what is no job at all, also for an id that RQ would choke on."""
        try:
            job = cls(id.partition(":")[0], connection=connection, serializer=serializer)
        except (ValueError, TypeError) as error:
            raise NoSuchJobError(str(error)) from None
        job.refresh()
        return job

    @classmethod
    def fetch_many(cls, job_ids: Iterable[str], connection: Redis, serializer: Any = None) -> list[Job | None]:
        """As `fetch`, with None for what is no job."""
        return [_or_none(cls, job_id, connection, serializer) for job_id in job_ids]

    def refresh(self) -> None:
        """Read the fields that are ours, having asked for their sizes first. Raises NoSuchJobError."""
        fields = (*_READ, *_NEVER)
        try:
            with self.connection.pipeline(transaction=False) as pipeline:
                for field in fields:
                    pipeline.hstrlen(self.key, field)
                sizes = dict(zip(fields, pipeline.execute(), strict=True))
            if not sizes["data"]:
                raise NoSuchJobError(f"No such job: {self.id}")
            wanted = tuple(field for field in _READ if sizes[field] <= PAYLOAD_BYTES)
            values: Any = self.connection.hmget(self.key, wanted)
        except ResponseError as error:  # the key is no hash
            raise NoSuchJobError(str(error)) from None
        found = {field: value for field, value in zip(wanted, values, strict=True) if value is not None}
        self.restore(found | {field: b"?" for field in _NEVER if sizes[field]})

    def restore(self, raw_data: Mapping[Any, bytes]) -> None:
        """Take over a hash. Never raises: what cannot be read is refused, since a worker that dies of a job dies again of the next."""
        found = {str(as_text(key)): value for key, value in raw_data.items()}
        try:
            self.name, self.ids, kind = _read(found)
            kept = {field.encode(): found[field] for field in _READ if field in found}
            super().restore(kept | _payload(self.name, self.ids))
            self.timeout = kind.timeout_s
        except (RefusedJobError, ValueError, TypeError, KeyError, NoSuchJobError) as error:
            self.refusal = str(error) or type(error).__name__
            super().restore(_payload("refused", ()))
            self.timeout = 1
        self.description, self.result_ttl, self.failure_ttl = self.name or "refused", 0, FAILURE_TTL_S

    @property
    def func(self) -> Callable[..., object]:
        """Never asked for: `_execute` decides what runs."""
        raise RefusedJobError(f"{self.name or 'this job'} is started by its name alone.")

    def _execute(self) -> None:
        if self.refusal is not None:
            raise RefusedJobError(self.refusal)
        if self.open_context is None:
            raise RefusedJobError("Jobs run in a worker of KeyChest's only.")
        _kind(self.name).function()(self.open_context(), *self.ids)


def _or_none(cls: type[CarriedJob], job_id: str, connection: Redis, serializer: Any) -> CarriedJob | None:
    try:
        return cls.fetch(job_id, connection, serializer)
    except NoSuchJobError:
        return None


def _payload(name: str, ids: tuple[Id, ...]) -> dict[bytes, bytes]:
    return {b"data": zlib.compress(json.dumps([name, None, list(ids), {}]).encode())}


def _kind(name: object) -> Kind:
    for kind in JOBS:
        if kind.name == name:
            return kind
    raise RefusedJobError(f"{str(name)[:80]!r} is no job of KeyChest's.")


def _read(found: Mapping[str, bytes]) -> tuple[str, tuple[Id, ...], Kind]:
    """Name, ids and kind in a job's hash. Raises RefusedJobError for anything more, anything else and anything too large."""
    for field in _NEVER:
        if found.get(field):
            raise RefusedJobError(f"It carries {field}, which no job of KeyChest's does.")
    content = _unpacked(found.get("data", b""))
    try:
        words = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise RefusedJobError("What it carries is not JSON.") from None
    match words:
        case [str() as name, None, [*ids], dict() as names] if not names and all(_is_id(given) for given in ids):
            return name, tuple(ids), _kind(name)
    raise RefusedJobError("It carries something other than a name and ids.")


def _is_id(given: object) -> bool:
    if isinstance(given, str):
        return len(given) <= ID_CHARACTERS
    return isinstance(given, int) and not isinstance(given, bool) and abs(given) < 2**63


def _unpacked(data: bytes) -> bytes:
    """The payload, at most PAYLOAD_BYTES of it. Raises RefusedJobError: a kilobyte may unpack to a gigabyte."""
    if not 0 < len(data) <= PAYLOAD_BYTES:
        raise RefusedJobError("It carries too much.")
    reader = zlib.decompressobj()
    try:
        content = reader.decompress(data, PAYLOAD_BYTES)
    except zlib.error:
        raise RefusedJobError("What it carries cannot be unpacked.") from None
    if reader.unconsumed_tail or not reader.eof:
        raise RefusedJobError("It carries too much.")
    return content
