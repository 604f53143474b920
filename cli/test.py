"""`./keychest test`: lint, types, contracts, templates and all tests, every failed step told at the end."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import click

from cli import place, templates

# What some tests run against, one of these programs, and the Debian packages that have the first (a browser without a font draws
# nothing). Without one of them its tests skip aloud.
_SYSTEM = (
    ("postgres", "postgresql"),
    ("chromium-headless-shell chromium", "chromium-headless-shell fonts-dejavu-core"),
    ("named", "bind9"),
    ("pgbackrest", "pgbackrest"),
    ("sshd", "openssh-server"),
    ("dovecot", "dovecot-imapd dovecot-pop3d dovecot-managesieved"),
    ("prosody", "prosody"),
    ("slapd", "slapd"),
    ("vsftpd", "vsftpd"),
    ("mariadbd", "mariadb-server-core"),
    ("sslscan", "sslscan"),
    ("testssl", "testssl.sh"),
)
_ELSE = {"chromium-headless-shell fonts-dejavu-core": "chromium fonts-dejavu-core"}
MEMORY = Path("/dev/shm")  # noqa: S108 - what is made in it is named by this process
_SCRATCH = "kc-"
_ROOM = 8_000_000_000
_AT_ONCE = "3"  # by which two cores are never idle; nothing is late with four either
_FAST_AT_ONCE = "2"  # fast ones wait for nothing, and each worker collects all of them
_NO_TESTS = 5  # pytest's exit code when none was chosen


@click.command("test", context_settings={"ignore_unknown_options": True})
@click.option("--fast", is_flag=True, help="Leave out the tests marked slow.")
@click.argument("pytest_words", nargs=-1, type=click.UNPROCESSED)
def test(fast: bool, pytest_words: tuple[str, ...]) -> int:
    """Check the code: lint, types, contracts, templates, all tests. What follows goes to pytest."""
    os.chdir(place.PROJECT)
    with ThreadPoolExecutor(1) as beside:  # what the system lacks concerns the tests alone: it comes while the code is checked
        installed = beside.submit(install_missing, os.environ)
        _compile(place.PROJECT)
        collecting = None if pytest_words or any(place.PROJECT.glob("tests/__pycache__/*.pyc")) else _collecting()
        failed = _failed_checks()
        if collecting:
            collecting.wait()
        missing = installed.result()
    chosen = ("-n", _FAST_AT_ONCE if fast else _AT_ONCE, "--dist", "loadgroup", *(("-m", "not slow") if fast else ()), *pytest_words)
    with _scratch() as room:
        short = (f"--basetemp={room / 'p'}",) if room and not any(word.startswith("--basetemp") for word in pytest_words) else ()
        if _run(("-m", "pytest", *short, *chosen), room) not in {0, _NO_TESTS if pytest_words else 0}:
            failed.append("tests")
    if missing:
        print(f"Not installed, so their tests were skipped: {', '.join(missing)}. As root: apt-get install {' '.join(missing)}")
        if os.environ.get("CI") == "true":
            failed.append("system packages")
    print(f"Failed: {', '.join(failed)}." if failed else "All passed.")
    return 1 if failed else 0


def _collecting() -> subprocess.Popen[bytes]:
    """A process that reads all tests and writes down their bytecode while the code is checked: each of those that run them would anew."""
    words = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider")
    return subprocess.Popen(words, cwd=place.PROJECT, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - ours


def _failed_checks() -> list[str]:
    failed = [name for name, words in checks() if not _passes(name, words)]
    began = time.monotonic()
    complaints = templates.complaints(place.PROJECT / "templates")
    _told("templates", not complaints, began)
    if complaints:
        print("\n".join(complaints))
        failed.append("templates")
    return failed


def _compile(project: Path) -> None:
    """Write down the bytecode of our own modules, even where the environment says that Python should not.

    The tests start hundreds of processes, and each would compile all that it imports anew: a quarter of what a start costs.
    """
    for room in ("core", "audit", "jobs", "portal", "cli", "demo"):
        compileall.compile_dir(project / room, quiet=2)
    for module in project.glob("*.py"):
        compileall.compile_file(module, quiet=2)


def checks() -> Sequence[tuple[str, tuple[str, ...]]]:
    """The checks before the tests: name and what Python is started with."""
    contracts = ("-c", "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())", "--no-logo")
    return (
        ("ruff check", ("-m", "ruff", "check", "--quiet", ".")),
        ("ruff format", ("-m", "ruff", "format", "--check", "--quiet", ".")),
        ("mypy", ("-m", "mypy", "--no-error-summary")),
        ("import contracts", contracts),
    )


def install_missing(environ: Mapping[str, str]) -> list[str]:
    """Packages of the system that are missing, after installing them by apt when this is root and there is apt."""
    missing = _missing()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {' '.join(missing)} for the tests.", flush=True)
        # Installed to be started by tests: systemctl does not start them for everybody meanwhile (systemd's docs/ENVIRONMENT.md).
        quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_OFFLINE": "1"}
        install = ("install", "-y", "-qq", "--no-install-recommends")
        for words in (("update", "-qq"), (*install, *" ".join(missing).split())):
            subprocess.run(("apt-get", *words), env=quiet, check=False, stdout=subprocess.DEVNULL)  # noqa: S603, S607 - the system's own
        for packages in _missing():  # one that this release does not have held up the others
            words = (*install, *_ELSE.get(packages, packages).split())
            subprocess.run(("apt-get", *words), env=quiet, check=False, stdout=subprocess.DEVNULL)  # noqa: S603, S607 - the system's own
        missing = _missing()
    return missing


def _missing() -> list[str]:
    beyond = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", *(str(path) for path in Path("/usr/lib/postgresql").glob("*/bin"))))
    return [packages for programs, packages in _SYSTEM if not any(shutil.which(program, path=beyond) for program in programs.split())]


def _passes(name: str, words: tuple[str, ...]) -> bool:
    began = time.monotonic()
    passed = _run(words) == 0
    _told(name, passed, began)
    return passed


def _told(name: str, passed: bool, began: float) -> None:
    print(f"{name}: {'passed' if passed else 'FAILED'} ({time.monotonic() - began:.1f} s)", flush=True)


def _run(words: tuple[str, ...], room: Path | None = None) -> int:
    environ = _environment() | ({"TMPDIR": str(room)} if room else {})
    return subprocess.run((sys.executable, *words), check=False, cwd=place.PROJECT, env=environ).returncode  # noqa: S603 - the words are ours


def _environment() -> dict[str, str]:
    """Ours, in which bytecode is written."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def _scratch() -> Iterator[Path | None]:
    """A folder in memory for what the tests write, gone afterwards; None where there is none so large: then it is the system's.

    Hundreds of databases are made and thrown away: on a disk that takes most of the time. What a run that was killed left is removed.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < _ROOM:
        yield None
        return
    for left in MEMORY.glob(f"{_SCRATCH}*"):
        if not Path(f"/proc/{left.name.removeprefix(_SCRATCH)}").exists():
            shutil.rmtree(left, ignore_errors=True)
    room = MEMORY / f"{_SCRATCH}{os.getpid()}"
    room.mkdir(mode=0o755)
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
