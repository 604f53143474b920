"""docs/settings.md is what config.py says, and says all of it."""

import dataclasses
import re
from pathlib import Path

from cli.settings import markdown
from config import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs/settings.md"


def test_the_page_is_generated_from_config() -> None:
    assert PAGE.read_text() == markdown(), "run ./keychest settings --markdown > docs/settings.md"


def test_every_setting_has_a_heading_and_a_sentence() -> None:
    blocks = dict(re.findall(r"^## (\S+)\n\n(.+)$", PAGE.read_text(), re.MULTILINE))
    assert set(blocks) == {spec.metadata["env"] for spec in dataclasses.fields(Settings)}
    assert all(sentence.rstrip().endswith(".") for sentence in blocks.values())


def test_every_secret_may_come_from_a_file() -> None:
    told = {name for name, says in re.findall(r"^## (\S+)\n\n(.+)$", PAGE.read_text(), re.MULTILINE) if says.endswith(" Secret.")}
    assert told == {spec.metadata["env"] for spec in dataclasses.fields(Settings) if spec.metadata["secret"]}
