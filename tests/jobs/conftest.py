import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import broker
from core.broker import answers
from tests.processes import eventually, marked
from tests.workbench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    own = broker.prepare(tmp_path)
    process = subprocess.Popen(own.argv, stdout=subprocess.DEVNULL)
    eventually(lambda: answers(own.url))
    bench = Bench(tmp_path, own)
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
