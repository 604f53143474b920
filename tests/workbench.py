"""A real broker, a real database and real workers, whose jobs are small stand-ins written beside the data folder."""

import os
import subprocess
import sys
import uuid
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rq.serializers import JSONSerializer

from cli import broker
from core.store import schema
from core.store.db import Sessions, make_engine
from core.store.heartbeats import heartbeats
from jobs import queues

PROJECT = Path(__file__).resolve().parents[1]
STAND_IN = """
import os, pathlib, sys, time
from jobs import carrier
carrier.JOBS = (
    carrier.Kind("note", ("now", "ops"), "stand_in:note", 60),
    carrier.Kind("linger", ("now",), "stand_in:linger", 60),
    carrier.Kind("hasten", ("now",), "stand_in:linger", 1),
    carrier.Kind("fill", ("now",), "stand_in:fill", 60),
)
here = pathlib.Path(os.environ["KEYCHEST_DATA"])
def note(context, *ids):
    with context.sessions.writing() as session:
        session.connection().exec_driver_sql("SELECT 1")
    with (here / "noted").open("a") as file: file.write(repr(ids) + "\\n")
def linger(context, *ids):
    (here / "lingering").write_text(str(os.getpid()))
    while not (here / "enough").exists(): time.sleep(0.02)
def fill(context, *ids):
    bytearray(3 * 2**30)
def forged(*words):
    (here / "forged").touch()
if __name__ == "__main__":
    import stand_in
    from jobs import worker
    worker.JOBS = carrier.JOBS
    worker.BEAT_S = 1
    sys.exit(worker.main(sys.argv[1:]))
"""


class Bench:
    """A broker, a database and as many workers as a test starts."""

    def __init__(self, data: Path, own: broker.Broker) -> None:
        self.data, self.mark = data, uuid.uuid4().hex
        self.connection = queues.connect(own.url)
        self.engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
        schema.upgrade(self.engine)
        (data / "stand_in.py").write_text(STAND_IN)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KEYCHEST_")},
            "KEYCHEST_DATA": str(data),
            "REDIS_URL": own.url,
            "KC_MARK": self.mark,
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{data}",
        }
        self.workers: list[subprocess.Popen[bytes]] = []

    def work(self, queue: str = "now") -> subprocess.Popen[bytes]:
        with (self.data / "worker.log").open("ab") as log:
            words = [sys.executable, str(self.data / "stand_in.py"), queue]
            self.workers.append(subprocess.Popen(words, env=self.environment, stdout=log, stderr=log, start_new_session=True))
        return self.workers[-1]

    def beats(self) -> dict[str, datetime]:
        with Sessions(self.engine).reading() as session:
            return heartbeats(session)

    def noted(self) -> list[str]:
        path = self.data / "noted"
        return path.read_text().splitlines() if path.exists() else []

    def give(self, name: str, *ids: int | str) -> str:
        """A job as `queues.enqueue` would make it, for the stand-ins, which `JOBS` does not hold in this process."""
        queue = queues.queue(self.connection, "now")
        return queue.enqueue_call(func=name, args=ids, timeout=60, result_ttl=0, failure_ttl=60, description=name).id

    def forge(self, fields: dict[str, Any]) -> str:
        """What somebody with access to the broker could write: a job's hash and its place in the queue."""
        job_id = uuid.uuid4().hex
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mapping: Any = {"created_at": now, "origin": "now", "status": "queued", **fields}
        self.connection.hset(f"rq:job:{job_id}", mapping=mapping)
        self.connection.rpush("rq:queue:now", job_id)
        return job_id

    def status(self, job_id: str) -> str:
        found: Any = self.connection.hget(f"rq:job:{job_id}", "status") or b""
        return str(found.decode())


def packed(*words: Any) -> bytes:
    return zlib.compress(JSONSerializer.dumps(words))  # type: ignore[no-untyped-call]
