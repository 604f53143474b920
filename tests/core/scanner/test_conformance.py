"""Other people's suites, whole, against path and checks together: they differ exactly where docs/conformance.md says so, and why."""

from __future__ import annotations

import base64
import gzip
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from core.scanner.facts import Observation, Scan, Status, Target, Tls
from core.scanner.identity import name_matches
from core.scanner.path import Roots
from core.scanner.roots import _certificates
from core.scanner.verdict import judge
from tests.conftest import ROOT
from tests.core.scanner.test_identity import OTHER_QUESTIONS, long_label, rows
from tests.vectors import VECTORS, needs

LIMBO = VECTORS / "x509-limbo" / "limbo-8a2e6f4-regenerated.json.gz"
STRICTER, LAXER = "### Where KeyChest refuses what the suite accepts", "### Where KeyChest has no error and the suite refuses"
NAMES = "## Host names"


def section(heading: str) -> str:
    """What stands under a heading of the page, down to the next of any depth."""
    _, found, after = (ROOT / "docs" / "conformance.md").read_text().partition(f"{heading}\n")
    assert found, heading
    return re.split(r"^#", after, maxsplit=1, flags=re.MULTILINE)[0]


def number(pattern: str, text: str) -> tuple[int, ...]:
    found = re.search(pattern, " ".join(text.split()))
    assert found, pattern
    return tuple(map(int, found.groups()))


@pytest.mark.slow
@needs("x509-limbo")
def test_limbo_differs_where_the_page_says_so_and_nowhere_else() -> None:
    every = json.loads(gzip.decompress(LIMBO.read_bytes()))["testcases"]
    asked = [case for case in every if case["validation_kind"] == "SERVER"]
    wants = {case["id"]: case["expected_result"] == "SUCCESS" for case in asked}
    says = {case["id"]: is_good(case) for case in asked}
    stricter = {case for case in wants if wants[case] and not says[case]}
    laxer = {case for case in wants if says[case] and not wants[case]}
    assert (stricter, laxer) == (cases_in(STRICTER), cases_in(LAXER))
    assert number(r"Its (\d+) cases about clients", section("## x509-limbo")) == (len(every) - len(asked),)
    differ = len(stricter | laxer)
    counts = number(r"Of (\d+) cases about servers (\d+) agree and (\d+) differ", section("## x509-limbo"))
    assert counts == (len(asked), len(asked) - differ, differ)
    assert number(r"^ ?(\d+) cases\.", section(STRICTER)) + number(r"^ ?(\d+) cases\.", section(LAXER)) == (len(stricter), len(laxer))


def cases_in(heading: str) -> set[str]:
    found = re.findall(r"`([a-z0-9]+::[\w:-]+)`", section(heading))
    assert len(found) == len(set(found))
    return set(found)


def is_good(case: dict[str, Any]) -> bool:
    """Whether an owner would be told that all is well. A case without a name is asked for one that it does not have."""
    anchors = _certificates("\n".join(case["trusted_certs"]).encode())
    if not anchors:
        return False  # a root that cannot be read is not trusted
    now = datetime.fromisoformat(case["validation_time"] or "2026-07-15T00:00:00+00:00").astimezone(UTC)
    chain = tuple(map(der_of, (case["peer_certificate"], *case["untrusted_intermediates"])))
    seen = Observation("192.0.2.1", "local", tls=Tls("", "", "", ""), chain=chain)
    name = (case["expected_peer_name"] or {"value": "limbo.example"})["value"]
    (address,) = judge(Scan(Target(name), now, (), (seen,)), Roots.of(anchors), now).addresses
    errors = [finding for finding in address.findings if finding.status in (Status.ERROR, Status.UNKNOWN)]
    assert address.verified or errors, f"{case['id']}: what is not verified must have a finding that says why"
    return address.verified and not errors


def der_of(pem: str) -> bytes:
    return base64.b64decode("".join(pem.strip().splitlines()[1:-1]))


@needs("names")
def test_the_tables_of_names_differ_where_the_page_says_so_and_nowhere_else() -> None:
    every = rows()
    asked = [row for row in every if not any(word in row["source"] for word in OTHER_QUESTIONS) and not long_label(row["host"])]
    differ, matched_in_vain = set(), []
    for row in asked:
        matches = name_matches([name for name in row["pattern"].split("|") if not name.startswith("CN:")], row["host"])
        if matches != (row["expect"] == "match"):
            differ.add((row["source"], row["pattern"], row["host"]))
            matched_in_vain += [row] if matches else []
    told = section(NAMES)
    written = re.findall(r"\| `([^`]*)` \| `([^`]*)` \| `([^`]*)` \|$", told, re.MULTILINE)
    assert {(source, presented.replace("\\|", "|"), wanted) for source, presented, wanted in written} == differ
    assert len(written) == len(differ)
    assert matched_in_vain == []
    assert number(r"Of (\d+) rows (\d+) ask another question", told) == (len(every), len(every) - len(asked))
    assert number(r"Of the other (\d+), (\d+) agree and (\d+) differ", told) == (len(asked), len(asked) - len(differ), len(differ))


@pytest.mark.parametrize("heading", [STRICTER, LAXER, NAMES])
def test_every_difference_has_a_reason(heading: str) -> None:
    reasons = re.findall(r"^\| (.+?) \| `", section(heading), re.MULTILINE)
    assert reasons
    assert all(reason.endswith((".", ").")) for reason in reasons)
