"""The runbook's steps are commands, and each of them is run here as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.backups.keys import RECOVERY_KEY, read_identities
from core.seal import recipient_of
from core.store.db import Sessions, make_engine
from tests.conftest import ROOT
from tests.make import make_actor
from tests.stage import installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("runbook")]
SECTIONS = ("Restore to a new place", "The target is gone", "The key is lost")


def steps(section: str) -> list[str]:
    """The commands under a heading of the runbook, block by block."""
    page = (ROOT / "docs" / "runbook.md").read_text()
    found = re.search(rf"^## {section}\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    assert found is not None, section
    return re.findall(r"^```sh\n(.*?)^```", found[1], re.MULTILINE | re.DOTALL)


class Hands:
    """An operator's shell: what a line exports is there in the next."""

    def __init__(self, tmp_path: Path) -> None:
        self.data, self.new, self.key = tmp_path / "data", tmp_path / "new", tmp_path / "recovery.key"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEYCHEST_", "DATABASE_URL", "REDIS_URL"))}
        targets = f"{(tmp_path / 'a').as_uri()},{(tmp_path / 'b').as_uri()}"
        self.variables = {"KEYCHEST_DATA": str(self.data), "KEYCHEST_BACKUP_TARGETS": targets, "NEW": str(self.new), "KEY": str(self.key)}
        self.environment = clean | self.variables
        (tmp_path / "bin").mkdir(exist_ok=True)
        self.shim = tmp_path / "bin" / "keychest"  # ./keychest without the installation of requirements, which is made already
        self.shim.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m cli "$@"\n')
        self.shim.chmod(0o755)

    def run(self, commands: str) -> str:
        """Run a block as it stands; `up` runs until it is well, and is stopped."""
        said = ""
        for block in re.split(r"^(\./keychest up .*\n)", commands, flags=re.MULTILINE):
            if block.startswith("./keychest up"):
                settings = {
                    name: value for name, value in self.environment.items() if name.startswith("KEYCHEST_") and name != "KEYCHEST_DATA"
                }
                with installation(self.new, settings) as running:
                    running.await_health()
            elif block.strip():
                words = block.replace("./keychest", str(self.shim))
                done = subprocess.run(
                    ("/bin/sh", "-euc", f"{words}\nexport -p"), env=self.environment, cwd=self.shim.parent, text=True,
                    capture_output=True, check=False,
                )  # fmt: skip
                assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
                said += done.stdout
                exported = re.findall(r"^export (KEYCHEST_\w+)='?([^'\n]*)'?$", done.stdout, re.MULTILINE)
                self.environment |= dict(exported)
        return said


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an installation with a backup lies, which each test finds as it was made: what is known of targets are their paths."""
    place = tmp_path_factory.mktemp("runbook") / "place"
    place.mkdir()
    hands = Hands(place)
    hands.run("./keychest db upgrade")
    engine = make_engine(f"sqlite:///{hands.data / 'keychest.db'}")
    with Sessions(engine).writing() as session:
        make_actor(session, "mira@example.org", now=datetime.now(UTC))
    engine.dispose()
    hands.run("./keychest backup now")
    shutil.copy(hands.data / RECOVERY_KEY, hands.key)
    shutil.copytree(place, place.with_name("as made"))
    return place


@pytest.fixture
def hands(place: Path) -> Hands:
    shutil.rmtree(place)
    shutil.copytree(place.with_name("as made"), place)
    return Hands(place)


def test_the_runbook_has_these_sections() -> None:
    assert all(steps(section) for section in SECTIONS)


def test_restore_to_a_new_place(hands: Hands) -> None:
    (offline,) = read_identities(hands.key)
    hands.environment["KEYCHEST_BACKUP_RECOVERY_KEY"] = recipient_of(offline)  # the new place may back itself up before we tell people
    shutil.rmtree(hands.data)  # the accident
    said = "".join(hands.run(block) for block in steps("Restore to a new place"))
    assert "tables are as they were" in said
    assert "mira@example.org" in said
    engine = make_engine(f"sqlite:///{hands.new / 'keychest.db'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT email FROM users").scalars().all() == ["mira@example.org"]
    engine.dispose()


def test_the_target_is_gone(hands: Hands, place: Path) -> None:
    shutil.rmtree(place / "a")
    hands.environment["KEYCHEST_BACKUP_TARGETS"] = f"{(place / 'c').as_uri()},{(place / 'b').as_uri()}"
    said = "".join(hands.run(block) for block in steps("The target is gone"))
    assert said.count("100.000 %") >= 4
    assert list((place / "c" / "backups").glob("*.age"))


def test_the_key_is_lost(hands: Hands) -> None:
    lost = hands.key.read_text()
    hands.key.unlink()
    said = "".join(hands.run(block) for block in steps("The key is lost"))
    assert "100.000 %" in said
    assert hands.key.read_text() != lost
    assert "AGE-SECRET-KEY-1" in hands.key.read_text()
