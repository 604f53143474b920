"""Limits on doors over two portals that people reach alike, with the broker and without."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest

from cli import broker
from core.broker import answers
from tests.conftest import ROOT
from tests.processes import eventually

pytestmark = pytest.mark.slow
PORTALS = 2


class Visitor:
    """Somebody with a browser of their own, at one of the portals."""

    def __init__(self, url: str) -> None:
        self.url, self.opener = url, build_opener(HTTPCookieProcessor(CookieJar()))

    def tries(self, email: str = "mira@example.org") -> int:
        """The status of a try to sign in with a wrong password."""
        page = self.opener.open(f"{self.url}/sign-in", timeout=20).read().decode()
        found = re.search(r'name="csrf-token" content="([^"]+)"', page)
        assert found
        data = urlencode({"csrf_token": found[1], "email": email, "password": "wrong"}).encode()
        try:
            return int(self.opener.open(Request(f"{self.url}/sign-in", data, {"Origin": self.url}), timeout=20).status)
        except HTTPError as error:
            with error:
                return error.code


@pytest.fixture
def own(tmp_path: Path) -> Iterator[broker.Broker]:
    own = broker.prepare(tmp_path)
    process = subprocess.Popen(own.argv, stdout=subprocess.DEVNULL)
    eventually(lambda: answers(own.url))
    yield own
    process.kill()
    process.wait()
    broker.tidy(own)


@pytest.fixture
def portals(own: broker.Broker, migrated_sqlite: Path, tmp_path: Path) -> Iterator[list[str]]:
    """Two processes that serve one installation."""
    (tmp_path / "keychest.db").write_bytes(migrated_sqlite.read_bytes())
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(PORTALS)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEYCHEST_", "DATABASE_", "REDIS_"))}
    environment |= {"KEYCHEST_DATA": str(tmp_path), "REDIS_URL": own.url, "KEYCHEST_SECRET_KEY": "k" * 32}
    processes = [
        subprocess.Popen([sys.executable, "wsgi.py", str(each.fileno())], cwd=ROOT, env=environment, pass_fds=(each.fileno(),))
        for each in sockets
    ]
    try:
        yield [f"http://localhost:{each.getsockname()[1]}" for each in sockets]
    finally:
        for process, each in zip(processes, sockets, strict=True):
            process.kill()
            process.wait()
            each.close()


def test_they_hold_over_two_processes_and_more_strictly_while_the_broker_is_away(portals: list[str], own: broker.Broker) -> None:
    visitors = [Visitor(url) for url in portals]
    told = [visitors[turn % PORTALS].tries(f"{turn}@example.org") for turn in range(12)]
    assert told == [422] * 10 + [429] * 2, "ten a minute from one address, wherever they are tried"
    stop(own)
    assert 422 in [visitors[0].tries("away@example.org") for _ in range(3)], "people still get in"
    for visitor in visitors:
        alone = [visitor.tries(f"alone{turn}@example.org") for turn in range(10)]
        assert alone.count(422) <= 6, "five a minute in each process, and the one by which it is noticed"
        assert alone[-1] == 429


def stop(own: broker.Broker) -> None:
    import redis

    redis.Redis.from_url(own.url).shutdown(nosave=True)
    eventually(lambda: not answers(own.url))
