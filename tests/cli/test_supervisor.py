"""The supervisor with real, tiny children, started and forked: each run is a process of its own, told what to run in JSON."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import eventually, marked

pytestmark = pytest.mark.slow  # real children, whose back-off ticks in seconds

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, os, sys, types
from pathlib import Path
from cli import supervisor
told = json.loads(sys.argv[1])
def main(words):
    sys.argv[1:] = words[1:]
    exec(words[0], {"__name__": "__main__"})
sys.modules["child"] = types.ModuleType("child")
sys.modules["child"].main = main
def child(name, code):
    if told["forked"]:
        return supervisor.Child(name, (code, name), stop_s=told["stop_s"], module="child")
    return supervisor.Child(name, (sys.executable, "-c", code, name), stop_s=told["stop_s"])
stages = [[child(*item) for item in stage.items()] for stage in told["stages"]]
given = {name: value for name, value in os.environ.items() if name != "KC_PARENT"}
run = supervisor.Supervisor(stages, given, Path(told["logs"]), lambda line: print(line, flush=True), told["delay_s"])
run.listen()
print("supervising", flush=True)
run.run()
print("ended", flush=True)
"""
POLITE = """
import pathlib, signal, sys, time
order = pathlib.Path({folder!r})
def bye(*_):
    with (order / "stopped").open("a") as file: file.write(sys.argv[1] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, bye)
(order / ("up-" + sys.argv[1])).touch()
while True: time.sleep(60)
"""
STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(pathlib.Path({folder!r}) / ("up-" + sys.argv[1])).touch()
while True: time.sleep(60)
"""
MORTAL = """
import pathlib, sys
with (pathlib.Path({folder!r}) / "lives").open("a") as file: file.write("x")
print("the disk is full\\x1b[31m")
sys.exit(3)
"""
TELLING = """
import json, os, pathlib, signal, sys
told = {{
    "session": os.getsid(0) == os.getpid(),
    "files": sorted(each for each in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + each)),
    "reads": os.readlink("/proc/self/fd/0"),
    "environment": dict(os.environ),
    "blocked": [number.name for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "handled": [each for each in ("SIGTERM", "SIGHUP", "SIGCHLD") if signal.getsignal(getattr(signal, each)) is not signal.SIG_DFL],
}}
(pathlib.Path({folder!r}) / "told").write_text(json.dumps(told))
print("said")
print("complained", file=sys.stderr)
(pathlib.Path({folder!r}) / ("up-" + sys.argv[1])).touch()
signal.pause()
"""
WITH_CHILD = """
import os, pathlib, sys, time
from core import lifeline
me = os.getpid()
if os.fork() == 0:
    lifeline.end_with(me)
    (pathlib.Path({folder!r}) / "up-grandchild").touch()
while True: time.sleep(60)
"""


class Run:
    def __init__(self, folder: Path, mark: str, *, forked: bool) -> None:
        self.folder, self.mark, self.forked = folder, mark, forked
        self.logs = folder / mark / "logs"  # a fork writes its title, which names the folder, over its environment
        self.logs.mkdir(parents=True)
        self.process: subprocess.Popen[str] | None = None

    def start(self, *stages: dict[str, str], stop_s: float = 5.0, delay_s: float = 0.05) -> subprocess.Popen[str]:
        codes = [{name: code.format(folder=str(self.folder)) for name, code in stage.items()} for stage in stages]
        told: dict[str, Any] = {"stages": codes, "logs": str(self.logs), "stop_s": stop_s, "delay_s": delay_s, "forked": self.forked}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(told)],
            env=dict(os.environ, KC_MARK=self.mark, KC_PARENT="its own", PYTHONPATH=str(PROJECT)),
            stdout=subprocess.PIPE,
            text=True,
        )
        return self.process

    def up(self, *names: str) -> None:
        eventually(lambda: all((self.folder / f"up-{name}").exists() for name in names))


@pytest.fixture(params=["started", "forked"])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    run = Run(tmp_path, uuid.uuid4().hex, forked=request.param == "forked")
    yield run
    if run.process:
        run.process.kill()
        run.process.communicate()
    eventually(lambda: not marked(run.mark))


def test_a_child_has_nothing_of_its_parent_but_what_it_is_given(run: Run) -> None:
    process = run.start({"telling": TELLING})
    run.up("telling")
    told = json.loads((run.folder / "told").read_text())
    assert told["session"]
    assert told["files"] == ["0", "1", "2"]
    assert told["reads"] == os.devnull
    assert (told["environment"]["KC_MARK"], told["environment"]["PYTHONPATH"]) == (run.mark, str(PROJECT))
    assert "KC_PARENT" not in told["environment"]
    assert (told["blocked"], told["handled"]) == ([], [])
    assert sorted((run.logs / "telling.log").read_text().split()) == ["complained", "said"]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("code", "reason", "last"),
    [
        ("raise SystemExit", "exit code 0", ""),
        ("import sys; sys.exit('the key is gone')", "exit code 1", "  mortal: the key is gone\n"),
        ("1 / 0", "exit code 1", "  mortal: ZeroDivisionError: division by zero\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "by SIGTERM", ""),
    ],
)
def test_how_a_child_ended_is_told_with_its_last_words(run: Run, code: str, reason: str, last: str) -> None:
    process = run.start({"mortal": code}, delay_s=1.0)
    assert process.stdout
    said: list[str] = []
    while not said or not said[-1].startswith("mortal ended") or len(said) == 2:
        said.append(process.stdout.readline())
        assert said[-1], said  # it has ended
    process.send_signal(signal.SIGTERM)
    assert said[1] == f"mortal ended ({reason}). It is started again in 1 s.\n"
    assert "".join(said[2:-1])[-len(last) or 100_000 :] == last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_children_stop_stage_by_stage_in_reverse_order(run: Run, number: signal.Signals) -> None:
    process = run.start({"first": POLITE}, {"second": POLITE}, {"third": POLITE})
    run.up("first", "second", "third")
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert (run.folder / "stopped").read_text().split() == ["third", "second", "first"]
    assert said.endswith("ended\n")
    assert not marked(run.mark)


def test_a_killed_supervisor_leaves_nothing_grandchildren_included(run: Run) -> None:
    process = run.start({"stubborn": STUBBORN, "polite": POLITE}, {"parent": WITH_CHILD})
    run.up("stubborn", "polite", "grandchild")
    assert len(marked(run.mark)) == 5
    process.kill()
    process.wait()
    eventually(lambda: not marked(run.mark), within_s=5)


def test_a_child_that_dies_is_started_again_and_its_last_words_are_told(run: Run) -> None:
    process = run.start({"mortal": MORTAL, "polite": POLITE})
    run.up("polite")
    eventually(lambda: len((run.folder / "lives").read_text()) >= 5 if (run.folder / "lives").exists() else False)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)
    assert "mortal ended (exit code 3). It is started again in 0.05 s." in said
    assert "mortal ended (exit code 3). It is started again in 0.4 s." in said  # the pause doubles
    assert "  mortal: the disk is full[31m" in said  # a log cannot write escape sequences to a terminal


def test_what_was_logged_before_a_start_is_not_told_as_its_last_words(run: Run) -> None:
    (run.logs / "silent.log").write_text("of an earlier day\n")
    process = run.start({"silent": "raise SystemExit(3)"})
    assert process.stdout
    said = [process.stdout.readline() for _ in range(3)]  # supervising, and ended twice with nothing between
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert [line.split(" (")[0] for line in said] == ["supervising\n", "silent ended", "silent ended"]


def test_a_killed_child_is_started_again(run: Run) -> None:
    process = run.start({"polite": POLITE})
    run.up("polite")
    first = next(pid for pid in marked(run.mark) if pid != process.pid)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: [pid for pid in marked(run.mark) if pid not in {first, process.pid}])
    process.send_signal(signal.SIGTERM)
    assert "polite ended (by SIGKILL)" in process.communicate(timeout=20)[0]


def test_a_child_that_does_not_stop_is_killed_when_its_time_is_over(run: Run) -> None:
    process = run.start({"polite": POLITE}, {"stubborn": STUBBORN}, stop_s=0.3)
    run.up("polite", "stubborn")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)
    assert "stubborn did not end in time and was killed" in said
    assert (run.folder / "stopped").read_text().split() == ["polite"]
    assert process.returncode == 0


def test_a_second_signal_ends_the_patience(run: Run) -> None:
    process = run.start({"stubborn": STUBBORN}, stop_s=100)
    run.up("stubborn")
    process.send_signal(signal.SIGINT)
    assert process.stdout
    assert process.stdout.readline() == "supervising\n"
    assert process.stdout.readline() == "Stopping: stubborn.\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0


def test_a_child_whose_parent_is_gone_already_ends_at_once() -> None:
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\nfrom core import lifeline; lifeline.end_with(1); print('alive')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
