"""Every action asks policy first and appends its event last, or says why not; every event is a promise in docs/events.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.kinds import KINDS, OWN
from core.actions import BY_TOKEN, QUIET
from tests.conftest import ROOT

FOLDER = ROOT / "core" / "actions"
POLICE = {"require", "require_installation", "require_person", "require_terminal", "require_worker"}


def actions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions that are handed a session."""
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if (
                isinstance(node, ast.FunctionDef)
                and not node.name.startswith("_")
                and node.args.args
                and node.args.args[0].arg == "session"
            ):
                yield path.name, node


def calls(node: ast.FunctionDef) -> list[str]:
    return [call.func.id for call in ast.walk(node) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]


def is_question(node: ast.FunctionDef) -> bool:
    """It reads, and changes nothing: it calls no writer of ours, sets no attribute, and executes selects only."""
    sets = any(
        isinstance(target, ast.Attribute)
        for each in ast.walk(node)
        if isinstance(each, ast.Assign | ast.AugAssign)
        for target in _targets(each)
    )
    source = ast.unparse(node)
    return not sets and not re.search(r"session\.(add|add_all|flush|delete)|sa\.(update|insert|delete)|insert_missing|upsert", source)


def _targets(node: ast.Assign | ast.AugAssign) -> list[ast.expr]:
    found = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [each for target in found for each in (target.elts if isinstance(target, ast.Tuple) else [target])]


@pytest.mark.slow
def test_every_action_asks_policy_and_appends_its_event_or_says_why_not() -> None:
    found = {node.name for _, node in actions()}
    assert {"add_domains", "sign_in", "record_scans"} <= found
    for file, node in actions():
        if node.name in QUIET or is_question(node):
            continue
        assert "append" in calls(node), f"{file}: {node.name} appends no event and does not stand in QUIET"
        assert node.name in BY_TOKEN or POLICE & set(calls(node)), f"{file}: {node.name} asks no policy"
        assert not any(name in {"commit", "rollback", "begin"} for name in _methods(node)), f"{file}: {node.name} ends a transaction"


def _methods(node: ast.FunctionDef) -> list[str]:
    return [call.func.attr for call in ast.walk(node) if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)]


@pytest.mark.slow
def test_what_is_quiet_or_ungated_exists_and_is_not_listed_in_vain() -> None:
    by_name = {node.name: node for _, node in actions()}
    helpers = {node.name for path in FOLDER.glob("*.py") for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert set(QUIET) | set(BY_TOKEN) <= helpers
    for name in QUIET:
        if name in by_name:
            assert "append" not in calls(by_name[name]), f"{name} appends an event and stands in QUIET"
    for name in BY_TOKEN:
        assert not POLICE & set(calls(by_name[name])), f"{name} asks policy and stands in BY_TOKEN"


def test_every_event_is_a_promise_in_words() -> None:
    told: set[str] = set()
    for folder in ("core", "portal", "jobs", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            told |= set(re.findall(r'Event\(\s*"([^"]+)"', path.read_text()))
    assert told
    assert told | OWN == headings(ROOT / "docs" / "events.md") == set(KINDS)
    assert not told & OWN


def headings(path: Path) -> set[str]:
    return set(re.findall(r"^## `([^`]+)`$", path.read_text(), flags=re.MULTILINE))


def test_the_log_is_appended_to_by_actions_alone() -> None:
    for folder in ("portal", "jobs", "cli", "core"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.parent != FOLDER:
                assert "audit.log" not in path.read_text(), path
