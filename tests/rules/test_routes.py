"""House rules of routes: each has a gate or stands in PUBLIC with a reason, and what changes something is a POST."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask

from core.actions.policy import Permission
from portal import Parts, create_app
from portal.gate import PUBLIC

ROOT = Path(__file__).resolve().parents[2]
VIEWS = sorted((ROOT / "portal").rglob("*.py"))


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    at = datetime(2026, 11, 23, tzinfo=UTC)
    return create_app(Parts(url, "unix:///nowhere", "k" * 32, "http://localhost", False, 0, (), False, lambda: at))


def test_every_route_has_a_gate_or_a_reason(app: Flask) -> None:
    gates = {name: getattr(view, "gate", None) for name, view in app.view_functions.items()}
    assert {name for name, gate in gates.items() if gate is None} == set(PUBLIC)
    assert all(isinstance(gate, Permission) for name, gate in gates.items() if name not in PUBLIC)
    assert all(len(reason) > 10 for reason in PUBLIC.values())


TAKEN_ALONG = {
    "/activity/download": "changes nothing that anybody sees, and the log is told who took it along",
    "/exports/lists/<name>": "changes nothing that anybody sees, and the log is told who took it along",
}
"""What who may read may post."""


def test_reading_permission_opens_reading_routes_alone(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        gate = getattr(app.view_functions[rule.endpoint], "gate", None)
        unsafe = (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
        if gate is not None and rule.rule not in TAKEN_ALONG:
            assert bool(unsafe) == (gate not in {Permission.READ, Permission.SEE_OPERATIONS, Permission.SEE_SELF}), rule.rule


@pytest.mark.slow
def test_the_database_is_committed_in_one_place() -> None:
    for path in VIEWS:
        calls = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert "commit" not in calls or path.name == "parts.py", path


def test_htmx_s_headers_are_known_in_one_place() -> None:
    for path in VIEWS:
        if path.name != "htmx.py":
            text = path.read_text()
            assert "HX-" not in text.replace('vary.add("HX-Request")', ""), path
            assert ".htmx." not in text, path
