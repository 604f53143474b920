"""What somebody who can write to the broker may try: every kind ends FAILED, and nothing in it is run."""

import json
import os
import pickle
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from jobs.carrier import PAYLOAD_BYTES
from tests.processes import eventually
from tests.workbench import Bench, packed


class Hook:
    """A real web server that counts who calls it."""

    def __init__(self) -> None:
        calls = self.calls = []  # type: list[str]

        class Count(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                calls.append(self.path)
                self.send_response(200)
                self.end_headers()

            do_POST = do_GET  # noqa: N815 - as above

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as above
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Count)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


NOTE = packed("note", None, ["from a forged job"], {})
UNKNOWN = packed("nothing", None, [], {})
FORGED: dict[str, Callable[[str], dict[str, Any]]] = {
    "any function": lambda _url: {"data": packed("stand_in.forged", None, [], {})},
    "the standard library": lambda _url: {"data": packed("os.mkdir", None, ["/nowhere/at/all"], {})},
    "the import path of a job": lambda _url: {"data": packed("stand_in:note", None, [], {})},
    "a method of an instance": lambda _url: {"data": packed("note", {"a": 1}, [], {})},
    "named arguments": lambda _url: {"data": packed("note", None, [], {"a": 1})},
    "arguments that are no ids": lambda _url: {"data": packed("note", None, [{"host": "example.org"}], {})},
    "a truth value for an id": lambda _url: {"data": packed("note", None, [True], {})},
    "a number past all ids": lambda _url: {"data": packed("note", None, [2**63], {})},
    "a long text for an id": lambda _url: {"data": packed("note", None, ["x" * 65], {})},
    "pickle": lambda _url: {"data": zlib.compress(pickle.dumps(("stand_in.forged", None, (), {})))},
    "not packed": lambda _url: {"data": b'["note", null, ["from a forged job"], {}]'},
    "no JSON": lambda _url: {"data": zlib.compress(b"\xff\xfe")},
    "JSON without end": lambda _url: {"data": zlib.compress(b"[" * 50_000)},
    "too large": lambda _url: {"data": os.urandom(PAYLOAD_BYTES + 1)},
    "a bomb": lambda _url: {"data": zlib.compress(b'["note", null, ["' + b" " * 50_000_000 + b'"], {}]', 9)},
    "a success callback": lambda _url: {"data": NOTE, "success_callback_name": "stand_in.forged"},
    "a failure callback": lambda _url: {"data": NOTE, "failure_callback_name": "stand_in.forged"},
    "a stopped callback": lambda _url: {"data": NOTE, "stopped_callback_name": "stand_in.forged"},
    "a failure callback on what fails": lambda _url: {"data": UNKNOWN, "failure_callback_name": "stand_in.forged"},
    "a webhook": lambda url: {"data": NOTE, "webhooks": json.dumps([{"url": url, "job_status": "finished"}])},
    "a webhook on failure": lambda url: {
        "data": UNKNOWN,
        "webhooks": json.dumps([{"url": url, "job_status": "failed"}]),
    },
    "a dependency": lambda _url: {"data": NOTE, "dependency_ids": json.dumps(["other"]), "dependency_id": "other"},
    "a repeat": lambda _url: {"data": NOTE, "repeats_left": 5, "repeat_intervals": "[0]"},
    "a retry": lambda _url: {"data": UNKNOWN, "retries_left": 5, "retry_intervals": "[0]"},
    "a rate limit": lambda _url: {"data": NOTE, "rate_limit_key": "k", "rate_limit_concurrency": 1},
    "a repeat alone": lambda _url: {"data": NOTE, "repeats_left": 5},
    "a retry alone": lambda _url: {"data": NOTE, "retries_left": 5},
    "a bomb that begins well": lambda _url: {"data": zlib.compress(b'["note", null, ["from a forged job"], {}]' + b" " * 50_000_000, 9)},
    "a group": lambda _url: {"data": NOTE, "group_id": "g"},
    "pickled notes": lambda _url: {"data": NOTE, "meta": pickle.dumps({})},
    "a time that is none": lambda _url: {"data": NOTE, "created_at": "yesterday"},
    "a status that is none": lambda _url: {"data": NOTE, "status": "splendid"},
}


@pytest.mark.slow
def test_forged_jobs_of_every_kind_end_failed_and_do_nothing(bench: Bench, hook: Hook) -> None:
    forged = {kind: bench.forge(make(hook.url)) for kind, make in FORGED.items()}
    last = bench.give("note", 1)
    worker = bench.work()
    eventually(lambda: bench.noted() == ["(1,)"] and not bench.connection.exists(f"rq:job:{last}"), within_s=60)
    assert {kind: bench.status(job_id) for kind, job_id in forged.items()} == dict.fromkeys(FORGED, "failed")
    assert not (bench.data / "forged").exists()
    assert hook.calls == []
    assert worker.poll() is None  # the very first worker is still there: none of them brought it down
