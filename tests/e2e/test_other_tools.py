"""sslscan and testssl.sh against our facts, on the demonstration's servers: they differ exactly where docs/conformance.md says so, and why.

sslscan takes seconds for a server, testssl.sh tens of them, so they look at servers of different kinds; with EVERY_STEP=1 at every
one, and that says what docs/conformance.md has to say.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest

from core.scanner.facts import OtherKey, Target
from core.scanner.path import Roots
from core.scanner.scan import Outlook, scan_target
from core.scanner.verdict import judge
from demo.cast import NETWORK, World
from tests.conftest import ROOT
from tests.demonstration import Server, demonstration
from tests.other_tools import NONE_SHOWN, SSLSCAN, TESTSSL, Facts, Tool, other_key, our_facts
from tests.steps import EVERY, seldom

MISSING: Final = [tool.missing for tool in (SSLSCAN, TESTSSL) if tool.missing]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600 if EVERY else 600),
    pytest.mark.xdist_group("other tools"),  # one look for all tests
    pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING)),
]
_FOR_SSLSCAN: Final = "www webmail tickets printer old-api ledger lab staging meter gate mx imap pop files"
OF_EACH_KIND: Final = {SSLSCAN.program: _FOR_SSLSCAN.split(), TESTSSL.program: ["webmail"]}
"""Whom they are asked about. sslscan: a plain one, two certificates, one that has ended, signed by itself, without names, SHA-1, Ed25519,
nobody there, no TLS, one that hangs up, each protocol that upgrades; testssl.sh, half a minute of the processor for each: two certificates.
"""
AT_ONCE: Final = 2
HEADING: Final = "## Against testssl.sh and sslscan"
Difference = tuple[str, str, str, str, str]
"""Tool, fact, what KeyChest says, what the tool says, label of the server."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of asking one tool about `servers`: facts compared, those that differ, and labels that it could not be asked about."""

    servers: Sequence[str]
    compared: int
    differ: Sequence[Difference]
    not_asked: Sequence[str]


def ours(server: Server, world: World) -> Facts:
    target = Target(server.name, server.port, server.upgrade, server.address, OtherKey.ASKED)
    scan = asyncio.run(scan_target(target, Outlook(), allow=[ip_network(NETWORK)], now=lambda: datetime.now(UTC)))
    first, *others = judge(scan, Roots.of([world.root.certificate]), datetime.now(UTC)).addresses
    return {**our_facts(first), **{other_key(fact): value for other in others for fact, value in our_facts(other).items()}}


@pytest.fixture(scope="module")
def tallies(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Tally]:
    for tool in (SSLSCAN, TESTSSL):
        if f"| {tool.program} {tool.version()} |" not in section():
            pytest.skip(f"docs/conformance.md was written about another {tool.program} than {tool.version()}, which has words of its own")
    reports = tmp_path_factory.mktemp("reports")
    with demonstration(tmp_path_factory.mktemp("data")) as (world, servers), ThreadPoolExecutor(AT_ONCE) as beside:
        mine = list(beside.map(lambda server: ours(server, world), servers))
        return {tool.program: ask(tool, list(zip(servers, mine, strict=True)), reports) for tool in (SSLSCAN, TESTSSL)}


def ask(tool: Tool, servers: Sequence[tuple[Server, Facts]], reports: Path) -> Tally:
    """Each server with our own facts of it."""
    asked = [(server, own) for server, own in servers if tool.may_be_asked(server)]
    if not EVERY:
        asked = [next(one for one in asked if one[0].label == label) for label in OF_EACH_KIND[tool.program]]
    with ThreadPoolExecutor(AT_ONCE) as turns:
        theirs = list(turns.map(lambda one: tool.look(one[0], reports), asked))
    compared = [
        (tool.program, fact, own[fact], told[fact], server.label)
        for (server, own), told in zip(asked, theirs, strict=True)
        for fact in told
        if fact in own or own["certificate"] != NONE_SHOWN
    ]
    differ = [one for one in compared if one[2] != one[3]]
    not_asked = [server.label for server, _ in servers if not tool.may_be_asked(server)]
    return Tally([server.label for server, _ in asked], len(compared), differ, not_asked)


def explained() -> set[Difference]:
    """The page's table: one row for a reason, a fact and what both say, with all the servers where that is so."""
    rows = re.findall(r"^\| (.+?) \| (\w+) \| ([\w ,-]+) \| `(.*?)` \| `(.*?)` \| (.+) \|$", section(), re.MULTILINE)
    assert all(reason.endswith(".") for reason, *_ in rows)
    return {(tool, fact, own, told, label) for _, tool, fact, own, told, labels in rows for label in re.findall(r"`([\w-]+)`", labels)}


def section() -> str:
    _, found, after = (ROOT / "docs" / "conformance.md").read_text().partition(f"{HEADING}\n")
    assert found, HEADING
    return re.split(r"^## ", after, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("tool", [SSLSCAN.program, TESTSSL.program])
def test_they_differ_where_the_page_says_so_and_nowhere_else(tallies: Mapping[str, Tally], tool: str) -> None:
    tally = tallies[tool]
    written = {one for one in explained() if one[0] == tool and one[4] in tally.servers}
    assert set(tally.differ) == written


@seldom
@pytest.mark.parametrize("tool", [SSLSCAN.program, TESTSSL.program])
def test_the_page_counts_right(tallies: Mapping[str, Tally], tool: str) -> None:
    """It counts every server."""
    tally = tallies[tool]
    counts = (len(tally.servers), tally.compared, tally.compared - len(tally.differ), len(tally.differ))
    row = re.search(rf"^\| {tool} [\d.]+ \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (.+) \|$", section(), re.MULTILINE)
    assert row, f"{tool}: {counts}"
    assert tuple(map(int, row.groups()[:4])) == counts
    assert re.findall(r"`([\w-]+)`", row.group(5)) == list(tally.not_asked)
