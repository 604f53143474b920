"""The executable with stand-ins for Python, which write down what they were asked; the last test uses the real one."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # real shells and real folders

NOBODY = 65534
PROJECT = Path(__file__).resolve().parents[2]
TOOLS = ("sh", "dirname", "readlink", "cmp", "cp", "mv", "rm", "mkdir", "rmdir", "cat", "sleep", "flock")
FAKE = """#!/bin/sh
echo "${0##*/} $*" >>"$KC_LOG"
case "$*" in
    '-I -c import sys'*) exit ${KC_OLD:-0} ;;
    '-I -c import venv'*) exit ${KC_NO_VENV:-0} ;;
    --version) echo 'Python 3.12.1' ;;
    *'-m venv --clear '*) for folder; do :; done; rm -rf "$folder"; mkdir -p "$folder/bin"; cp "$KC_FAKE" "$folder/bin/python" ;;
    *'-m pip install'*)
        mkdir "$KC_LOG.busy" 2>/dev/null || echo OVERLAP >>"$KC_LOG"
        sleep "${KC_PIP_S:-0}"
        rmdir "$KC_LOG.busy"
        exit ${KC_PIP:-0} ;;
    *'-m cli stay'*) echo staying; exec sleep 60 ;;
    *'-m cli'*) echo "$* | $PWD | $PYTHONPATH" ;;
esac
"""


class Clone:
    """A clone of the project that holds no more than the executable needs, and a PATH with nothing else on it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.bin, self.log = folder / "a clone", folder / "bin", folder / "log"
        self.home.mkdir()
        self.bin.mkdir()
        shutil.copy(PROJECT / "keychest", self.home)
        (self.home / "requirements.txt").write_text("one\n")
        (self.home / "requirements-dev.txt").write_text("two\n")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.skip(f"{tool} is not installed"))
        self.fake = folder / "fake"
        self.fake.write_text(FAKE)
        self.fake.chmod(0o755)
        self.python("python3")

    def python(self, name: str, **said: str) -> None:
        said_first = "".join(f"{key}={value}\n" for key, value in said.items())
        (self.bin / name).write_text(FAKE.replace("#!/bin/sh\n", f"#!/bin/sh\n{said_first}"))
        (self.bin / name).chmod(0o755)

    def start(
        self, *words: str, by: Path | None = None, cwd: Path | None = None, user: int | None = None, **said: str
    ) -> subprocess.Popen[str]:
        environment = {"PATH": str(self.bin), "KC_LOG": str(self.log), "KC_FAKE": str(self.fake), **said}
        program = str(by or self.home / "keychest")
        return subprocess.Popen(
            [program, *words],
            env=environment,
            cwd=cwd or self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=user,
        )

    def run(self, *words: str, by: Path | None = None, cwd: Path | None = None, **said: str) -> tuple[int, str, str]:
        process = self.start(*words, by=by, cwd=cwd, user=None, **said)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def asked(self, what: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if what in line] if self.log.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_first_start_installs_and_the_second_is_quiet(clone: Clone) -> None:
    code, out, err = clone.run("up", "--port", "0")
    assert (code, out) == (0, f"-P -m cli up --port 0 | {clone.home} | {clone.home}\n")
    assert err.splitlines() == ["KeyChest: making .venv with Python 3.12.1", "KeyChest: installing requirements.txt (once; about a minute)"]
    assert "--require-hashes -r" in clone.asked("pip install")[0]
    clone.log.unlink()
    assert clone.run("up")[2] == ""
    assert clone.log.read_text().splitlines() == ["python -P -m cli up"]


def test_a_changed_list_is_installed_again(clone: Clone) -> None:
    clone.run("up")
    (clone.home / "requirements.txt").write_text("one\nmore\n")
    assert clone.run("up")[2] == "KeyChest: installing requirements.txt (once; about a minute)\n"
    assert len(clone.asked("pip install")) == 2
    assert len(clone.asked("-m venv")) == 1


def test_only_the_tests_need_the_second_list(clone: Clone) -> None:
    clone.run("up")
    assert len(clone.asked("pip install")) == 1
    assert clone.run("test", "--fast")[2] == "KeyChest: installing requirements-dev.txt (once; about a minute)\n"
    assert len(clone.asked("pip install")) == 2
    assert clone.run("test")[2] == ""


def test_help_on_the_tests_needs_no_second_list(clone: Clone) -> None:
    clone.run("up")
    assert clone.run("test", "--help")[2] == ""
    assert len(clone.asked("pip install")) == 1
    clone.run("test", "--", "--help")
    assert len(clone.asked("pip install")) == 2


@pytest.fixture
def seen_by_all() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_is_not_ours_to_write_is_told(seen_by_all: Path) -> None:
    clone = Clone(seen_by_all)
    clone.home.chmod(0o555)
    process = clone.start("up", user=NOBODY if os.geteuid() == 0 else None)
    out, err = process.communicate(timeout=30)
    clone.home.chmod(0o755)
    assert (process.returncode, out, err.count("\n")) == (69, "", 1)
    assert f"you may not write to {clone.home}" in err
    assert not (clone.home / ".venv").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_venv_is_left_alone(clone: Clone) -> None:
    clone.run("up")
    (clone.home / "requirements.txt").write_text("more\n")
    (clone.home / ".venv/bin/python").unlink()
    (clone.home / ".venv/kept").touch()
    os.chown(clone.home / ".venv", NOBODY, NOBODY)
    code, out, err = clone.run("up")
    assert (code, out, err.count("\n")) == (69, "", 1)
    assert "belongs to another user" in err
    assert (clone.home / ".venv/kept").exists()


def test_a_python_without_venv_says_what_to_install(clone: Clone) -> None:
    code, out, err = clone.run("up", KC_NO_VENV="1")
    assert (code, out) == (69, "")
    assert "python3-venv" in err


def test_no_python_that_is_new_enough(clone: Clone) -> None:
    code, _, err = clone.run("up", KC_OLD="1")
    assert code == 69
    assert "Python 3.11 or newer is needed" in err


def test_an_old_python3_is_passed_over(clone: Clone) -> None:
    clone.python("python3", KC_OLD="1")
    clone.python("python3.12")
    assert clone.run("up")[0] == 0
    assert clone.asked("-m venv") == [f"python3.12 -I -m venv --clear {clone.home}/.venv"]


def test_an_installation_that_failed_starts_nothing_and_is_tried_again(clone: Clone) -> None:
    code, out, err = clone.run("up", KC_PIP="1")
    assert (code, out) == (69, "")
    assert "nothing was started" in err
    assert clone.run("up")[0] == 0
    assert len(clone.asked("pip install")) == 2


def test_a_venv_whose_python_is_gone_is_made_anew(clone: Clone) -> None:
    clone.run("up")
    (clone.home / ".venv/bin/python").unlink()
    (clone.home / ".venv/bin/python").symlink_to("/nowhere/python3")
    assert clone.run("up")[0] == 0
    assert len(clone.asked("-m venv")) == len(clone.asked("pip install")) == 2


@pytest.mark.parametrize("tool", ["flock", "mkdir"])
def test_two_first_starts_at_once_install_once(clone: Clone, tool: str) -> None:
    if tool == "mkdir":
        (clone.bin / "flock").unlink()
    both = [clone.start("up", KC_PIP_S="0.5") for _ in range(2)]
    ended = [(process.communicate(timeout=30), process.returncode) for process in both]
    assert [code for _, code in ended] == [0, 0]
    assert len(clone.asked("-m venv")) == len(clone.asked("pip install")) == 1
    assert not clone.asked("OVERLAP")
    assert not (clone.home / ".venv-lock").exists()


def test_a_lock_whose_owner_is_gone_is_taken_over(clone: Clone) -> None:
    (clone.bin / "flock").unlink()
    gone = subprocess.Popen(["true"])
    gone.wait()
    (clone.home / ".venv-lock").mkdir()
    (clone.home / ".venv-lock/pid").write_text(f"{gone.pid}\n")
    assert clone.run("up")[0] == 0


def test_what_runs_holds_nobody_up(clone: Clone) -> None:
    staying = clone.start("stay")
    assert staying.stdout
    assert staying.stdout.readline() == "staying\n"
    (clone.home / "requirements.txt").write_text("more\n")
    try:
        code, _, err = clone.run("up")
        assert (code, err) == (0, "KeyChest: installing requirements.txt (once; about a minute)\n")
    finally:
        staying.kill()
        staying.communicate()


def test_through_symlinks_and_from_elsewhere(clone: Clone, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "first").symlink_to("../a clone/keychest")
    (elsewhere / "second").symlink_to(elsewhere / "first")
    for link in ("first", "second"):
        code, out, _ = clone.run("scan", "a b", "*", by=elsewhere / link, cwd=elsewhere)
        assert (code, out) == (0, f"-P -m cli scan a b * | {elsewhere} | {clone.home}\n")


@pytest.mark.slow
def test_a_real_first_start_imports_from_the_project_alone(clone: Clone, tmp_path: Path) -> None:
    (clone.bin / "python3").unlink()
    (clone.bin / "python3").symlink_to(sys.executable)
    (clone.home / "requirements.txt").write_text("# nothing to install\n")
    (clone.home / "cli").mkdir()
    (clone.home / "cli/__main__.py").write_text("import os, sys, redis\nprint(redis.HERE, os.getcwd(), sys.argv[1:], sys.prefix)\n")
    (clone.home / "redis.py").write_text("HERE = 'the project'\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "redis.py").write_text("HERE = 'the wrong place'\n")
    (elsewhere / "pip.py").write_text("raise SystemExit('the wrong pip')\n")
    for _ in range(2):
        code, out, err = clone.run("hello", cwd=elsewhere)
        assert (code, out) == (0, f"the project {elsewhere} ['hello'] {clone.home}/.venv\n"), err
    assert err == ""
    assert os.access(clone.home / ".venv/bin/python", os.X_OK)
