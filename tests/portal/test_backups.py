"""The pages about backups: what operators read in each state, who may act, and that nobody else sees anything of it."""

from __future__ import annotations

import contextlib
import html
import re
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from playwright.sync_api import Browser, expect
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from audit.tables import OutboxEvent
from core.actions.alarms import settle_alarms
from core.actions.backups import begin_backup, begin_drill, fail_backup, note_step, record_backup, record_drill, record_kit, remove_backup
from core.actions.policy import Actor, Permission
from core.backups import keys
from core.backups.alarms import KINDS
from core.backups.drill import Proof
from core.backups.manifest import Manifest, Table
from core.backups.plan import Plan
from core.backups.stored import Stored
from core.seal import fingerprint, make_identity, recipient_of
from core.store.accounts import User
from core.store.backups import Backup, Chore, Drill, Hold
from portal.fields import fours
from tests.make import NOW
from tests.portal.conftest import PASSWORD, PEOPLE, MakeSite, Site, post
from tests.portal.serving import serving
from tests.portal.test_endpoints import assert_only_our_markup

WORKER = Actor(worker=True)
LEASE = timedelta(minutes=3)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
SOON = NOW + MINUTE
"""The time of the site's requests."""
TABLES = (Table("accounts", 1_284, "a" * 64), Table("watches", 88_402, "b" * 64), Table("users", 1_301, "c" * 64))
LONG = "Permission denied: " + "https://" + "very-long-host-name-without-a-break" * 12 + "/backups"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def site(make_site: MakeSite, folder: Path) -> Site:
    made = make_site(plan=plan_in(folder))
    with made.sessions.writing() as session:
        plan_chores(session)
    return made


def plan_in(folder: Path, **changed: Any) -> Plan:
    """Two targets that are folders, of which none is dialled."""
    values: dict[str, Any] = {"data": folder / "data", "production": False, "database_url": f"sqlite:///{folder / 'portal.db'}"}
    return Plan(**(values | {"target_urls": tuple((folder / name).as_uri() for name in ("first", "second"))} | changed))


def plan_chores(session: Session, *, backup: datetime | None = SOON + HOUR, drill: datetime | None = None) -> None:
    """Nothing is due now, unless told so."""
    for name, at in (("backup", backup), ("drill", drill), ("look", SOON + HOUR)):
        session.execute(sa.update(Chore).where(Chore.name == name).values(next_at=at, wanted_at=None, lease_until=None, about=""))


def make_backup(session: Session, at: datetime, *, kind: str = "due", targets: dict[str, str] | None = None) -> Backup:
    """A stored backup of this time, not tried yet."""
    row = begin_backup(session, WORKER, engine="sqlite", kind=kind, lease=LEASE, now=at)
    assert row is not None
    manifest = Manifest("sqlite", at, "kc-inst", "0002", 48_190, 1_284, TABLES, plain_bytes=52_000_000, plain_sha256="d" * 64)
    stored = Stored(row.ref, row.name, kind, manifest, 46_200_000, "e" * 64)
    record_backup(
        session,
        WORKER,
        ref=row.ref,
        stored=stored,
        targets=targets if targets is not None else {"file:///backups/first": ""},
        now=at + 9 * timedelta(seconds=1),
    )
    chore = session.get_one(Chore, "drill")
    session.refresh(chore)
    chore.wanted_at = None
    return row


def make_failure(session: Session, at: datetime, error: str) -> Backup:
    """A try at a backup that failed."""
    row = begin_backup(session, WORKER, engine="sqlite", kind="due", lease=LEASE, now=at)
    assert row is not None
    fail_backup(session, WORKER, row, error=error, now=at + MINUTE)
    return row


PROOF = Proof(
    100.0, 100.0, 1_284, 1_284, 1_280, 1_280, 3, 90_987, (), (),
    ("Fetch: 0.24 s", "Open the seal: 1.02 s", "Restore: 38.10 s", "Open and compare: 700.00 s"),
)  # fmt: skip
BAD = replace(
    PROOF, fidelity=99.2, coverage=60.0, held=770, aged_held=768, differences=("watches has 87,695 of 88,402 rows",),
    faults=("512 of 1,280 accounts that should be in it are missing.", "It is not what was live: watches has 87,695 of 88,402 rows."),
)  # fmt: skip


def make_drill(session: Session, backup: Backup, at: datetime, proof: Proof = PROOF) -> Drill:
    """A drill that took 11 min 40 s."""
    row = begin_drill(session, WORKER, backup=backup, now=at)
    return record_drill(session, WORKER, drill_id=row.id, proof=proof, now=at + timedelta(minutes=11, seconds=40))


def become(site: Site, role: str) -> FlaskClient:
    """Somebody of another account who is an operator or auditor of the installation."""
    with site.sessions.writing() as session:
        session.execute(sa.update(User).where(User.email == PEOPLE["stranger"]).values(installation_role=role))
    return site.client("stranger")


def told(text: str) -> str:
    """What a person reads in the page's main part: text in a line stays together, blocks are apart."""
    main = text.partition('<main class="wrap" id="main" tabindex="-1">')[2].partition("</main>")[0]
    inline = re.sub(r"</?(?:span|b|a|code|time|wbr|bdi)\b[^>]*>", "", re.sub(r'<span class="(sub|t)\b', r" \g<0>", main))
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", inline)).replace("\u00a0", " ")).strip()


def heading(text: str) -> str:
    return re.sub(r"<[^>]+>", "", text.partition("<h1>")[2].partition("</h1>")[0]).replace("\u00a0", " ")


def writing(site: Site) -> AbstractContextManager[Session]:
    return site.sessions.writing()


# Who may what ----------------------------------------------------------------------------------------------------------------

ROUTES = (
    "GET /backups",
    "GET /backups/{ref}",
    "POST /backups/now",
    "POST /backups/{ref}/prove",
    "POST /backups/holds",
    "POST /backups/holds/{hold}/lift",
)
CANARY = "canary reason"


def _all_there(site: Site) -> dict[str, str]:
    with writing(site) as session:
        backup = make_backup(session, NOW - HOUR)
        make_drill(session, backup, NOW - HOUR + MINUTE, replace(BAD, faults=("canary fault",)))
        session.add(Hold(ref="hold", reason=CANARY, set_by="terminal", set_at=NOW, lifted_at=None))
        settle_alarms(session, WORKER, found={"target": "canary alarm"}, now=NOW)
        return {"ref": backup.ref, "hold": "hold"}


def _ask(client: FlaskClient, route: str, there: dict[str, str]) -> TestResponse:
    method, _, path = route.partition(" ")
    path = path.format(**there)
    return client.get(path) if method == "GET" else post(client, path, {"reason": "Because of an incident"})


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("who", ["owner", "manager", "viewer", "stranger"])
def test_people_of_accounts_get_nothing_of_it(site: Site, who: str, route: str) -> None:
    answer = _ask(site.client(who), route, _all_there(site))
    assert answer.status_code == 403
    assert "for the people who run this installation" in answer.text
    assert "canary" not in answer.text
    with site.sessions.reading() as session:
        assert session.scalars(sa.select(Chore.wanted_at)).all() == [None] * 3
        assert session.scalar(sa.select(sa.func.count()).select_from(Hold).where(Hold.lifted_at.is_(None))) == 1


@pytest.mark.parametrize("route", ROUTES)
def test_nobody_is_asked_to_sign_in(site: Site, route: str) -> None:
    answer = _ask(site.client("nobody"), route, _all_there(site))
    assert answer.status_code == 303
    assert answer.location.startswith("/sign-in")


@pytest.mark.slow
@pytest.mark.parametrize(("route", "status"), list(zip(ROUTES, (200, 200, 403, 403, 403, 403), strict=True)))
def test_an_auditor_reads_and_does_nothing(site: Site, route: str, status: int) -> None:
    there = _all_there(site)
    answer = _ask(become(site, "auditor"), route, there)
    assert answer.status_code == status
    main = answer.text.partition("<main")[2]
    assert "<form" not in main.partition("</main>")[0]
    assert "<button" not in main.partition("</main>")[0]
    with site.sessions.reading() as session:
        assert session.scalars(sa.select(Chore.wanted_at)).all() == [None] * 3
        assert session.scalars(sa.select(Hold.lifted_at)).all() == [None]


@pytest.mark.slow
@pytest.mark.parametrize(("route", "status"), list(zip(ROUTES, (200, 200, 303, 303, 303, 303), strict=True)))
def test_an_operator_reads_and_acts(site: Site, route: str, status: int) -> None:
    answer = _ask(become(site, "operator"), route, _all_there(site))
    assert answer.status_code == status
    if status == 303:
        assert answer.location == "/backups"


def test_reading_and_acting_have_gates_of_their_own(site: Site) -> None:
    views = {name.partition(".")[2]: view for name, view in site.app.view_functions.items() if name.startswith("backups.")}
    gates = {name: getattr(view, "gate", None) for name, view in views.items()}
    reads, acts = Permission.SEE_OPERATIONS, Permission.OPERATE
    assert gates == {"show": reads, "show_one": reads, "back_up": acts, "prove": acts, "hold": acts, "lift": acts}


@pytest.mark.slow
def test_the_tab_and_the_alarm_are_for_those_who_run_it(site: Site) -> None:
    _all_there(site)
    for who in ("owner", "manager", "viewer", "stranger"):
        page = site.client(who).get("/").text
        assert "/backups" not in page, who
        assert "canary" not in page
    for role in ("auditor", "operator"):
        page = become(site, role).get("/").text
        assert page.count('href="/backups"') == 2, role
        assert "A target did not take the newest backup." in page
    assert "Look at the backups" not in site.client("stranger").get("/backups").text, "the page itself says it at length"


# Acts ------------------------------------------------------------------------------------------------------------------------


def test_asking_for_a_backup_has_one_made(site: Site) -> None:
    client = become(site, "operator")
    page = client.get(post(client, "/backups/now").location).text
    assert "A backup was asked for. It begins as soon as a worker is free." in page
    with site.sessions.reading() as session:
        assert session.get_one(Chore, "backup").wanted_at == SOON
        assert session.scalars(sa.select(OutboxEvent.kind)).all()[-1] == "backup.requested.v1"


def test_asking_for_a_drill_names_the_backup(site: Site) -> None:
    with writing(site) as session:
        old, _ = make_backup(session, NOW - DAY).ref, make_backup(session, NOW - HOUR)
    client = become(site, "operator")
    assert "A drill was asked for." in client.get(post(client, f"/backups/{old}/prove").location).text
    with site.sessions.reading() as session:
        chore = session.get_one(Chore, "drill")
        assert (chore.wanted_at, chore.about) == (SOON, old)


@pytest.mark.parametrize("state", ["none", "failed"])
def test_what_cannot_be_proven_is_refused_in_words(site: Site, state: str) -> None:
    ref = "none"
    if state == "failed":
        with writing(site) as session:
            ref = make_failure(session, NOW, "No space left.").ref
    client = become(site, "operator")
    assert "There is no such backup to prove. Make one first." in client.get(post(client, f"/backups/{ref}/prove").location).text
    with site.sessions.reading() as session:
        assert session.get_one(Chore, "drill").wanted_at is None


@pytest.mark.slow
def test_a_hold_is_set_shown_and_lifted(site: Site) -> None:
    with writing(site) as session:
        make_drill(session, make_backup(session, NOW - HOUR), NOW - HOUR)
    client = become(site, "operator")
    page = client.get(post(client, "/backups/holds", {"reason": "Incident 2026-31, rows missing"}).location).text
    for words in (
        "The hold is set.",
        "Incident 2026-31, rows missing",
        "Set 23 Nov 2026, 09:01 by eve@elsewhere.example",
        "A hold is set: nothing is removed.",
    ):
        assert words in told(page) or words in page, words
    [lift] = re.findall(r'action="(/backups/holds/[^/"]+/lift)"', page)
    assert "The hold was lifted." in client.get(post(client, lift).location).text
    assert "This hold was lifted already." in client.get(post(client, lift).location).text
    assert "Incident 2026-31" not in client.get("/backups").text


def test_a_reason_that_says_nothing_is_kept_and_told(site: Site) -> None:
    with writing(site) as session:
        make_backup(session, NOW - HOUR)
    answer = post(become(site, "operator"), "/backups/holds", {"reason": HOSTILE[:3]})
    assert answer.status_code == 422
    assert 'id="reason-error"' in answer.text
    assert "Say in a few words why" in answer.text
    assert re.search(r'<input class="in" id="reason"[^>]* value="&#34;&gt;&lt;"', answer.text)
    assert '<details class="disc" open>' in answer.text
    with site.sessions.reading() as session:
        assert session.scalars(sa.select(Hold)).all() == []


# States ----------------------------------------------------------------------------------------------------------------------


def test_before_the_first_backup(site: Site) -> None:
    page = become(site, "operator").get("/backups").text
    assert heading(page) == "No backup yet. The first one is being made."
    assert "Next backup 23 Nov 2026, 10:01" in told(page)
    assert "/prove" not in page, "there is nothing to prove"
    assert 'id="state">' in page, "nothing is under way, so nothing asks again"


@pytest.mark.slow
def test_while_the_first_one_is_made_its_steps_are_told_and_asked_for_again(site: Site) -> None:
    with writing(site) as session:
        row = begin_backup(session, WORKER, engine="sqlite", kind="due", lease=LEASE, now=NOW)
        assert row is not None
        note_step(session, row.id, "Seal")
    client = become(site, "operator")
    page = client.get("/backups").text
    for words in ("A backup is being made", "Step 2 of 3", "Copy, done", "Seal, under way", "Store, not begun", "Look again"):
        assert words in told(page), words
    [address] = re.findall(r'id="state" hx-get="([^"]+)" hx-trigger="every 2s"', page)
    assert re.search(r'id="back-up" disabled aria-busy="true"', page)
    fragment = client.get(html.unescape(address), headers={"HX-Request": "true"}).text
    assert "<html" not in fragment
    assert 'id="state" hx-get' in fragment
    assert 'id="lists"' not in fragment, "as long as nothing changed, the lists stay as they are"
    with writing(site) as session:
        fail_backup(session, WORKER, session.scalars(sa.select(Backup)).one(), error="No space left.", now=SOON)
    settled = client.get(html.unescape(address), headers={"HX-Request": "true"}).text
    assert "hx-trigger" not in settled
    assert '<div id="lists" hx-swap-oob="true">' in settled
    assert heading(settled) == "No backup yet. The first try failed."


def test_a_backup_whose_worker_is_gone_is_not_called_running(site: Site) -> None:
    with writing(site) as session:
        row = begin_backup(session, WORKER, engine="sqlite", kind="due", lease=LEASE, now=NOW - HOUR)
        assert row is not None
        plan_chores(session, backup=NOW)
    page = told(become(site, "auditor").get("/backups").text)
    assert "The backup was stopped in the middle" in page
    assert "Step 1 of 3" not in page
    assert "Its worker gave no sign for a while." in page


@pytest.mark.slow
def test_a_drill_under_way_tells_its_steps(site: Site) -> None:
    with writing(site) as session:
        backup = make_backup(session, NOW - MINUTE)
        begin_drill(session, WORKER, backup=backup, now=NOW).step = "Restore"
        session.execute(sa.update(Chore).where(Chore.name == "drill").values(lease_until=SOON + LEASE))
        ref = backup.ref
    client = become(site, "operator")
    for path in ("/backups", f"/backups/{ref}"):
        page = client.get(path).text
        for words in ("A drill is under way", "Step 3 of 4", "Open the seal, done", "Restore, under way", "Open and compare, not begun"):
            assert words in told(page), (path, words)
        assert 'hx-trigger="every 2s"' in page
    assert heading(client.get("/backups").text) == "The newest backup is not proven yet."
    with writing(site) as session:
        record_drill(session, WORKER, drill_id=session.scalars(sa.select(Drill.id)).one(), proof=PROOF, now=SOON)
        plan_chores(session)
    for path in ("/backups", f"/backups/{ref}"):
        settled = client.get(path, headers={"HX-Request": "true"}).text
        assert "hx-trigger" not in settled
        assert "Yes" in settled


def test_on_postgresql_there_are_the_steps_that_there_are(make_site: MakeSite, folder: Path) -> None:
    (folder / "pgbackrest.conf").write_text("[global]\nrepo1-path=/there\n[keychest]\npg1-path=/here\n")
    site = make_site(
        plan=plan_in(folder, database_url="postgresql://nobody@nowhere/none", pgbackrest_config=str(folder / "pgbackrest.conf"))
    )
    with writing(site) as session:
        plan_chores(session)
        assert begin_backup(session, WORKER, engine="postgresql", kind="due", lease=LEASE, now=NOW)
    page = told(become(site, "auditor").get("/backups").text)
    assert "Step 1 of 2" in page
    assert "Seal" not in page
    assert "The rows lie in pgBackRest's own repository, pgbackrest:/there." in page


def test_when_all_is_proven(site: Site, folder: Path) -> None:
    with writing(site) as session:
        backup = make_backup(session, NOW - 6 * HOUR, targets={(folder / "first").as_uri(): ""})
        make_drill(session, backup, NOW - 6 * HOUR)
    page = become(site, "operator").get("/backups").text
    assert heading(page) == "Every account can be restored. Proven 5 h ago."
    for words in (
        "1,284 of 1,284 accounts", "Newest backup 6 h ago", "Next drill right after it", "1 kept, 46.2 MB",
        "Yes All 90,987 rows of 3 tables came back the same, 1,284 of 1,284 accounts are in it.", "Fidelity 100.000 %, coverage 100.000 %",
        "hourly, daily, weekly, monthly, newest, newest proven", "Passed in 11 min 40 s",
        "Restore 38 s", "Fetch 0.24 s", "90,987 rows in 3 tables",
        "1,280 of 1,280 that are older", "It took the newest backup and gave it back the same.", "24 hours",
    ):  # fmt: skip
        assert words in told(page), words
    assert "Nothing is removed now" not in page


def test_accounts_newer_than_the_backup_are_told_and_are_no_fault(site: Site) -> None:
    with writing(site) as session:
        make_drill(session, make_backup(session, NOW - HOUR), NOW - HOUR, replace(PROOF, coverage=99.922, held=1_283))
    page = become(site, "auditor").get("/backups").text
    assert heading(page).startswith("1,283 of 1,284 accounts can be restored; the others are newer than the backup. Proven")
    assert "coverage 99.922 %" in told(page)


def test_a_failed_drill_says_all_that_is_wrong(site: Site) -> None:
    with writing(site) as session:
        make_drill(session, make_backup(session, NOW - DAY), NOW - DAY)
        backup = make_backup(session, NOW - HOUR)
        make_drill(session, backup, NOW - HOUR, BAD)
        settle_alarms(session, WORKER, found={"drill-failed": "The newest drill did not prove its backup. Fidelity 99.200 %."}, now=NOW)
        ref = backup.ref
    client = become(site, "operator")
    page = client.get("/backups").text
    assert heading(page) == "The newest backup did not come back whole: fidelity 99.200 %, coverage 60.000 %. Tried 49 min ago."
    for text in (page, client.get(f"/backups/{ref}").text):
        for words in (*BAD.faults, *BAD.differences, "Failed after 11 min 40 s", "770 of 1,284", "768 of 1,280", "60.000 %", "99.200 %"):
            assert words in told(text), words
    assert "Since 23 Nov 2026, 09:00." in told(page)
    assert "failed 49 min ago" in told(page)


def test_a_drill_that_came_nowhere_says_so(site: Site) -> None:
    nothing = Proof(None, None, 0, 0, 0, 0, 0, 0, (), ("No target has it: none is set.",), ("Fetch: 0.10 s",))
    with writing(site) as session:
        make_drill(session, make_backup(session, NOW - HOUR), NOW - HOUR, nothing)
    page = become(site, "operator").get("/backups").text
    assert heading(page) == "The newest backup cannot be restored. Tried 49 min ago."
    assert "Fetch, where it went wrong" in told(page)
    assert "Fidelity not known" in told(page)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_alarm_is_the_first_sentence_and_a_message_that_stays(site: Site, kind: str) -> None:
    with writing(site) as session:
        make_drill(session, make_backup(session, NOW - HOUR), NOW - HOUR)
        settle_alarms(session, WORKER, found={kind: f"{KINDS[kind][:-1]}: it is so."}, now=NOW - MINUTE)
    page = become(site, "auditor").get("/backups").text
    assert heading(page) == f"{KINDS[kind]} Noticed 2 min ago."
    assert "it is so. Since 23 Nov 2026, 08:59." in told(page)


def test_what_was_mended_since_is_no_longer_the_first_sentence(site: Site) -> None:
    with writing(site) as session:
        settle_alarms(session, WORKER, found={"drill-failed": "x", "backup-old": "y"}, now=NOW - DAY)
        make_drill(session, make_backup(session, NOW - HOUR), NOW - HOUR)
    page = become(site, "operator").get("/backups").text
    assert heading(page).startswith("Every account can be restored.")
    assert page.count("It is mended: the alarm is closed at the next look") == 2


@pytest.mark.slow
def test_failed_tries_and_removed_backups_are_in_sight(site: Site) -> None:
    with writing(site) as session:
        gone = make_backup(session, NOW - 9 * DAY)
        failed = make_failure(session, NOW - 2 * HOUR, "Nobody answers at first.")
        make_backup(session, NOW - HOUR)
        remove_backup(session, WORKER, ref=gone.ref, why="older than what is kept", now=NOW)
        refs = gone.ref, failed.ref
    client = become(site, "operator")
    page = told(client.get("/backups").text)
    assert "Failed Nobody answers at first." in page
    assert "Removed last: 14 Nov 2026, 09:00 (older than what is kept)." in page
    assert "2 kept" not in page
    removed, failed_page = (client.get(f"/backups/{ref}").text for ref in refs)
    assert "This backup was removed." in told(removed)
    assert "keychest restore" not in removed
    assert "This backup failed. Nobody answers at first." in told(failed_page)
    assert "/prove" not in removed + failed_page


@pytest.mark.slow
def test_thirty_to_a_page_and_none_twice(site: Site) -> None:
    with writing(site) as session:
        for number in range(32):
            make_failure(session, NOW - number * HOUR, f"try {number:02}.")
    client = become(site, "auditor")
    first = client.get("/backups").text
    [older] = re.findall(r'href="(/backups\?before=[^"]+)"', first)
    second = client.get(older).text
    told_of = [re.findall(r"try (\d\d)\.", page.partition("<table")[2]) for page in (first, second)]
    assert [len(each) for each in told_of] == [30, 2]
    assert len({*told_of[0], *told_of[1]}) == 32
    assert client.get("/backups?before=nonsense").status_code == 200


# One backup ------------------------------------------------------------------------------------------------------------------


def test_one_backup_tells_every_fact_and_the_way_back(site: Site) -> None:
    with writing(site) as session:
        backup = make_backup(session, NOW - 6 * HOUR, targets={"file:///first": "", "file:///second": "It is full."})
        make_drill(session, backup, NOW - 5 * HOUR)
        make_drill(session, backup, NOW - HOUR, BAD)
        ref = backup.ref
    page = become(site, "operator").get(f"/backups/{ref}").text
    for words in (
        "Backup of 23 Nov 2026, 03:00", "2026-11-23 03:00:00 UTC", "SQLite", "46,200,000 bytes", "EEEE EEEE…", "0002", "Accounts 1,284",
        "watches 88,402", "90,987 rows in 3 tables", "file:///second It is full.", f"./keychest restore {ref} --into NEW", "took 9.00 s",
    ):  # fmt: skip
        assert words in told(page), words
    assert page.index("Failed after") < page.index("Passed in"), "drills stand newest first"
    assert f'action="/backups/{ref}/prove"' in page


@pytest.mark.parametrize("ref", ["unknown", "now", "holds", "x" * 200, "%00", "..%2f"])
def test_an_unknown_reference_is_not_found(site: Site, ref: str) -> None:
    assert become(site, "operator").get(f"/backups/{ref}").status_code in {404, 400}


def test_a_manifest_that_cannot_be_read_is_told(site: Site) -> None:
    with writing(site) as session:
        backup = make_backup(session, NOW - HOUR)
        backup.manifest = {"format": HOSTILE}
        ref = backup.ref
    page = become(site, "operator").get(f"/backups/{ref}")
    assert page.status_code == 200
    assert "What was kept of it cannot be read." in page.text
    assert_only_our_markup(page.text)


# Beside ----------------------------------------------------------------------------------------------------------------------


def test_looking_makes_and_dials_nothing(site: Site, folder: Path) -> None:
    before = sorted(path.name for path in folder.rglob("*") if not path.name.startswith("portal.db"))
    page = become(site, "operator").get("/backups").text
    assert sorted(path.name for path in folder.rglob("*") if not path.name.startswith("portal.db")) == before == ["data"]
    assert told(page).count("Not made yet: the first backup makes it.") == 2


def test_keys_are_shown_by_public_fingerprints_alone(site: Site, folder: Path) -> None:
    drill, (recovery, _) = keys.drill_identity(folder / "data"), keys.development_recovery(folder / "data")
    kit = {"name": "kits/one.age", "digest": "f" * 64, "recipient": "age1x", "fingerprints": {"a": "scrypt$canary", "b": "scrypt$canary"}}
    with writing(site) as session:
        record_kit(session, WORKER, kit=kit, targets={"file:///second": "", "file:///third": "It is full."}, now=NOW)
    page = become(site, "operator").get("/backups").text
    for identity in (drill, recovery):
        assert fours(fingerprint(recipient_of(identity))) in page
        assert identity not in page
    for words in ("Written 23 Nov 2026, 09:00 with 2 kinds of secrets", "At file:///second", "Not at file:///third: It is full."):
        assert words in told(page), words
    assert "canary" not in page
    assert "f" * 64 not in page


def test_in_production_without_a_recovery_key_no_backup_can_be_made_and_the_page_says_so(make_site: MakeSite, folder: Path) -> None:
    page = become(make_site(plan=plan_in(folder, production=True)), "operator").get("/backups").text
    assert heading(page) == "No backup yet, and none can be made."
    assert "There is no recovery key, and without one nobody could open a backup" in told(page)
    assert not (folder / "data" / "keys").exists()


@pytest.mark.slow
def test_in_production_the_offline_key_is_named_by_its_public_half(make_site: MakeSite, folder: Path) -> None:
    public = recipient_of(make_identity())
    page = become(make_site(plan=plan_in(folder, production=True, recovery_key=public)), "operator").get("/backups").text
    assert fours(fingerprint(public)) in page
    assert "lies on the database's own filesystem, so one loss would take both" in told(page)


@pytest.mark.slow
def test_one_target_only_is_a_weakness(make_site: MakeSite, folder: Path) -> None:
    page = told(become(make_site(plan=plan_in(folder, target_urls=((folder / "first").as_uri(),))), "auditor").get("/backups").text)
    assert "There is one target only" in page
    assert "lies on the database's own filesystem" in page


def test_targets_that_cannot_be_read_are_told_and_not_a_failure(make_site: MakeSite, folder: Path) -> None:
    page = become(make_site(plan=plan_in(folder, target_urls=("ftp://user:canary@host/",))), "operator").get("/backups")
    assert page.status_code == 200
    assert "The targets cannot be told KEYCHEST_BACKUP_TARGETS: A target begins with" in told(page.text)
    assert "canary" not in page.text


# Strangers' words, and what it costs -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_hostile_words_stay_words(site: Site) -> None:
    hostile = replace(BAD, faults=(HOSTILE, LONG), differences=(HOSTILE,), steps=(HOSTILE, f"{HOSTILE}: 0.10 s"))
    with writing(site) as session:
        backup = make_backup(session, NOW - DAY, targets={HOSTILE: HOSTILE}, kind="asked")
        make_drill(session, backup, NOW - DAY, hostile)
        failed = make_failure(session, NOW - HOUR, HOSTILE)
        gone = make_backup(session, NOW - 2 * DAY)
        remove_backup(session, WORKER, ref=gone.ref, why=HOSTILE, now=NOW)
        session.add(Hold(ref="hold", reason=HOSTILE, set_by=HOSTILE[:32], set_at=NOW, lifted_at=None))
        settle_alarms(session, WORKER, found=dict.fromkeys(KINDS, HOSTILE), now=NOW)
        kit = {"name": HOSTILE, "digest": "f" * 64, "recipient": HOSTILE, "fingerprints": {HOSTILE: HOSTILE}}
        record_kit(session, WORKER, kit=kit, targets={HOSTILE: HOSTILE}, now=NOW)
        refs = backup.ref, failed.ref, gone.ref
    client = become(site, "operator")
    for path in ("/backups", *(f"/backups/{ref}" for ref in refs), "/"):
        page = client.get(path)
        assert page.status_code == 200, path
        assert_only_our_markup(page.text)
        assert "\u202e" not in page.text, path


@pytest.mark.slow
def test_it_costs_few_questions_and_others_none(site: Site) -> None:
    there = _all_there(site)
    asked: list[str] = []
    sa.event.listen(site.sessions.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    clients = {"owner": site.client("owner"), "operator": become(site, "operator")}
    told_to: dict[str, list[str]] = {}
    for who, path in (("owner", "/mails"), ("operator", "/mails"), ("operator", "/backups"), ("operator", f"/backups/{there['ref']}")):
        clients[who].get(path)
        asked.clear()
        clients[who].get(path)
        told_to[f"{who} {path.partition('/backups/')[0]}"] = [each for each in asked if each.startswith("SELECT")]
    assert not any("alarms" in each for each in told_to["owner /mails"])
    assert len(told_to["operator /mails"]) == len(told_to["owner /mails"]) + 1
    frame = len(told_to["operator /mails"]) - 1
    assert len(told_to["operator /backups"]) - frame <= 7
    assert len(told_to["operator "]) - frame <= 3


@pytest.mark.slow
@pytest.mark.xdist_group("browser")
def test_a_backup_that_was_asked_for_turns_without_a_reload_and_without_losing_what_is_typed(browser: Browser, site: Site) -> None:
    become(site, "operator")
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with serving(site.app) as url, contextlib.closing(context):
        page.goto(f"{url}/backups")
        page.fill("#email", PEOPLE["stranger"])
        page.fill("#password", PASSWORD)
        page.click("main form button")
        page.click("#back-up")
        expect(page.locator("#state")).to_contain_text("A backup was asked for")
        page.evaluate("window.neverReloaded = true")
        page.click("text=Put all of them on hold")
        page.fill("#reason", "typed meanwhile")
        with writing(site) as session:
            make_drill(session, make_backup(session, NOW), NOW)
            plan_chores(session)
        expect(page.locator("h1")).to_contain_text("Every account can be restored.", timeout=10_000)
        expect(page.locator("#state")).not_to_have_attribute("hx-get", re.compile("."))
        expect(page.locator("#lists .bk .st")).to_have_text("Yes")
        assert page.input_value("#reason") == "typed meanwhile"
        assert page.evaluate("window.neverReloaded") is True
        assert complaints == []
