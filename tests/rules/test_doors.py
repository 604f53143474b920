"""Doors are enforced, not requested: who opens sockets, who asks the time, who sends mail."""

import ast
import functools
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = ("core", "audit", "jobs", "portal", "cli")
NETWORK = {"socket", "smtplib", "ssl", "http", "urllib.request", "aiodns", "pycares", "dns", "ftplib", "imaplib", "poplib", "telnetlib"}
OPENERS = {
    "audit/reading.py": "the verifier reads a log from a web address; nothing that serves people imports it",
    "core/access/said.py": "a unix socket of the recorder's on a host: reasons are said over it",
    "core/access/delivery.py": "the recorder on a host brings its reports to the portal; the portal imports none of it",
    "wsgi.py": "takes over the portal's listening socket",
    "cli/up.py": "makes the portal's listening socket",
}
"""Files outside core/net that may know a socket, each with its reason. Verifier and recorder dial, and are programs of their own."""
RESULTS = {
    "core/scanner/certificate.py": "hostile bytes raise anything: the field is named as unreadable and the bytes are kept",
    "core/scanner/path.py": "the verifier refuses odd certificates with many types: its words become the reason",
}
"""Files in which any exception becomes a result, each with the reason."""
CLOCKS = ("jobs", "portal", "cli", "wsgi.py", "core/access/recorder.py")


@functools.cache
def modules() -> Sequence[tuple[str, ast.Module]]:
    paths = (ROOT / "wsgi.py", ROOT / "config.py", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))))
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in paths]


def imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.slow
def test_only_the_network_room_knows_sockets() -> None:
    users = {file for file, tree in modules() if any(name in NETWORK or name.split(".")[0] in NETWORK for name in imported(tree))}
    outside = {file for file in users if not file.startswith("core/net/")}
    assert outside == set(OPENERS), "a socket is opened outside core/net, or a reason stands here in vain"
    assert "core/net/dial.py" in users


@pytest.mark.slow
def test_asyncio_opens_no_connection_by_itself() -> None:
    openers = {"open_connection", "create_connection", "create_datagram_endpoint", "open_unix_connection"}
    for file, tree in modules():
        called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not (called & openers), file


@pytest.mark.slow
def test_time_is_an_argument_everywhere_but_in_the_roots() -> None:
    for file, tree in modules():
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        told = {call for call in calls if call in {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time"}}
        assert not told or file.startswith(CLOCKS), f"{file} asks the time itself: {told}"


@pytest.mark.slow
def test_no_exception_is_swallowed() -> None:
    for file, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}):
                text = "\n".join(ast.unparse(line) for line in node.body)
                assert "raise" in text or "exception(" in text or file in RESULTS, f"{file}:{node.lineno} swallows what it catches"


def test_files_stay_small() -> None:
    sizes = sorted(len(Path(ROOT / file).read_text().splitlines()) for file, _ in modules())
    assert sizes[-1] <= 300
    assert sizes[len(sizes) // 2] <= 110
    css = sum(len(path.read_text().splitlines()) for path in (ROOT / "static").rglob("*.css"))
    assert css <= 900
