"""What the pages name exists: files, tests, settings, verbs."""

import dataclasses
import re
from pathlib import Path

import pytest

from cli.main import VERBS
from config import Settings
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SAID = {"KEYCHEST_REASON"}
"""Variables that are no settings: what somebody says as they log in to a host (docs/access.md)."""
ROOMS = ("core", "audit", "jobs", "portal", "cli", "templates", "static", "migrations", "tests", "bench", "docs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    named = {word.partition(":")[0] for word in re.findall(r"`([\w./-]+/[\w./-]*(?::\w+(?:\.\w+)?)?)`", text)}
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    for path in named:
        if path.startswith(tuple(f"{room}/" for room in ROOMS)):
            assert (ROOT / path).exists(), f"{page.name} names {path}"
    for link in linked:
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_function_that_is_named_exists(page: Path) -> None:
    for path, name in re.findall(r"`([\w/]+\.py):([\w.]+)`", page.read_text()):
        file = next((found for found in (ROOT / path, *ROOT.glob(f"core/*/{path}")) if found.exists()), None)
        assert file is not None, f"{page.name} names {path}"
        assert re.search(rf"(def|class) {name.split('.')[-1]}\b", file.read_text()), f"{page.name} names {path}:{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_and_verb_that_is_named_exists(page: Path) -> None:
    known = {spec.metadata["env"] for spec in dataclasses.fields(Settings)}
    secret = {f"{spec.metadata['env']}_FILE" for spec in dataclasses.fields(Settings) if spec.metadata["secret"]}
    text = page.read_text()
    assert set(re.findall(r"\bKEYCHEST_[A-Z_]+\b", text)) <= known | secret | SAID
    assert set(re.findall(r"\./keychest ([a-z]+)", text)) <= set(VERBS)
