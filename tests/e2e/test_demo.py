"""`./keychest demo` as a newcomer meets it, and a spot check through the whole stack, since here is what it may dial."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from core.store.endpoints import Schedule
from core.store.incidents import Incident, Notice
from core.store.observations import Finding
from core.store.watches import Watch
from demo import MARK
from demo.cast import EMAIL, ZONE, make_world
from demo.stage import PORT
from tests.conftest import ROOT
from tests.processes import eventually
from tests.stage import Installation, installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("demo")]
Look = Callable[[Page, str], None]
SOON = 30_000
TYPED = b"what somebody typed into the one from before"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One where one from before lay, whole as far as its mark says."""
    data = tmp_path_factory.mktemp("demo") / "data"
    data.mkdir(mode=0o700)
    (data / MARK).write_text(json.dumps({"made_at": "2026-01-01T00:00:00+00:00", "whole": True}))
    (data / "keychest.db").write_bytes(TYPED)
    with installation(data, {}, verb="demo") as running:
        running.await_health(within_s=90)
        eventually(lambda: not waiting(running), within_s=60)
        yield running


def waiting(demo: Installation) -> int:
    with demo.sessions().reading() as session:
        asked = sa.select(sa.func.count()).select_from(Schedule).where(Schedule.last_scanned_at < Schedule.requested_at)
        return session.scalar(asked) or 0


def test_every_name_stands_as_its_story_says(demo: Installation) -> None:
    with demo.sessions().reading() as session:
        stands = dict(session.execute(sa.select(Watch.name, Watch.state)).all())
        found = sa.select(Finding.check).join(Watch, Watch.endpoint_id == Finding.endpoint_id).where(Watch.name == f"checkout.{ZONE}")
        assert {"CERT-DIFFER", "CERT-EXPIRING"} <= set(session.scalars(found))
    cast = {part.name: part.state for part in make_world(datetime.now(UTC)).parts}
    assert stands == cast
    assert len(cast) >= 40
    assert set(cast.values()) == {"ok", "soon", "bad", "unk"}


def test_its_past_is_one_that_could_have_been(demo: Installation) -> None:
    with demo.sessions().reading() as session:
        early = session.scalars(sa.select(Watch.name).join(Incident, Incident.watch_id == Watch.id).where(Incident.check == "CERT-NOTYET"))
        assert set(early) == {f"launch.{ZONE}"}
        over = sa.select(Watch.name).join(Incident, Incident.watch_id == Watch.id).where(Incident.closed_at.is_not(None))
        assert f"docs.{ZONE}" in set(session.scalars(over))
        first = session.scalar(sa.select(sa.func.min(Watch.since_at)))
        assert first is not None
        assert timedelta(days=90) <= datetime.now(UTC) - first < timedelta(days=91)
        told = session.scalars(sa.select(Notice).where(Notice.created_at < datetime.now(UTC) - timedelta(days=1))).all()
        assert len(told) > 10
        assert all(notice.sent_at is not None and notice.subject for notice in told if notice.cancelled_at is None)


def test_a_newcomer_gets_in_by_one_button_and_every_page_says_what_it_is(demo: Installation, browser: Browser, look: Look) -> None:
    with browser.new_context(base_url=demo.url, viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto("/sign-in")
        look(page, "demo-sign-in")
        page.get_by_role("button", name="Enter the demonstration").click()
        page.wait_for_url(demo.url + "/")
        for name, path in {
            "overview": "/",
            "domains": "/domains",
            "mails": "/mails",
            "check": "/check",
            "about": "/check/about",
            "status": "/status",
        }.items():
            page.goto(path)
            expect(page.get_by_text("This is a demonstration.")).to_be_visible()
            look(page, f"demo-{name}")
        page.goto("/nothing-here")
        expect(page.get_by_text("This is a demonstration.")).to_be_visible()


@pytest.mark.parametrize(
    ("label", "words"), [("checkout", "2 different certificates"), ("staging", "could not be reached"), ("printer", "signed by itself")]
)
def test_a_stranger_checks_a_name_and_watches_it_being_looked_at(
    demo: Installation, browser: Browser, look: Look, label: str, words: str
) -> None:
    if json.loads((demo.data / MARK).read_text())["port"] != PORT:
        pytest.skip("port 8443 was in use, and spot checks dial web and mail ports alone")
    with browser.new_context(base_url=demo.url, viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto("/check")
        page.get_by_label("Name to check").fill(f"{label}.{ZONE}:{PORT}")
        page.get_by_role("button", name="Check").click()
        expect(page.locator("ol.steps")).to_be_visible()
        expect(page.locator(".verdict")).to_be_visible(timeout=SOON)
        expect(page.locator("main")).to_contain_text(words)
        look(page, f"spot-check-{label}")


def run(verb: str, data: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-P", "-m", "cli", verb, "--port", "0", "--data", str(data)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)} | settings
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_it_does_not_start_beside_a_real_installation_nor_up_in_its_place(demo: Installation, tmp_path: Path) -> None:
    refused = run("demo", tmp_path / "new", KEYCHEST_ENVIRONMENT="production")
    assert (refused.returncode, (tmp_path / "new").exists()) == (78, False)
    assert "production" in refused.stderr
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "real" / "keychest.db").write_bytes(b"somebody's")
    assert "real installation" in run("demo", tmp_path / "real").stderr
    assert (tmp_path / "real" / "keychest.db").read_bytes() == b"somebody's"
    assert "whose password everybody knows" in run("up", demo.data).stderr
    assert "KEYCHEST_DEMO" in run("up", tmp_path / "new", KEYCHEST_DEMO="on", KEYCHEST_ENVIRONMENT="production").stderr


def test_one_from_before_is_put_aside_whole_and_a_new_one_begins(demo: Installation) -> None:
    with demo.sessions().reading() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM users WHERE email = :email").bindparams(email=EMAIL)) == 1
    [before] = demo.data.glob("before-*")
    assert (before / "keychest.db").read_bytes() == TYPED
    assert str(before) in "".join(demo.said)
