"""sslscan and testssl.sh against our facts, on the demonstration's servers: they differ exactly where docs/conformance.md says so, and why.

sslscan looks at every server. testssl.sh takes tens of seconds for each, so at ten of different kinds; KEYCHEST_TEST_OTHER_TOOLS=all
has it look at every one, and says what docs/conformance.md has to say.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest

from core.scanner.facts import Target
from core.scanner.path import Roots
from core.scanner.scan import Outlook, scan_target
from core.scanner.verdict import judge
from demo import MARK
from demo.cast import NETWORK, World, make_world
from demo.stage import write_world
from tests.conftest import ROOT
from tests.other_tools import SSLSCAN, TESTSSL, Facts, Server, Tool, our_facts
from tests.postgres import free_port
from tests.processes import eventually

ALL: Final = os.environ.get("KEYCHEST_TEST_OTHER_TOOLS") == "all"
MISSING: Final = [tool.missing for tool in (SSLSCAN, TESTSSL) if tool.missing]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600 if ALL else 600),
    pytest.mark.xdist_group("other tools"),  # one look for all tests
    pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING)),
]
OF_EACH_KIND: Final = ("www", "intranet", "launch", "pay", "printer", "api", "old-api", "kiosk", "lab", "mx")
"""Whom testssl.sh is asked about: well, ended, not begun, wrong name, signed by itself, incomplete, no names, old RSA, Ed25519, mail."""
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


@contextmanager
def servers_of(world: World, folder: Path) -> Iterator[Sequence[tuple[str, Server]]]:
    """The demonstration's servers on a port of their own (one may run beside this), and those of its addresses where nothing listens."""
    plan = write_world(world, folder, datetime.now(UTC)) | {"port": free_port()}
    (folder / MARK).write_text(json.dumps(plan))
    with (folder / "servers.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "demo.servers", str(folder)], cwd=ROOT, stdout=log, stderr=log)
    try:
        eventually(lambda: answers(plan["servers"][-1]["address"], plan["port"]))
        root = folder / "demo" / "root.pem"
        yield [
            (part.label, Server(part.name, address, plan["port"], part.upgrade, root))
            for part in world.parts
            for address in part.addresses
            if address.startswith("127.")
        ]
    finally:
        process.terminate()
        process.wait(10)


def answers(address: str, port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex((address, port)) == 0


def ours(server: Server, world: World) -> Facts:
    target = Target(server.name, server.port, server.upgrade, server.address)
    scan = asyncio.run(scan_target(target, Outlook(), allow=[ip_network(NETWORK)], now=lambda: datetime.now(UTC)))
    [seen] = judge(scan, Roots.of([world.root.certificate]), datetime.now(UTC)).addresses
    return our_facts(seen)


@pytest.fixture(scope="module")
def tallies(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Tally]:
    for tool in (SSLSCAN, TESTSSL):
        if f"| {tool.program} {tool.version()} |" not in section():
            pytest.skip(f"docs/conformance.md was written about another {tool.program} than {tool.version()}, which has words of its own")
    folder, reports = tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("reports")
    world = make_world(datetime.now(UTC))
    with servers_of(world, folder) as servers, ThreadPoolExecutor(AT_ONCE) as beside, ThreadPoolExecutor(AT_ONCE) as turns:
        mine = list(beside.map(lambda one: ours(one[1], world), servers))
        found = {}
        for tool in (SSLSCAN, TESTSSL):
            asked = [one for one in zip(servers, mine, strict=True) if one[0][1].upgrade in tool.upgrades]
            if tool is TESTSSL and not ALL:
                asked = [next(one for one in asked if one[0][0] == label) for label in OF_EACH_KIND]
            theirs = list(turns.map(lambda one, tool=tool: tool.look(one[0][1], reports), asked))
            not_asked = [label for label, server in servers if server.upgrade not in tool.upgrades]
            found[tool.program] = tallied(tool, [(label, facts) for (label, _), facts in asked], theirs, not_asked)
    return found


def tallied(tool: Tool, asked: Sequence[tuple[str, Facts]], theirs: Sequence[Facts], not_asked: Sequence[str]) -> Tally:
    compared = [
        (tool.program, fact, own[fact], told[fact], label)
        for (label, own), told in zip(asked, theirs, strict=True)
        for fact in told
        if fact in own
    ]
    assert all(set(told) <= set(own) for (_, own), told in zip(asked, theirs, strict=True) if len(own) > 1)
    return Tally([label for label, _ in asked], len(compared), [one for one in compared if one[2] != one[3]], not_asked)


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


@pytest.mark.parametrize("tool", [SSLSCAN.program, TESTSSL.program])
def test_the_page_counts_right(tallies: Mapping[str, Tally], tool: str) -> None:
    tally = tallies[tool]
    if tool == TESTSSL.program and not ALL:
        pytest.skip("the page counts every server: KEYCHEST_TEST_OTHER_TOOLS=all")
    counts = (len(tally.servers), tally.compared, tally.compared - len(tally.differ), len(tally.differ))
    row = re.search(rf"^\| {tool} [\d.]+ \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (.+) \|$", section(), re.MULTILINE)
    assert row, f"{tool}: {counts}"
    assert tuple(map(int, row.groups()[:4])) == counts
    assert re.findall(r"`([\w-]+)`", row.group(5)) == list(tally.not_asked)
