"""A real worker on a real broker and a real database."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from rq.serializers import JSONSerializer

from core.store.db import Sessions
from jobs import queues
from jobs.carrier import CarriedJob
from tests.processes import eventually, marked
from tests.workbench import PROJECT, STAND_IN, Bench, packed

pytestmark = pytest.mark.slow  # real workers, whose clocks tick in seconds


def test_a_job_gets_its_context_and_ids_and_leaves_nothing_in_the_broker(bench: Bench) -> None:
    job_id = bench.give("note", 7, "abc")
    bench.work()
    eventually(lambda: bench.noted() == ["(7, 'abc')"])
    eventually(lambda: not bench.connection.exists(f"rq:job:{job_id}"))
    assert not [key for key in bench.connection.keys() if b"result" in key]  # noqa: SIM118 - redis has no other way


def test_what_is_no_job_is_passed_over(bench: Bench) -> None:
    bench.connection.set("rq:job:text", "no hash")
    bench.connection.rpush("rq:queue:now", "text", "gone", "not an id!", "")
    bench.give("note", 1)
    worker = bench.work()
    eventually(lambda: bench.noted() == ["(1,)"])
    assert worker.poll() is None


def test_a_job_says_nothing_of_the_queue_it_belongs_to(bench: Bench) -> None:
    job_id = bench.forge({"data": packed("nothing", None, [], {}), "origin": "elsewhere"})
    bench.work()
    eventually(lambda: bench.status(job_id) == "failed")
    assert bench.connection.zcard("rq:failed:now") == 1


def test_the_worker_is_heard_while_a_job_takes_long_and_stops_after_it(bench: Bench) -> None:
    bench.give("linger", 1)
    worker = bench.work()
    eventually((bench.data / "lingering").exists)
    first = eventually(lambda: bench.beats().get("worker.now"))
    assert first
    eventually(lambda: bench.beats()["worker.now"] > first)
    second = bench.beats()["worker.now"]
    eventually(lambda: bench.beats()["worker.now"] > second)
    worker.send_signal(signal.SIGTERM)
    (bench.data / "enough").touch()
    assert worker.wait(timeout=20) == 0


def test_an_idle_worker_is_heard_and_stops_at_once(bench: Bench) -> None:
    worker = bench.work("ops")
    first = eventually(lambda: bench.beats().get("worker.ops"))
    eventually(lambda: bench.beats()["worker.ops"] != first)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=5) == 0


def test_a_killed_worker_takes_its_horse_along(bench: Bench) -> None:
    bench.give("linger", 1)
    worker = bench.work()
    eventually(lambda: (bench.data / "lingering").exists() and (bench.data / "lingering").read_text())
    horse = int((bench.data / "lingering").read_text())
    assert set(marked(bench.mark)) == {worker.pid, horse}
    worker.kill()
    worker.wait()
    eventually(lambda: not marked(bench.mark), within_s=5)


def test_a_job_is_stopped_when_its_time_is_over(bench: Bench) -> None:
    slow = bench.give("hasten", 1)  # RQ is told 60 s; its kind has 1 s
    bench.give("note", 2)
    bench.work()
    eventually(lambda: bench.noted() == ["(2,)"])
    assert bench.status(slow) == "failed"


def test_a_job_that_takes_too_much_memory_fails_alone(bench: Bench) -> None:
    greedy = bench.give("fill", 1)
    bench.give("note", 2)
    worker = bench.work()
    eventually(lambda: bench.noted() == ["(2,)"])
    assert bench.status(greedy) == "failed"
    assert worker.poll() is None


def test_a_job_at_hand_goes_on_while_the_database_is_locked(bench: Bench) -> None:
    bench.work()
    eventually(lambda: bench.beats().get("worker.now"))
    with Sessions(bench.engine).writing():
        bench.give("linger", 1)
        eventually((bench.data / "lingering").exists)
        (bench.data / "enough").touch()
    bench.give("note", 2)
    eventually(lambda: bench.noted() == ["(2,)"])


def test_enqueue_refuses_what_is_no_job(bench: Bench) -> None:
    for queue_name, job_name in (("now", "os.system"), ("ops", "scan_batch"), ("elsewhere", "scan_batch")):
        with pytest.raises(ValueError, match="no job"):
            queues.enqueue(bench.connection, queue_name, job_name, [1])
    assert bench.connection.keys() == []


def test_what_enqueue_writes_is_what_a_worker_takes(bench: Bench) -> None:
    job_id = queues.enqueue(bench.connection, "scan", "scan_batch", list(range(10**18, 10**18 + 1000)), 180)
    job = CarriedJob.fetch(job_id, bench.connection, JSONSerializer)
    assert (job.refusal, job.name, len(job.ids), job.timeout) == (None, "scan_batch", 1000, 180)
    assert bench.connection.lrange("rq:queue:scan", 0, -1) == [job_id.encode()]
    assert b"1000000000000000000" not in (bench.connection.hget(f"rq:job:{job_id}", "description") or b"")


def test_without_a_broker_enqueue_tells_at_once(tmp_path: Path) -> None:
    connection = queues.connect(f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(redis.RedisError):
        queues.enqueue(connection, "now", "scan_batch", [1])


CANNOT = [([], "", 64), (["later"], "", 64), (["now"], "", 78), (["now"], "redis://127.0.0.1:1", 69)]


@pytest.mark.parametrize(("words", "redis_url", "code"), CANNOT)
def test_a_worker_that_cannot_start_says_why(tmp_path: Path, words: list[str], redis_url: str, code: int) -> None:
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)
    path = f"{PROJECT}{os.pathsep}{tmp_path}"
    environment = {"PATH": os.environ["PATH"], "KEYCHEST_DATA": str(tmp_path), "REDIS_URL": redis_url, "PYTHONPATH": path}
    ended = subprocess.run([sys.executable, program, *words], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert 1 <= len(ended.stderr.splitlines()) <= 2
