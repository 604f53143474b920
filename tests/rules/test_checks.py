"""House rules of checks: the registry is the folder, and the page is the rules."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from core.scanner.certificate import Certificate
from core.scanner.checks import CHECKS
from core.scanner.explain import explain, page
from core.scanner.facts import Severity
from core.scanner.subject import Check

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "core" / "scanner" / "checks"
CITATION = re.compile(r"(BR|RFC|KeyChest's own rule)\b[^:]*: \S.*\.$")


def test_the_registry_equals_the_files_on_disk() -> None:
    files = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
    registered = sorted(Path(inspect.getfile(check)) for check in CHECKS if isinstance(check, ModuleType))
    assert registered == files
    assert len(CHECKS) == len(files)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.ID)
def test_a_file_is_named_after_its_rule_and_begins_with_its_source(check: Check) -> None:
    assert isinstance(check, ModuleType)
    path = Path(inspect.getfile(check))
    assert path.stem == check.ID.lower().replace("-", "_")
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert CITATION.match(docstring.splitlines()[0])
    assert explain(check).check == check.ID
    assert isinstance(check.SEVERITY, Severity)
    assert set(check.NEEDS) <= set(Certificate.__dataclass_fields__)


def test_the_page_is_made_from_the_rules() -> None:
    written = (ROOT / "docs" / "checks.md").read_text()
    assert written == page(), "run: python -m core.scanner.explain > docs/checks.md"
    assert re.findall(r"^## (.+)$", written, re.MULTILINE) == [check.ID for check in CHECKS]
