"""The demonstration's servers alone, without an installation, on a port of their own: one may run beside this.

with demonstration(folder) as (world, servers): servers[0].address …
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from demo import MARK
from demo.cast import World, make_world
from demo.servers import listening
from demo.stage import write_world
from tests.conftest import ROOT
from tests.postgres import free_port
from tests.processes import eventually


@dataclass(frozen=True, slots=True)
class Server:
    """One address of one name: `name` is for SNI, `label` is its first part; `upgrade` "" is TLS at once; `root` is a PEM file."""

    label: str
    name: str
    address: str
    port: int
    upgrade: str
    root: Path


@contextmanager
def demonstration(folder: Path) -> Iterator[tuple[World, Sequence[Server]]]:
    """Every address of this machine that a name of the cast has, also the one where nothing listens."""
    now = datetime.now(UTC)
    world = make_world(now)
    plan = write_world(world, folder, now) | {"port": free_port()}
    (folder / MARK).write_text(json.dumps(plan))
    with (folder / "servers.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "demo.servers", str(folder)], cwd=ROOT, stdout=log, stderr=log)
    try:
        eventually(lambda: listening(plan))
        yield (
            world,
            [
                Server(part.label, part.name, address, plan["port"], part.upgrade, folder / "demo" / "root.pem")
                for part in world.parts
                for address in part.addresses
                if address.startswith("127.")
            ],
        )
    finally:
        process.terminate()
        process.wait(10)
