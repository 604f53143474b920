"""The test verb with stand-in steps: the real ones are what runs this. Several processes start where they are what is asked about."""

import os
import tempfile
from pathlib import Path

import pytest

from cli import main, place, test

pytestmark = pytest.mark.slow  # each starts pytest
ALONE = ("-n", "0")
INSTALL = test.install_missing


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(place, "PROJECT", tmp_path)
    monkeypatch.setattr(test, "install_missing", lambda _environ: [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    (tmp_path / "test_one.py").write_text("import pytest\ndef test_fine(): pass\n@pytest.mark.slow\ndef test_slow(): assert 0\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    steps(monkeypatch, 0)
    return tmp_path


def steps(monkeypatch: pytest.MonkeyPatch, *codes: int) -> None:
    found = [(f"step {number}", ("-c", f"raise SystemExit({code})")) for number, code in enumerate(codes)]
    monkeypatch.setattr(test, "checks", lambda: found)


def test_fast_leaves_the_slow_ones_out(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert main.main(["test", "--fast"]) == 0
    shown = capfd.readouterr().out
    assert "1 passed" in shown
    assert shown.endswith("All passed.\n")
    assert list(project.glob("__pycache__/test_one*.pyc")), "what is compiled once is there for all processes"


def test_every_failed_step_is_told_at_the_end(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    steps(monkeypatch, 1, 0, 3)
    (project / "templates").mkdir()
    (project / "templates/page.html").write_text("<script>go()</script>")
    assert main.main(["test", *ALONE]) == 1
    shown = capfd.readouterr().out
    assert "page.html:1: an inline script" in shown
    assert shown.endswith("Failed: step 0, step 2, templates, tests.\n")


def test_words_go_to_pytest(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["test", "-k", "fine", "--verbosity=1", *ALONE]) == 0
    assert "1 passed" in capfd.readouterr().out


def test_a_missing_package_fails_the_run_only_in_ci(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test, "install_missing", lambda _environ: ["bind9"])
    assert main.main(["test", "--fast", *ALONE]) == 0
    assert "As root: apt-get install bind9" in capfd.readouterr().out
    monkeypatch.setenv("CI", "true")
    assert main.main(["test", "--fast", *ALONE]) == 1
    assert capfd.readouterr().out.endswith("Failed: system packages.\n")


def test_a_package_that_this_release_lacks_holds_up_no_other_and_another_stands_in(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """An apt-get that stands in, since a test installs nothing: as the real one, it does none of a list in which it does not know one."""
    (project / "bin").mkdir()
    apt = project / "bin" / "apt-get"
    apt.write_text(f"""#!/bin/sh
case "$*" in *new-browser*) exit 100 ;; esac
case "$*" in install*old-browser*) : >{project}/bin/old; chmod 755 {project}/bin/old ;; esac
case "$*" in install*database*) : >{project}/bin/db; chmod 755 {project}/bin/db ;; esac
""")
    apt.chmod(0o755)
    monkeypatch.setattr(test, "_SYSTEM", (("new old", "new-browser fonts"), ("db", "database"), ("none", "no-such")))
    monkeypatch.setattr(test, "_ELSE", {"new-browser fonts": "old-browser fonts"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", f"{project}/bin:/bin:/usr/bin")
    assert INSTALL(os.environ) == ["no-such"]


def test_what_tests_write_lies_in_memory_and_is_gone_afterwards(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    memory = project / "memory"
    (memory / "kc-999999999").mkdir(parents=True)  # of a run that was killed: no process has so high a number
    monkeypatch.setattr(test, "MEMORY", memory)
    monkeypatch.setattr(test, "_ROOM", 0)
    monkeypatch.delenv("TMPDIR", raising=False)
    seen = "import tempfile\ndef test_where(tmp_path):\n    (tmp_path / 'x').touch()\n    print('\\nin', tempfile.gettempdir(), tmp_path)\n"
    (project / "test_one.py").write_text(seen)
    assert main.main(["test", "-s", *ALONE]) == 0
    where = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("in ")).split()
    assert where[1] == str(memory / f"kc-{os.getpid()}")
    assert where[2].startswith(where[1])
    assert list(memory.iterdir()) == []


def test_without_room_in_memory_they_write_where_the_system_says(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.setattr(test, "MEMORY", project / "none")
    (project / "test_one.py").write_text("import tempfile\ndef test_where():\n    print('in', tempfile.gettempdir())\n")
    assert main.main(["test", "-s", *ALONE]) == 0
    assert f"in {tempfile.gettempdir()}\n" in capfd.readouterr().out
