import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import broker
from core.broker import answers
from tests.processes import eventually, marked
from tests.workbench import Bench


@contextlib.contextmanager
def running_bench(folder: Path) -> Iterator[Bench]:
    """A bench in this folder, and nothing left of it at the end."""
    own = broker.prepare(folder)
    process = subprocess.Popen(own.argv, stdout=subprocess.DEVNULL)
    eventually(lambda: answers(own.url))
    bench = Bench(folder, own)
    yield bench
    for worker in bench.workers:
        worker.kill()
        worker.wait()
    bench.connection.close()
    bench.engine.dispose()
    process.kill()
    process.wait()
    broker.tidy(own)
    eventually(lambda: not marked(bench.mark))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running_bench(tmp_path) as bench:
        yield bench
