"""Every field of a job's hash that RQ reads, forged one at a time: what would do something is refused, what would not is left unread."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from rq.job import Job

from tests.jobs.conftest import running_bench
from tests.jobs.test_forged import Hook
from tests.processes import eventually
from tests.workbench import Bench, packed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("forged fields")]
LARGE: Final = 100 * 2**20
MOST_RESIDENT: Final = 2**28
"""What a worker takes that has read none of it; with one of them it would be more."""


class Touch:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


Forge = Callable[[str, bytes], Any]
"""A field's value, made of a web server's address and of a pickle that makes the folder `unpickled`."""
REFUSED: Final[Mapping[str, Forge]] = {
    "data": lambda _url, pickled: zlib.compress(pickled),
    "success_callback_name": lambda _url, _pickled: "stand_in.forged",
    "failure_callback_name": lambda _url, _pickled: "stand_in.forged",
    "stopped_callback_name": lambda _url, _pickled: "stand_in.forged",
    "webhooks": lambda url, _pickled: json.dumps([{"url": url, "job_status": status} for status in ("finished", "failed")]),
    "dependency_id": lambda _url, _pickled: "other",
    "dependency_ids": lambda _url, _pickled: json.dumps(["other"]),
    "repeats_left": lambda _url, _pickled: 5,
    "repeat_intervals": lambda _url, _pickled: "[0]",
    "retries_left": lambda _url, _pickled: 5,
    "retry_intervals": lambda _url, _pickled: "[0]",
    "rate_limit_key": lambda _url, _pickled: "k",
    "rate_limit_concurrency": lambda _url, _pickled: 1,
    "group_id": lambda _url, _pickled: "g",
    "meta": lambda _url, pickled: pickled,
    "status": lambda _url, pickled: pickled,
    "created_at": lambda _url, pickled: pickled,
    "enqueued_at": lambda _url, pickled: pickled,
    "started_at": lambda _url, pickled: pickled,
    "ended_at": lambda _url, pickled: pickled,
    "last_heartbeat": lambda _url, pickled: pickled,
    "worker_name": lambda _url, _pickled: b"\xff\xfe",
}
UNREAD: Final = (
    "result", "exc_info", "description", "timeout", "result_ttl", "failure_ttl", "ttl", "success_callback_timeout",
    "failure_callback_timeout", "stopped_callback_timeout", "allow_dependency_failures", "enqueue_at_front",
    "enqueue_at_front_on_retry", "number_of_retries",
)  # fmt: skip
"""Read by RQ, and not by us: the job is done as if they were not there."""
OVERRULED: Final = ("origin",)
"""A job belongs to the queue that it was taken from: test_worker.py."""


class Outcome:
    """What became of a job for each field."""

    def __init__(self, bench: Bench, hook: Hook) -> None:
        self.bench, self.hook = bench, hook
        self.pickled = pickle.dumps(Touch(bench.data / "unpickled"))
        self.jobs = {field: bench.forge({"data": note(field), field: make(hook.url, self.pickled)}) for field, make in REFUSED.items()}
        for field in UNREAD:
            bench.forge({"data": note(field), field: self.pickled})
        bench.give("note", "last")
        self.worker = bench.work()
        eventually(lambda: "('last',)" in bench.noted(), within_s=60)


def note(field: str) -> bytes:
    return packed("note", None, [field], {})


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    hook = Hook()
    with running_bench(tmp_path_factory.mktemp("forged")) as bench:
        yield Outcome(bench, hook)
    hook.server.shutdown()
    hook.server.server_close()


@pytest.mark.parametrize("field", REFUSED)
def test_a_job_that_carries_it_is_refused(outcome: Outcome, field: str) -> None:
    assert outcome.bench.status(outcome.jobs[field]) == "failed"
    assert f"('{field}',)" not in outcome.bench.noted()


@pytest.mark.parametrize("field", UNREAD)
def test_what_does_nothing_is_not_read(outcome: Outcome, field: str) -> None:
    assert outcome.bench.noted().count(f"('{field}',)") == 1


def test_nothing_was_unpickled_called_or_run_and_the_worker_lives(outcome: Outcome) -> None:
    assert not (outcome.bench.data / "unpickled").exists()
    assert not (outcome.bench.data / "forged").exists()
    assert outcome.hook.calls == []
    assert outcome.worker.poll() is None


@pytest.mark.parametrize(("field", "refused"), [("data", True), ("meta", True), ("created_at", False), ("exc_info", False)])
def test_a_hundred_megabytes_are_never_fetched(outcome: Outcome, field: str, *, refused: bool) -> None:
    bench = outcome.bench
    bench.connection.config_set("appendonly", "no")  # the test's disk has no need of them either
    job_id = bench.forge({"data": note(f"large {field}"), field: b"x" * LARGE})
    if refused:
        eventually(lambda: bench.status(job_id) == "failed")
    else:  # passed over: the rest is a job of ours
        eventually(lambda: f"('large {field}',)" in bench.noted())
    bench.connection.delete(f"rq:job:{job_id}")
    assert outcome.worker.poll() is None
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{outcome.worker.pid}/status").read_text())
    assert peak
    assert int(peak[1]) * 1024 < MOST_RESIDENT


def test_a_job_that_waits_for_one_of_ours_is_refused_as_well(outcome: Outcome) -> None:
    bench = outcome.bench
    waiting = bench.forge({"data": note("waiting"), "dependency_id": "ours", "dependency_ids": '["ours"]', "status": "deferred"})
    bench.connection.lrem("rq:queue:now", 0, waiting)
    ours = bench.forge({"data": note("ours")})
    bench.connection.sadd(f"rq:job:{ours}:dependents", waiting)
    eventually(lambda: "('ours',)" in bench.noted())
    bench.give("note", "after it")
    eventually(lambda: "('after it',)" in bench.noted())
    assert "('waiting',)" not in bench.noted()


def test_every_field_that_rq_reads_or_writes_stands_above() -> None:
    words = "".join(inspect.getsource(method) for method in (Job.restore, Job.to_dict))
    fields = set(re.findall(r"obj(?:\.get\(|\[)'(\w+)'", words)) | set(re.findall(r"^            '(\w+)':", words, re.MULTILINE))
    assert len(fields) > 30
    assert fields == {*REFUSED, *UNREAD, *OVERRULED}
