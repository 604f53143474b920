"""What pages cost in a large account, beside an empty page of the same server. Prints ratios; nothing passes or fails.

    ./keychest bench pages [names] [sqlite|postgresql]

An account of 100,000 names (or as many as are asked for) beside a smaller one, on SQLite and on PostgreSQL; the portal as it is served in an
installation, in a process of its own on loopback; one client, signed in. Every round asks every page once, in another order, and two empty
pages before each: Domains of an account that watches nothing, which is the page with no rows, and /sign-in signed out, the lightest that there
is: it asks the database nothing. Said of each page: the median of its ratios to the empty page beside it, their span, the median of its ratios
to /sign-in, and the median of its milliseconds. Goal: at most 5 times the empty page.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import sqlalchemy as sa

from bench.account import LARGE, NOBODY, PASSWORD, seed
from core.store.db import Sessions, make_engine
from tests.postgres import folder_of_its_own, free_port, programs, running_postgres

ROOT: Final = Path(__file__).resolve().parents[1]
NAMES, ROUNDS = 100_000, 7
IDLE_S, ONCE_S = 30.0, 20.0
EMPTY: Final = "/domains"
LIGHTEST: Final = "/sign-in"


class Client:
    """One connection that stays open, and the cookie of who is signed in."""

    def __init__(self, port: int, email: str = "") -> None:
        self.connection = http.client.HTTPConnection("localhost", port, timeout=300)
        self.cookie = ""
        self.answered_at = float("-inf")
        if email:
            token = re.search(r'name="csrf-token" content="([^"]+)"', self.get(LIGHTEST)[1])
            assert token is not None
            form = urlencode({"email": email, "password": PASSWORD, "csrf_token": token[1]})
            self._ask("POST", LIGHTEST, form, {"Content-Type": "application/x-www-form-urlencoded"}, expect=303)

    def get(self, path: str) -> tuple[float, str]:
        """Seconds from the first byte asked to the last one answered, and the page."""
        return self._ask("GET", path, None, {}, expect=200)

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str], *, expect: int) -> tuple[float, str]:
        if time.monotonic() - self.answered_at > IDLE_S:  # the server closes a connection that is silent for long
            self.connection.close()
        began = time.perf_counter()
        self.connection.request(method, path, body, headers | ({"Cookie": self.cookie} if self.cookie else {}))
        answer = self.connection.getresponse()
        text = answer.read().decode()
        took = time.perf_counter() - began
        self.answered_at = time.monotonic()
        if answer.status != expect:
            raise SystemExit(f"{path} answered {answer.status} instead of {expect}")
        if given := answer.headers.get("Set-Cookie"):
            self.cookie = given.partition(";")[0]
        return took, text


@contextmanager
def portal(url: str, folder: Path) -> Iterator[int]:
    """The portal of an installation on this database, in a process of its own; ended by pid."""
    port = free_port()
    known = {name: value for name, value in os.environ.items() if not name.startswith(("KEYCHEST_", "DATABASE_", "REDIS_"))}
    said = {
        "KEYCHEST_DATA": str(folder),
        "DATABASE_URL": url,
        "KEYCHEST_ENVIRONMENT": "development",
        "REDIS_URL": f"unix://{folder / 'nowhere.sock'}",
        "KEYCHEST_PORT": str(port),
    }
    process = subprocess.Popen((sys.executable, "wsgi.py"), cwd=ROOT, env=known | said)
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
                break
            if process.poll() is not None:
                raise SystemExit("the portal ended as it started")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def pages(client: Client, sessions: Sessions) -> dict[str, str]:
    """What is asked, by what it is called."""
    with sessions.engine.connect() as connection:
        digest = connection.execute(sa.text("SELECT leaf_sha256 FROM observations WHERE id = 77")).scalar_one()
        ref = connection.execute(sa.text("SELECT ref FROM watches WHERE id = 77")).scalar_one()
        edge = connection.execute(
            sa.text(
                "SELECT name, ref FROM watches WHERE account_id = (SELECT account_id FROM watches WHERE id = 77) ORDER BY name LIMIT 1 OFFSET :middle"
            ),
            {"middle": sum_of_names(sessions) // 2},
        ).one()
    found = {
        "Patterns": "/ui",
        "Overview": "/",
        "Domains, first page": "/domains",
        "Domains, a page in the middle": f"/domains?sort=name&after={quote(f'{edge.name}~{edge.ref}')}",
        "Domains, by end": "/domains?sort=ends",
        "Domains, by name": "/domains?sort=name",
    }
    for state in ("bad", "soon", "unk", "live", "ok"):
        found[f"Domains, state {state}"] = f"/domains?state={state}"
    found["Domains, state live, by name"] = "/domains?state=live&sort=name"
    searches = {
        "common": "www", "of a tenth": "quay", "rare": "zebra", "one name": "-054321", "no match": "nosuchname", "three letters": "sta",
        "two letters": "qu", "two letters, no match": "qq", "one letter": "z", "IDN": "bücher", "IDN, short": "日本", "a whole name": edge.name, "common, none in it": "examplex",
    }  # fmt: skip
    for what, text in searches.items():
        found[f"Domains, search: {what}"] = f"/domains?q={quote(text)}"
    found["Domains, search: common, in a rare state"] = "/domains?q=www&state=live"
    found["Domains, search: common, by end"] = "/domains?q=www&sort=ends"
    next_page = re.search(r'href="(/certificates\?[^"]*after=[^"]+)"', client.get("/certificates")[1])
    assert next_page is not None
    found["Certificates, first page"] = "/certificates"
    found["Certificates, next page"] = next_page[1].replace("&amp;", "&")
    certificate_searches = {
        "name": "www-0",
        "rare name": "zebra",
        "issuer": "Harbour R3",
        "rare issuer": "Rare Lantern",
        "fingerprint": digest[:12],
        "no match": "nosuchname",
    }
    for what, text in certificate_searches.items():
        found[f"Certificates, search: {what}"] = f"/certificates?q={quote(text)}"
    return found | {"Certificate": f"/certificates/{digest}", "Endpoint": f"/endpoints/{ref}", "Bin": "/bin"}


def sum_of_names(sessions: Sessions) -> int:
    with sessions.engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT max(id) FROM endpoints")).scalar_one())


def measure(url: str, folder: Path, rounds: int) -> None:
    """Ask in rounds, and print."""
    sessions = Sessions(make_engine(url))
    with portal(url, folder) as port:
        stranger, person, nobody = Client(port), Client(port, LARGE), Client(port, NOBODY)
        asked = pages(person, sessions)
        sessions.engine.dispose()
        first = {what: person.get(path)[0] for what, path in asked.items()}  # templates are compiled, and files are in memory
        for what in [what for what, seconds in first.items() if seconds > ONCE_S]:
            print(f"  {what:40} {first[what]:7.1f} s: asked once, and no more")
            del asked[what]
        whole = list(asked.items())
        took: dict[str, list[tuple[float, float, float]]] = {what: [] for what in asked}
        order = random.Random(1)
        for _ in range(rounds):
            order.shuffle(whole)
            for what, path in whole:
                lightest, empty = stranger.get(LIGHTEST)[0], nobody.get(EMPTY)[0]
                took[what].append((person.get(path)[0], empty, lightest))
    for what, path, column in (("the empty page", EMPTY, 1), ("the lightest page", LIGHTEST, 2)):
        seconds = sorted(times[column] for all_times in took.values() for times in all_times)
        print(f"  {what} ({path}): {statistics.median(seconds) * 1e3:.1f} ms ({seconds[0] * 1e3:.1f} to {seconds[-1] * 1e3:.1f})")
    for what in asked:
        ratios = sorted(page / empty for page, empty, _ in took[what])
        lightest = statistics.median(page / lightest for page, _, lightest in took[what])
        milliseconds = statistics.median(page for page, _, _ in took[what]) * 1e3
        span = f"({ratios[0]:.1f} to {ratios[-1]:.1f})"
        print(f"  {what:40} {statistics.median(ratios):7.1f} x {span:18} {lightest:7.1f} x {milliseconds:9.1f} ms")


def on(url: str, folder: Path, names: int, rounds: int) -> None:
    """Seed and measure one database."""
    began = time.perf_counter()
    sessions = Sessions(make_engine(url))
    seed(sessions, names, datetime.now(UTC))
    with sessions.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("VACUUM ANALYZE"))  # as autovacuum leaves it
    sessions.engine.dispose()
    print(
        f"\n{url.partition(':')[0].partition('+')[0]}: {names:,} names, seeded and migrated in {time.perf_counter() - began:.0f} s; {rounds} rounds"
    )
    measure(url, folder, rounds)


def main(arguments: list[str]) -> None:
    """Measure on each engine that is asked for."""
    numbers = [int(word) for word in arguments if word.isdecimal()]
    engines = [word for word in arguments if not word.isdecimal()] or ["sqlite", "postgresql"]
    names, rounds = (numbers[0] if numbers else NAMES), (numbers[1] if len(numbers) > 1 else ROUNDS)
    if "sqlite" in engines:
        with tempfile.TemporaryDirectory() as folder:
            on(f"sqlite:///{folder}/keychest.db", Path(folder), names, rounds)
    if "postgresql" in engines:
        if programs() is None:
            raise SystemExit("PostgreSQL is not installed (apt-get install postgresql). Nothing was measured on it.")
        with folder_of_its_own() as place, running_postgres(place / "server") as server, tempfile.TemporaryDirectory() as folder:
            on(server.empty(), Path(folder), names, rounds)


if __name__ == "__main__":
    main(sys.argv[1:])
