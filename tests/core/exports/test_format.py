"""The form that is promised: its schema says what the reader takes, and bundles that were once written can be read for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from core.exports.check import check
from core.exports.form import ACCOUNT, CERTIFICATES, DOMAINS, INCIDENTS, MANIFEST, OBSERVATIONS, WATCHES
from core.exports.read import open_bundle
from core.exports.shapes import SHAPES
from tests.conftest import ROOT
from tests.exporting import KEY, members, values

STORED: Final = Path(__file__).parent / "bundles"
"""Bundles as the writer of their form made them. They are never made anew: what they are for is that they stay."""
_SCHEMA: Final[dict[str, Any]] = json.loads((ROOT / "docs" / "export-format.schema.json").read_text("utf-8"))
_ODD: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 443, 65_536, "", "a", "A", "é", "-a", "a" * 200_000, [], [None], ["a"], ["a" * 65], {}, {"a": 1}, "0" * 64, "0" * 63,
    "AAAA", "AAA", "A===", "2026-11-29T06:05:57.000000Z", "2026-11-29T06:05:57Z", "keychest-export",
)  # fmt: skip


def validator(member: str) -> jsonschema.Draft202012Validator:
    """Of one line of a member."""
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{member}", "$defs": _SCHEMA["$defs"]})


@pytest.mark.parametrize("member", sorted(SHAPES))
def test_schema_and_reader_say_the_same(member: str) -> None:
    """Of every line that is stored; of lines with a field more or less; and of lines in which a field is something else."""
    schema, shape = validator(member), SHAPES[member]
    lines = values(members(STORED / "v1.zip")[member])
    assert lines
    for line in lines:
        assert shape(line)
        assert schema.is_valid(line)
    first = lines[0]
    for wrong in ({**first, "owner": 1}, *({key: first[key] for key in first if key != left} for left in first)):
        assert not shape(wrong)
        assert not schema.is_valid(wrong)
    for key in first:
        if member == MANIFEST and key in {"format", "version"}:
            continue  # the reader says of these what is wrong, before it asks for the shape
        for odd in _ODD:
            changed = {**first, key: odd}
            assert shape(changed) == schema.is_valid(changed), (key, odd)


@pytest.mark.parametrize("path", sorted(STORED.glob("v*.zip")), ids=lambda path: path.stem)
def test_a_bundle_of_every_form_is_genuine_and_read_for_ever(path: Path) -> None:
    """Each line of it, with its signature."""
    assert check(path, KEY.vkey).verdict == "genuine"
    with open_bundle(path, own_vkeys=(KEY.vkey,)) as bundle:
        assert (f"v{bundle.version}", bundle.trust, bundle.told) == (path.stem.partition("-")[0], "own", ())
        assert bundle.value(ACCOUNT)["name"] == bundle.account_name
        assert {each["name"] for each in bundle.lines(DOMAINS)} >= {"www.harbour.example", "mail.harbour.example"}
        assert all(list(bundle.lines(each)) for each in (WATCHES, OBSERVATIONS, INCIDENTS, CERTIFICATES))
        assert len(list(bundle.certificates())) == bundle.count(CERTIFICATES)
