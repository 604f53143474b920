"""What the first users could not do after the loss: take everything along, and have it back. In a browser, and after the accident."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from core.actions.bundle_keys import own_vkeys, signing_key
from core.actions.policy import Actor
from core.backups import kit
from core.backups.secret_kinds import Place
from core.exports.check import check
from core.exports.compare import differences
from core.exports.write import Whence
from core.store.accounts import Account
from core.store.db import Sessions, make_engine
from tests.exporting import bring_in, export, make_rich, write_card
from tests.make import NOW, TERMINAL, make_actor, make_watches
from tests.people import person
from tests.stage import OWNER, installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PASSWORD = "four or five words"
DAY = timedelta(days=1)
URL = "https://keys.example.org"


@pytest.mark.xdist_group("walk")
def test_out_gone_and_back_again_in_a_browser(browser: Browser, tmp_path: Path, look: Callable[[Page, str], None]) -> None:
    """Export, download, remove, import with a preview, undo."""
    with installation(tmp_path / "data", {}) as running:
        running.await_health()
        context = browser.new_context(base_url=running.url, accept_downloads=True)
        page = context.new_page()
        page.set_default_timeout(20_000)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
        page.goto(running.setup_path)
        page.get_by_label("E-mail address").fill(OWNER)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Set up").click()
        page.get_by_label("Paste names").fill("one.kc.test\ntwo.kc.test:8443\nthree.kc.test:25 smtp")
        page.get_by_role("button", name="Add names").click()
        expect(page.locator(".results")).to_contain_text("3 added")

        page.goto("/exports")
        page.locator("#export_proof").fill(PASSWORD)
        page.get_by_role("button", name="Make an export").click()
        expect(page.locator("#exports .st").first).to_have_text("Ready", timeout=30_000)  # it turns by itself
        look(page, "exports")
        page.locator("summary", has_text="Download it").click()
        page.locator("input[name=download_proof]").fill(PASSWORD)
        with page.expect_download() as downloaded:
            page.get_by_role("button", name="Download", exact=True).click()
        file = tmp_path / "mine.zip"
        downloaded.value.save_as(file)
        assert check(file).verdict == "genuine"

        page.goto("/exports/plan?place=sftp")
        look(page, "export-plan")
        page.goto("/domains")
        for box in page.locator("tbody input[type=checkbox]").all():
            box.check()
        page.get_by_role("button", name="Stop watching").click()
        expect(page.locator("tbody tr")).to_have_count(0)

        page.goto("/imports")
        look(page, "imports")
        page.set_input_files("#file", file)
        page.get_by_role("button", name="Look through it").click()
        apply = page.get_by_role("button", name="Apply")
        expect(apply).to_be_visible(timeout=30_000)
        expect(page.locator("tbody tr")).to_have_count(3)
        expect(page.locator("tbody")).to_contain_text("It comes back from the bin with its history.")
        look(page, "import-preview")
        page.get_by_role("checkbox", name="Leave two.kc.test:8443 out").check()
        apply.click()
        undo = page.get_by_role("button", name="Undo this import")
        expect(undo).to_be_visible(timeout=30_000)
        page.goto("/domains")
        expect(page.locator("tbody tr")).to_have_count(2)
        page.go_back()
        undo.click()
        expect(page.locator("main")).to_contain_text("Undone")
        look(page, "import-undone")
        page.goto("/domains")
        expect(page.locator("tbody tr")).to_have_count(0)

        page.goto("/account")
        page.locator("#remove_proof").fill(PASSWORD)
        page.get_by_role("button", name=re.compile("^Remove ")).click()
        expect(page.get_by_role("heading", name="Take its data along")).to_be_visible()
        look(page, "account-binned")
        page.locator("#export_proof").fill(PASSWORD)
        page.get_by_role("button", name="Export it").click()
        expect(page.locator("main, [role=status]").first).to_be_visible()
        look(page, "account-exported")
        assert said == []
        context.close()


def test_the_accident_with_exports(migrated_sqlite: Path, tmp_path: Path) -> None:
    """The newest backup holds six accounts of ten. Three of the four others sign up again, import their own bundles, and are back."""
    live, restored = tmp_path / "live", tmp_path / "restored"
    live.mkdir()
    shutil.copy(migrated_sqlite, live / "keychest.db")
    sessions = Sessions(make_engine(f"sqlite:///{live / 'keychest.db'}"))
    with sessions.writing() as session:
        for number in range(6):
            make_watches(session, make_actor(session, f"early{number}@example.org"), f"host{number}.early.example")
        key = signing_key(session, TERMINAL, data=live, public_url=URL, now=NOW)
    made = kit.make_kit(Place(live, {}), installation="here", at=NOW)
    with sessions.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(live / "keychest.db", tmp_path / "backup.db")  # the newest backup there is

    whence = Whence(URL, "keychest", key)
    owners: dict[str, Actor] = {}
    for number, email in enumerate(("ann@late.example", "bob@late.example", "cat@late.example", "dan@late.example")):
        owners[email] = make_rich(sessions, email)[0]
        with sessions.writing() as session:
            make_watches(session, owners[email], *(f"www{each}.{email.partition('@')[0]}.example" for each in range(20 + number)))
            write_card(session, owners[email], f"www7.{email.partition('@')[0]}.example", f"Only {email} knows this.", "own")
        export(sessions, owners[email], tmp_path / f"{email}.zip", now=NOW + DAY, whence=whence)
    with sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Account)) >= 10  # type: ignore[operator]
    sessions.engine.dispose()
    shutil.rmtree(live)  # somebody with too many terminals open

    kit.lay_out(made, restored)
    shutil.copy(tmp_path / "backup.db", restored / "keychest.db")
    again = Sessions(make_engine(f"sqlite:///{restored / 'keychest.db'}"))
    with again.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Account)) == 6
        own = own_vkeys(session, restored)
    for email in list(owners)[:3]:
        with again.writing() as session:
            back, _ = person(session, email)
        _, done = bring_in(again, back, tmp_path / f"{email}.zip", now=NOW + 2 * DAY, own=own)
        assert (done.plan.counts["refused"], done.plan.counts["skipped"]) == (0, 0)
        export(again, back, tmp_path / f"{email}.back.zip", now=NOW + 3 * DAY, whence=whence)
        assert differences(tmp_path / f"{email}.zip", tmp_path / f"{email}.back.zip") == ()
        assert check(tmp_path / f"{email}.back.zip", key.vkey).verdict == "genuine", "by the key that the recovery kit brought back"
    for email, other in (("ann@late.example", "bob@late.example"), ("bob@late.example", "cat@late.example")):
        assert differences(tmp_path / f"{email}.back.zip", tmp_path / f"{other}.back.zip"), "each has its own back"
    with again.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Account)) == 9, "who has no export is known by nobody"
    again.engine.dispose()
