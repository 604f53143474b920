"""Whether doors take as long for people who are known here as for others. Prints ratios; nothing passes or fails.

    ./keychest bench auth [rounds]

The portal on a fresh SQLite file, asked in this process, limits off. Every round asks each door once for somebody known and once for somebody
unknown, in turns. Said of each door: both medians in milliseconds, the ratio of the medians, and beside it the ratio that chance alone gives: of
two unknown people. A door tells nothing by its time when the first ratio is no further from 1 than the second.
"""

from __future__ import annotations

import random
import re
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from flask import Flask

from core.actions.accounts import accept_welcome, create_user
from core.actions.passwords import hash_password
from core.actions.policy import Actor
from core.store import schema
from core.store.db import Sessions, make_engine
from portal import Parts, create_app
from portal.limits import limiter

ROUNDS: Final = 40
KNOWN, UNKNOWN, ANOTHER = "mira@example.org", "mirx@example.org", "miry@example.org"
DOORS: Final = {"/sign-in": {"password": "not the password"}, "/forgot": {}, "/sign-up": {}}


def main(arguments: list[str]) -> None:
    rounds = int(arguments[0]) if arguments else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        app = _portal(Path(folder))
        spans: dict[tuple[str, str], list[float]] = {(door, email): [] for door in DOORS for email in (KNOWN, UNKNOWN, ANOTHER)}
        for turn in range(rounds + 2):
            for door, email in random.sample(sorted(spans), len(spans)):
                span = _asked(app, door, email)
                if turn > 1:  # the first ones make what is kept
                    spans[door, email].append(span)
    print(f"{rounds} rounds\n\ndoor        known    unknown  ratio  by chance")
    for door in DOORS:
        known, unknown, another = (statistics.median(spans[door, email]) * 1000 for email in (KNOWN, UNKNOWN, ANOTHER))
        print(f"{door:<10} {known:6.1f} ms {unknown:6.1f} ms  {known / unknown:5.3f}  {another / unknown:5.3f}")


def _portal(folder: Path) -> Flask:
    url = f"sqlite:///{folder / 'keychest.db'}"
    engine = make_engine(url)
    schema.upgrade(engine)
    now = datetime.now(UTC)
    with Sessions(engine).writing() as session:
        link = create_user(session, Actor(terminal=True), email=KNOWN, operator=False, now=now)
        accept_welcome(session, token=link, password_hash=hash_password("four or five words"), now=now)
    engine.dispose()
    app = create_app(
        Parts(
            database_url=url, redis_url="", secret_key="k" * 32, public_url="http://localhost", production=False, trusted_proxies=0,
            scan_allow_accounts=(), mail_is_kept=False, now=lambda: datetime.now(UTC), sign_up="open",
        )
    )  # fmt: skip
    limiter.enabled = False
    return app


def _asked(app: Flask, door: str, email: str) -> float:
    client = app.test_client()
    found = re.search(r'name="csrf-token" content="([^"]+)"', client.get(door).text)
    assert found
    data = {"csrf_token": found[1], "email": email} | DOORS[door]
    began = time.perf_counter()
    client.post(door, data=data)
    return time.perf_counter() - began
