"""Exports and imports as workers make them: whole or not at all, whoever dies; and what plans make reaches its place, or that is told."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions.accounts import token_sha256
from core.actions.export_plans import Planned, make_plan, plan_exports, remove_plan
from core.actions.exports import ask_export, ask_export_of_binned, download_export, take_export, use_link
from core.actions.import_plan import Choices
from core.actions.imports import drop_import, hand_in, want_import
from core.actions.policy import Actor, NotAllowed, Refused
from core.actions.removals import remove_account
from core.exports.check import check
from core.seal import make_identity, recipient_of, unseal
from core.store.db import Sessions
from core.store.exports import Export, ExportPlan, deliveries_due, exports_of, exports_waiting
from core.store.imported import import_by_ref, imports_of, imports_waiting
from core.store.letters import Letter
from jobs.context import Context
from jobs.deliver import deliver
from jobs.exports import export, folder
from jobs.files import sweep_files
from jobs.imports import bring_in, items_of
from jobs.imports import folder as handed_in
from jobs.letters import send_letters
from tests.backups import Yard
from tests.exporting import NAMES, make_rich
from tests.mailed import link
from tests.make import NOW
from tests.people import joined, person, proof

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
MIRA = "mira@example.org"


@dataclass
class Place:
    """An installation's data folder, and its time."""

    sessions: Sessions
    data: Path
    at: datetime = NOW

    @property
    def context(self) -> Context:
        found = Yard(self.sessions, self.data, self.at).context
        return replace(found, public_url="https://keys.example.org")

    def ask(self, actor: Actor, email: str = MIRA, history: str = "all") -> str:
        checked = proof(self.sessions, email)
        with self.sessions.writing() as session:
            return ask_export(session, actor, history=history, checked=checked, now=self.at)

    def work(self) -> None:
        with self.sessions.reading() as session:
            waiting = exports_waiting(session, self.at)
        for each in waiting:
            export(self.context, each)

    def lines(self, actor: Actor) -> list[tuple[str, str]]:
        with self.sessions.reading() as session:
            return [(line.state, line.error) for line in exports_of(session, actor.account_id or 0)]

    def mails(self) -> list[str]:
        before = set((self.data / "outbox").glob("*.eml"))
        send_letters(self.context)
        return [each.read_text() for each in sorted(set((self.data / "outbox").glob("*.eml")) - before)]


@pytest.fixture
def place(sessions: Sessions, tmp_path: Path) -> Place:
    return Place(sessions, tmp_path)


def kinds(sessions: Sessions) -> list[str]:
    with sessions.reading() as session:
        found = session.scalars(sa.select(OutboxEvent.kind).order_by(OutboxEvent.id))
        return [kind for kind in found if kind.startswith(("export", "import", "bundle"))]


def test_an_export_is_made_told_of_and_downloaded_once(place: Place) -> None:
    owner, _ = make_rich(place.sessions)
    with place.sessions.writing() as session:
        max_, _ = joined(session, owner, "other@example.org", "manager")
        viewer, _ = joined(session, owner, "vera@example.org", "viewer")
    with pytest.raises(NotAllowed):
        place.ask(viewer, "vera@example.org")
    ref = place.ask(owner)
    with pytest.raises(Refused, match="being made already"):
        place.ask(max_, "other@example.org")
    place.work()
    file = folder(place.data) / f"{ref}.zip"
    assert check(file).verdict == "genuine"
    assert file.stat().st_mode & 0o077 == 0
    assert [each.name for each in folder(place.data).iterdir()] == [file.name]
    (mail,) = [each for each in place.mails() if "is ready" in each]
    assert "To: mira@example.org" in mail
    sha256 = token_sha256(link(mail, "/exports/get/"))
    with place.sessions.writing() as session:
        for other in (max_, viewer):
            with pytest.raises(Refused, match="somebody else"):
                use_link(session, other, token_sha256=sha256, now=place.at)
        assert use_link(session, owner, token_sha256=sha256, now=place.at).ref == ref
        with pytest.raises(Refused, match="was used"):
            use_link(session, owner, token_sha256=sha256, now=place.at)
    wrong, right = proof(place.sessions, MIRA, "wrong password"), proof(place.sessions, MIRA)
    with place.sessions.writing() as session:
        with pytest.raises(Refused, match="not your password"):
            download_export(session, owner, ref=ref, checked=wrong, now=place.at)
        assert download_export(session, owner, ref=ref, checked=right, now=place.at).ref == ref
    assert kinds(place.sessions) == [
        "export.asked.v1", "bundle_key.published.v1", "export.made.v1", "export.downloaded.v1", "export.downloaded.v1",
    ]  # fmt: skip
    place.at += DAY + HOUR
    sweep_files(place.context)
    assert not file.exists()
    with place.sessions.writing() as session, pytest.raises(Refused, match="not here any more"):
        download_export(session, owner, ref=ref, checked=proof(place.sessions, MIRA), now=place.at)
    assert place.lines(owner) == [("gone", "")]


def test_what_a_worker_died_of_is_begun_anew_and_given_up_in_the_end(place: Place) -> None:
    owner, _ = make_rich(place.sessions)
    place.ask(owner)
    with place.sessions.writing() as session:  # a worker takes it, and is killed
        assert take_export(session, exports_waiting(session, place.at)[0], lease=3 * timedelta(minutes=1), now=place.at) is not None
    with place.sessions.reading() as session:
        assert exports_waiting(session, place.at) == [], "it is in hand"
    (folder(place.data)).write_text("a file where the folder should be")
    for _ in range(2):
        place.at += timedelta(minutes=5)
        place.work()
    assert place.lines(owner)[0][0] == "failed"
    assert "cannot be written" in place.lines(owner)[0][1]
    folder(place.data).unlink()
    place.ask(owner)
    place.work()
    assert [state for state, _ in place.lines(owner)] == ["ready", "failed"]
    for _ in range(8):
        place.at += timedelta(minutes=1)
        place.ask(owner)
        place.work()
    with pytest.raises(Refused, match="in 24 hours"):
        place.ask(owner)


def test_an_account_in_the_bin_is_exported_by_its_owner_alone(place: Place) -> None:
    owner, _ = make_rich(place.sessions)
    with place.sessions.writing() as session:
        eve, _ = person(session, "eve@elsewhere.example")
        session.execute(sa.text("UPDATE memberships SET deleted_at = created_at WHERE role = 'manager'"))
    checked = proof(place.sessions, MIRA)
    with place.sessions.writing() as session:
        assert remove_account(session, owner, checked=checked, now=place.at).account
    place.at += 3 * DAY
    theirs, mine = proof(place.sessions, "eve@elsewhere.example"), proof(place.sessions, MIRA)
    with place.sessions.writing() as session:
        with pytest.raises(Refused, match="not in the bin"):
            ask_export_of_binned(session, eve, ref=owner.account_ref, checked=theirs, now=place.at)
        ref = ask_export_of_binned(session, owner, ref=owner.account_ref, checked=mine, now=place.at)
    place.work()
    assert check(folder(place.data) / f"{ref}.zip").verdict == "genuine"
    (mail,) = [each for each in place.mails() if "is ready" in each]
    with place.sessions.writing() as session:
        row = use_link(session, owner, token_sha256=token_sha256(link(mail, "/exports/get/")), now=place.at)
        assert row.names == len({each.name for each in NAMES})


def plan(place: Place, actor: Actor, kind: str = "mail", address: str = "", **more: str) -> tuple[str, str]:
    checked = proof(place.sessions, MIRA)
    planned = Planned("daily", "all", kind, address, {}, more.get("recipient", ""))
    with place.sessions.writing() as session:
        return make_plan(session, actor, planned=planned, keys=place.context.keys, checked=checked, now=place.at)


def run_plans(place: Place) -> None:
    with place.sessions.writing() as session:
        plan_exports(session, now=place.at)
    place.work()
    with place.sessions.reading() as session:
        due = deliveries_due(session, place.at)
    for each in due:
        deliver(place.context, each)


def test_a_plan_mails_what_only_the_account_s_own_key_opens(place: Place) -> None:
    owner, _ = make_rich(place.sessions)
    identity = make_identity()
    plan(place, owner, recipient=recipient_of(identity))
    run_plans(place)
    (mail,) = [each for each in (place.data / "outbox").glob("*.eml") if b"daily export" in each.read_bytes()]
    message = message_from_bytes(mail.read_bytes(), policy=policy.default)
    (attached,) = message.iter_attachments()
    assert str(attached.get_filename()).endswith(".zip.age")
    (place.data / "sealed").write_bytes(attached.get_content())
    with (place.data / "sealed").open("rb") as sealed, (place.data / "opened.zip").open("wb") as opened:
        unseal(sealed, opened, [identity])
    assert check(place.data / "opened.zip").verdict == "genuine"
    run_plans(place)
    assert len(place.lines(owner)) == 1, "the next one comes tomorrow"
    place.at += DAY
    run_plans(place)
    assert [state for state, _ in place.lines(owner)] == ["ready", "ready"]
    assert kinds(place.sessions)[-1] == "export.delivered.v1"


def test_what_does_not_get_there_is_told_tried_again_and_given_up(place: Place) -> None:
    owner, _ = make_rich(place.sessions)
    ref, secret = plan(place, owner, "webhook", "https://nobody.invalid/in")
    assert secret.startswith("whsec_")
    with place.sessions.reading() as session:
        row = session.scalars(sa.select(ExportPlan)).one()
        assert secret not in row.sealed
        assert "whsec" not in json.dumps([str(value) for value in vars(row).values()])
    run_plans(place)
    state, error = place.lines(owner)[0]
    assert (state, "nobody.invalid" in error or "DNS" in error) == ("ready", True)
    assert told(place) == 2, "owner and manager, once"
    for hours in (1, 6, 12):
        place.at += hours * HOUR
        run_plans(place)
    assert told(place) == 2
    place.at += 2 * DAY
    run_plans(place)
    assert told(place) == 4, "and once more as it is given up"
    with place.sessions.reading() as session:
        row = session.scalars(sa.select(ExportPlan)).one()
        assert (row.failures, deliveries_due(session, place.at)) == (1, [])
    with place.sessions.writing() as session:
        remove_plan(session, owner, ref=ref, now=place.at)
        assert session.scalars(sa.select(ExportPlan.sealed)).one() == ""
    place.at += DAY
    run_plans(place)
    assert len(place.lines(owner)) <= 2


def told(place: Place) -> int:
    with place.sessions.reading() as session:
        rows = session.scalars(sa.select(Letter).where(Letter.kind == "told"))
        return sum(1 for each in rows if "did not get through" in each.words["subject"])


def test_no_plan_reaches_into_our_own_network(place: Place) -> None:
    owner, _ = make_rich(place.sessions)
    plan(place, owner, "webhook", "https://127.0.0.1:8443/")
    run_plans(place)
    assert "127.0.0.1 is not dialled" in place.lines(owner)[0][1]
    with place.sessions.reading() as session:
        assert session.scalars(sa.select(Export.deliver_at)).one() is None, "another try helps nothing"


def test_a_file_is_looked_through_chosen_from_and_applied_by_workers(place: Place) -> None:
    with place.sessions.writing() as session:
        owner, _ = person(session, MIRA)
    handed_in(place.data).mkdir()
    ref = hand(place, owner, b"a.example\nb.example\n10.0.0.1\n")
    look(place)
    path = handed_in(place.data) / ref
    assert [json.loads(line)[:2] for line in items_of(path).read_text().splitlines()] == [
        ["refused", "10.0.0.1"], ["added", "a.example:443"], ["added", "b.example:443"],
    ]  # fmt: skip
    with place.sessions.writing() as session:
        row = import_by_ref(session, owner.account_id or 0, ref)
        assert row is not None
        assert (row.state, row.form, row.summary["added"], row.summary["refused"]) == ("previewed", "list", 2, 1)
        want_import(session, owner, ref=ref, choices=Choices(leave=frozenset({"b.example:443"})), now=place.at)
    look(place)
    look(place)
    with place.sessions.reading() as session:
        (line,) = imports_of(session, owner.account_id or 0)
        assert (line.state, line.summary["added"], line.summary["skipped"]) == ("applied", 1, 1)
    for each in (path, items_of(path)):
        os.utime(each, (place.at.timestamp(), place.at.timestamp()))
    place.at += 2 * DAY
    sweep_files(place.context)
    assert (path.exists(), items_of(path).exists()) == (False, True)
    assert kinds(place.sessions) == ["import.handed_in.v1", "import.wanted.v1", "import.applied.v1"]


def test_a_file_that_is_none_is_told_why_and_one_that_is_gone_too(place: Place) -> None:
    with place.sessions.writing() as session:
        owner, _ = person(session, MIRA)
    handed_in(place.data).mkdir()
    bad = hand(place, owner, b"PK\x03\x04 nonsense")
    gone = hand(place, owner, b"a.example")
    (handed_in(place.data) / gone).unlink()
    look(place)
    with place.sessions.writing() as session:
        errors = {line.ref: (line.state, line.error) for line in imports_of(session, owner.account_id or 0)}
        assert errors[bad][0] == errors[gone][0] == "refused"
        assert "no ZIP file" in errors[bad][1]
        assert "Hand it in again" in errors[gone][1]
        drop_import(session, owner, ref=bad, now=place.at)
        assert [line.ref for line in imports_of(session, owner.account_id or 0)] == [gone]


def hand(place: Place, actor: Actor, content: bytes) -> str:
    with place.sessions.writing() as session:
        ref = hand_in(session, actor, name="list", size=len(content), sha256="0" * 64, now=place.at)
    (handed_in(place.data) / ref).write_bytes(content)
    return ref


def look(place: Place) -> None:
    with place.sessions.reading() as session:
        waiting = imports_waiting(session, place.at)
    for each in waiting:
        bring_in(place.context, each)


def test_a_plan_mails_nobody_who_may_not_export_any_more(place: Place) -> None:
    owner, _ = make_rich(place.sessions)
    with place.sessions.writing() as session:
        other, _ = joined(session, owner, "other@example.org", "owner")
    plan(place, owner)
    run_plans(place)
    assert place.lines(owner)[0] == ("ready", "")
    with place.sessions.writing() as session:
        session.execute(sa.text("UPDATE memberships SET role = 'viewer' WHERE user_id = :id").bindparams(id=owner.user_id))
    place.at += DAY
    run_plans(place)
    assert "may not export any more" in place.lines(other)[0][1]
    assert len([each for each in (place.data / "outbox").glob("*.eml") if b"daily export" in each.read_bytes()]) == 1


def test_sealed_copies_go_with_their_file_and_all_tries_bring_the_same(place: Place) -> None:
    owner, _ = make_rich(place.sessions)
    checked = proof(place.sessions, MIRA)
    planned = Planned("daily", "all", "webhook", "https://nobody.invalid/", {}, recipient_of(make_identity()))
    with place.sessions.writing() as session:
        make_plan(session, owner, planned=planned, keys=place.context.keys, checked=checked, now=place.at)
    run_plans(place)
    (sealed,) = folder(place.data).glob("*.age")
    before = sealed.read_bytes()
    place.at += HOUR
    run_plans(place)
    assert sealed.read_bytes() == before
    place.at += 3 * DAY
    run_plans(place)
    place.at += HOUR
    sweep_files(place.context)
    assert not sealed.exists()


def test_what_kills_its_worker_each_time_is_given_up(place: Place) -> None:
    owner, _ = make_rich(place.sessions)
    place.ask(owner)
    for _ in range(3):
        with place.sessions.writing() as session:
            assert take_export(session, exports_waiting(session, place.at)[0], lease=HOUR, now=place.at) is not None
        place.at += 2 * HOUR
    place.work()
    assert place.lines(owner) == [("failed", "Its worker died each time that it was begun.")]
