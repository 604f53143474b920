"""Each kind of target with what a test needs to do to it: a wire in between, wrong credentials, ones that may not delete."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import pytest

from core.targets import Entry, Stored, Target, TargetError, open_target
from tests.conftest import ROOT
from tests.core.targets.wire import Wire, wire
from tests.moto_s3 import REGION, Moto, running_moto
from tests.sshd import Sshd, program, running_sshd

KINDS = (
    "directory",
    pytest.param("sftp", marks=[pytest.mark.slow, pytest.mark.xdist_group("targets")]),
    pytest.param("s3", marks=[pytest.mark.slow, pytest.mark.xdist_group("targets")]),
)
DIALLED = KINDS[1:]

# A folder in which this process may add and nothing else: Python asks before each removal, renaming or shortening (audit events).
_ADDS_ONLY = """
import json, sys
from core.targets import open_target
refused = set(sys.argv[4].split(","))
def ask(event, _arguments):
    if event in refused:
        raise PermissionError(1, "Operation not permitted")
sys.addaudithook(ask)
with open(sys.argv[3], "rb") as content:
    stored = open_target(sys.argv[1]).put(sys.argv[2], content)
print(json.dumps([stored.name, stored.bytes, stored.sha256]))
"""


@dataclass(frozen=True, slots=True)
class AddingOnly:
    """A folder as a program sees it that may not do what raises these audit events of Python's."""

    target: Target
    folder: Path
    refused: tuple[str, ...] = ("os.remove", "os.rename", "os.rmdir", "os.truncate")

    @property
    def shown(self) -> str:
        return self.target.shown

    def put(self, name: str, content: BinaryIO) -> Stored:
        file = self.folder / "content"
        file.write_bytes(content.read())
        told, errors = self.putting(name, file).communicate(timeout=60)
        assert not errors, errors.decode()
        return Stored(*json.loads(told))

    def putting(self, name: str, file: Path) -> subprocess.Popen[bytes]:
        """The program, begun."""
        command = [sys.executable, "-W", "error", "-c", _ADDS_ONLY, self.target.shown, name, str(file), ",".join(self.refused)]
        return subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def get(self, name: str, into: BinaryIO) -> Stored:
        return self.target.get(name, into)

    def names(self, under: str = "") -> list[Entry]:
        return self.target.names(under)

    def remove(self, name: str) -> None:
        self.target.remove(name)

    def sweep(self, before: datetime) -> int:
        return self.target.sweep(before)


@dataclass(frozen=True, slots=True)
class Place:
    """An empty target; `port` of its server, and the same target `through` a wire; others that are wrong or may less."""

    kind: str
    target: Target
    adds_only: Target
    port: int = 0
    through: Callable[[int], Target] = field(default=lambda _port: pytest.fail("nothing is dialled"))
    wrong: tuple[Target, ...] = ()
    secrets: tuple[str, ...] = ()


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real OpenSSH server, one for each worker of the test run."""
    if program() is None:
        pytest.skip("sshd is not installed (apt-get install openssh-server)")
    with running_sshd(tmp_path_factory.mktemp("sshd") / "server") as server:
        yield server


@pytest.fixture(scope="session")
def adding_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One that removes nothing."""
    if program() is None:
        pytest.skip("sshd is not installed (apt-get install openssh-server)")
    with running_sshd(tmp_path_factory.mktemp("sshd") / "adding", "-P remove,rmdir") as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A real S3 server, one for each worker of the test run."""
    with running_moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Logins:
    """Keys and secrets of three users of an S3 server."""

    all: tuple[str, str]
    adding: tuple[str, str]
    reading: tuple[str, str]


@pytest.fixture(scope="session")
def logins(moto: Moto) -> Logins:
    adding = moto.login(("s3:PutObject", "s3:GetObject", "s3:ListBucket"))
    return Logins(moto.login(), adding, moto.login(("s3:GetObject", "s3:ListBucket")))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty target of the kind that the test is parametrised by."""
    if request.param == "directory":
        target = open_target((tmp_path / "target").as_uri())
        return Place("directory", target, AddingOnly(target, tmp_path))
    if request.param == "sftp":
        return _sftp(request.getfixturevalue("sshd"), request.getfixturevalue("adding_sshd"), tmp_path / "target")
    return _s3(request.getfixturevalue("moto"), request.getfixturevalue("logins"))


def _sftp(server: Sshd, adding: Sshd, folder: Path) -> Place:
    return Place(
        "sftp",
        open_target(server.url(folder)),
        open_target(adding.url(folder)),
        server.port,
        lambda port: open_target(server.url(folder, port=port)),
        (open_target(server.url(folder, key="other_key")), open_target(server.url(folder, known_hosts="other_known_hosts"))),
        ((server.folder / "key").read_text(),),
    )


def _s3(server: Moto, logins: Logins) -> Place:
    bucket, (key, secret) = server.bucket(), logins.all

    def at(login: tuple[str, str], port: int = server.port) -> Target:
        words = ":".join(quote(word, safe="") for word in login)
        return open_target(f"s3://{words}@{bucket}/prod?region={REGION}&endpoint=http://127.0.0.1:{port}")

    mistyped = f"{secret[:-1]}{'a' if secret[-1] != 'a' else 'b'}"
    return Place(
        "s3",
        at((key, secret)),
        at(logins.adding),
        server.port,
        lambda port: at((key, secret), port),
        (at((key, mistyped)), at(("AKIANOBODYKNOWSTHIS", secret)), at(logins.reading)),
        (secret, mistyped, logins.adding[1], logins.reading[1]),
    )


@pytest.fixture
def between(place: Place) -> Iterator[Wire]:
    """A wire to the place's server, which does nothing yet."""
    with wire(place.port) as made:
        yield made


def through(place: Place, between: Wire) -> Target:
    return place.through(between.port)


def measure(name: str, content: bytes) -> Stored:
    return Stored(name, len(content), hashlib.sha256(content).hexdigest())


def failed(target: Target, name: str, content: bytes) -> TargetError:
    with pytest.raises(TargetError) as error:
        target.put(name, io.BytesIO(content))
    return error.value
