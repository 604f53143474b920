"""A file brought into an account: what it would do is what it does, nothing is lost by it, and it can be undone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.cards import Typed, edit_card
from core.actions.domains import remove_watches
from core.actions.import_plan import Choices, Item
from core.actions.import_work import apply_wanted, for_whom, preview_import, record_preview, take_import
from core.actions.imports import drop_import, hand_in, look_through, undo_import, want_import
from core.actions.own_account import rename_account, set_factor_rule
from core.actions.policy import Actor, NotAllowed, Refused
from core.exports.content import open_content
from core.store.account_rules import factor_required
from core.store.accounts import Account, Membership
from core.store.cards import Written, written_on
from core.store.db import Sessions
from core.store.endpoints import Endpoint
from core.store.erase import purge_imports
from core.store.factors import Factor
from core.store.imported import brought_of, import_by_ref, incidents_brought_of
from core.store.imports import Import, ImportChange, ImportedObservation, ImportedPerson
from core.store.observations import Certificate, Observation
from core.store.watches import Watch
from tests.bundles import OTHER, changed, with_more
from tests.exporting import KEY, NAMES, NOTES, bring_in, export, make_rich, members, values, write_card
from tests.make import NOW, make_watches
from tests.people import joined, person

DAY = timedelta(days=1)
WORKER = Actor(worker=True)


def card(session: Session, actor: Actor, name: str) -> Written:
    domain_id = session.scalars(sa.select(Watch.domain_id).where(Watch.account_id == actor.account_id, Watch.name == name).limit(1)).one()
    return written_on(session, [domain_id])[domain_id]


def live(session: Session, actor: Actor) -> set[str]:
    return set(session.scalars(sa.select(Watch.name).where(Watch.account_id == actor.account_id, Watch.deleted_at.is_(None))))


def look(sessions: Sessions, actor: Actor, path: Path, **chosen: object) -> list[Item]:
    with open_content(path, own_vkeys=[KEY.vkey]) as content, sessions.reading() as session:
        return look_through(session, actor, content, Choices(**chosen), now=NOW + DAY).plan.items  # type: ignore[arg-type]


def why(items: list[Item], name: str) -> tuple[str, str]:
    found = next(item for item in items if item.name.startswith(name))
    return found.outcome, found.why


def csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("name,port,starttls,note,tags,responsible", *lines)) + "\n")
    return path


def test_what_is_here_stays_unless_its_person_says_otherwise(sessions: Sessions, tmp_path: Path) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        joined(session, owner, "max@example.org", "manager")
        make_watches(session, owner, "here.example", "same.example", "binned.example", "left.example")
        write_card(session, owner, "here.example", "Mine.", "old")
        binned = session.scalars(sa.select(Watch.ref).where(Watch.name == "binned.example")).one()
        remove_watches(session, owner, refs=[binned], now=NOW)
    path = csv(
        tmp_path / "list.csv", 'here.example,443,,Theirs.,"new, old",max@example.org', "same.example,443,,,,", "binned.example,443,,,,",
        "fresh.example,443,,=1+1,t,gone@example.org", "left.example,443,,Note.,,", "10.0.0.1,443,,,,", "toomany.example,443,,n,a\x01b,",
    )  # fmt: skip
    items = look(sessions, owner, path, leave=frozenset({"left.example:443"}))
    assert why(items, "here.example") == (
        "changed", "Its note differs, and the one here stays. Tags: new. Responsible: max@example.org.",
    )  # fmt: skip
    assert why(items, "same.example")[0] == "skipped"
    assert why(items, "binned.example") == ("added", "It comes back from the bin with its history.")
    assert why(items, "fresh.example") == ("added", "It is new here. Its note comes along. Tags: t. Responsible: gone@example.org.")
    assert why(items, "left.example") == ("skipped", "You left it out.")
    assert why(items, "10.0.0.1") == (
        "refused",
        "Line 7: This is an IP address, or would be read as one. Names are watched here: write the name that it serves.",
    )
    assert why(items, "toomany.example")[1].endswith("One of its tags is none that can be used here, and is left out.")
    with sessions.reading() as session:
        assert live(session, owner) == {"here.example", "same.example", "left.example"}, "looking changes nothing"

    ref, done = bring_in(sessions, owner, path, now=NOW + DAY, leave=frozenset({"left.example:443"}))
    assert done.plan.counts == {"added": 3, "changed": 1, "skipped": 2, "refused": 1}
    with sessions.reading() as session:
        assert live(session, owner) == {
            "here.example",
            "same.example",
            "left.example",
            "binned.example",
            "fresh.example",
            "toomany.example",
        }
        assert card(session, owner, "here.example").note == "Mine."
        assert card(session, owner, "here.example").tags == ("new", "old")
        assert card(session, owner, "here.example").responsible == "max@example.org"
        assert card(session, owner, "fresh.example").note == "=1+1"
        assert session.scalars(sa.select(ImportedPerson.email)).all() == ["gone@example.org"]
        assert card(session, owner, "left.example").note == ""
    assert why(look(sessions, owner, path, theirs=True), "here.example") == ("changed", "Its note replaces the one here.")

    with sessions.writing() as session:  # somebody writes on one of them
        write_card_again(session, owner, "fresh.example", "Written since.")
        undone = undo_import(session, owner, ref=ref, now=NOW + 2 * DAY)
        assert (undone.names, undone.cards, undone.kept) == (3, 2, 1)
    with sessions.reading() as session:
        assert live(session, owner) == {"here.example", "same.example", "left.example"}
        assert card(session, owner, "here.example") == Written("Mine.", ("old",), version=3, by="mira@example.org")
        assert card(session, owner, "fresh.example").note == "Written since."
        assert session.scalar(sa.select(sa.func.count()).where(ImportedPerson.deleted_at.is_(None))) == 0
    with sessions.writing() as session, pytest.raises(Refused, match="applied already"):
        undo_import(session, owner, ref=ref, now=NOW + 2 * DAY)
    _, again = bring_in(sessions, owner, path, now=NOW + 3 * DAY)
    assert again.plan.counts["added"] == 3


def write_card_again(session: Session, actor: Actor, name: str, note: str) -> None:
    ref = session.scalars(sa.select(Watch.ref).where(Watch.account_id == actor.account_id, Watch.name == name)).one()
    edit_card(session, actor, ref=ref, typed=Typed(note, "t", "", card(session, actor, name).version), now=NOW + DAY)


def test_history_is_the_account_s_own_and_goes_with_the_undoing(sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    export(sessions, owner, tmp_path / "a.zip", now=NOW + DAY)
    with sessions.writing() as session:
        eve, _ = person(session, "eve@elsewhere.example")
    shared = counts(sessions)
    ref, done = bring_in(sessions, eve, tmp_path / "a.zip", now=NOW + DAY)
    assert done.history is not None
    lines = len(values(members(tmp_path / "a.zip")["observations.jsonl"]))
    assert (done.history.observations, done.history.here, done.history.left_out) == (lines, 0, 0)
    assert counts(sessions) == shared, "nothing that a bundle claims was seen is written to what is shared"
    with sessions.reading() as session:
        shown, all_of_them = brought_of(session, eve.account_id or 0, NAMES[0].key, most=2)
        assert (len(shown), all_of_them > 2) == (2, True)
        assert shown[0].seen_at > shown[1].seen_at - DAY
        assert brought_of(session, owner.account_id or 0, NAMES[0].key, most=2) == ((), 0)
        assert [each.message for each in incidents_brought_of(session, eve.account_id or 0, NAMES[0].key, most=9)]
        assert incidents_brought_of(session, owner.account_id or 0, NAMES[0].key, most=9) == ()
        assert card(session, eve, "www.harbour.example").note == NOTES["www.harbour.example"]
        assert set(session.scalars(sa.select(ImportedPerson.email))) == {"max.mira@example.org"}
    with sessions.writing() as session:
        undone = undo_import(session, eve, ref=ref, now=NOW + 2 * DAY)
        assert (undone.names, undone.lines >= lines) == (len(NAMES), True)
        assert session.scalar(sa.select(sa.func.count()).where(ImportedObservation.deleted_at.is_(None))) == 0
    _, again = bring_in(sessions, owner, tmp_path / "a.zip", now=NOW + 3 * DAY)
    assert again.history is not None
    assert (again.history.observations, again.history.here > 0) == (0, True), "what it sees itself is not brought in again"


def counts(sessions: Sessions) -> tuple[int, ...]:
    with sessions.reading() as session:
        return tuple(session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in (Observation, Certificate, Endpoint))


def test_whoever_joins_is_responsible_for_what_a_file_said(sessions: Sessions, tmp_path: Path) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
    bring_in(sessions, owner, csv(tmp_path / "a.csv", "a.example,443,,,,Max@Example.org", "b.example,443,,,,eve@example.org"))
    with sessions.writing() as session:
        joined(session, owner, "max@example.org", "viewer")
        assert card(session, owner, "a.example").responsible == "max@example.org"
        assert card(session, owner, "b.example").responsible == ""


def test_undoing_brings_back_who_an_earlier_file_said_is_responsible(sessions: Sessions, tmp_path: Path) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
    bring_in(sessions, owner, csv(tmp_path / "a.csv", *(f"{name}.example,443,,,,eve@example.org" for name in "ab")))
    theirs = csv(tmp_path / "b.csv", *(f"{name}.example,443,,,,max@example.org" for name in "abc"))
    ref, _ = bring_in(sessions, owner, theirs, now=NOW + DAY, theirs=True)
    with sessions.writing() as session:
        write_card_again(session, owner, "b.example", "Written since.")
    with sessions.writing() as session:
        undone = undo_import(session, owner, ref=ref, now=NOW + 2 * DAY)
    assert (undone.names, undone.cards, undone.kept) == (1, 2, 1)
    with sessions.reading() as session:
        said = sa.select(Watch.name, ImportedPerson.email).join(Watch, Watch.domain_id == ImportedPerson.domain_id)
        found = dict(session.execute(said.where(ImportedPerson.deleted_at.is_(None))).all())
    assert found == {"a.example": "eve@example.org"}, "who wrote on b's card since decided for it"


def test_roles_owners_and_references_in_a_file_are_nobody_s(sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    export(sessions, owner, tmp_path / "a.zip", now=NOW + DAY)
    eves = (
        members(tmp_path / "a.zip")["members.jsonl"]
        .replace(b"max.mira@example.org", b"eve@elsewhere.example")
        .replace(b'"manager"', b'"owner"')
    )
    bad = changed(
        tmp_path / "a.zip", tmp_path / "b.zip", {"members.jsonl": eves}, manifest={"account": {"ref": owner.account_ref, "name": "x"}}
    )
    with sessions.writing() as session:
        eve, _ = person(session, "eve@elsewhere.example")
        bob, _ = person(session, "bob@elsewhere.example")
    _, done = bring_in(sessions, bob, bad)
    assert any(each.startswith("It lists 2 people with a role. Nobody is let in by a file") for each in done.told)
    with sessions.reading() as session:
        assert for_whom_role(session, eve) == {eve.account_id: "owner"}
        assert live(session, owner) == {each.name for each in NAMES}


def for_whom_role(session: Session, actor: Actor) -> dict[int | None, str]:
    return dict(session.execute(sa.select(Membership.account_id, Membership.role).where(Membership.user_id == actor.user_id)).all())


def test_what_no_export_has_is_ignored_and_told_and_the_rest_comes_back_whole(sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    export(sessions, owner, tmp_path / "good.zip")
    path = with_more(tmp_path / "good.zip", tmp_path / "more.zip")
    with sessions.writing() as session:
        ivy, _ = person(session, "ivy@example.org")
    _, done = bring_in(sessions, ivy, path, now=NOW + DAY)
    assert [each for each in done.told if "ignored" in each] == [
        "Its member manifest.json has fields that no export has, which are ignored: owner.",
        "It has a member log.jsonl that no export has. It is ignored.",
        "Its member domains.jsonl has fields that no export has, which are ignored: account_ref, role.",
        "Its member observations.jsonl has fields that no export has, which are ignored: endpoint_id.",
    ]
    export(sessions, ivy, tmp_path / "again.zip", now=NOW + DAY)
    before, after = members(tmp_path / "good.zip"), members(tmp_path / "again.zip")
    assert after.keys() == before.keys()
    assert all(after[each] == before[each] for each in ("observations.jsonl", "incidents.jsonl", "chains.jsonl", "certificates.jsonl"))


def test_what_nobody_vouches_for_needs_a_word(sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    export(sessions, owner, tmp_path / "a.zip")
    foreign = changed(tmp_path / "a.zip", tmp_path / "b.zip", key=OTHER)
    with pytest.raises(Refused, match="Nobody here vouches"):
        bring_in(sessions, owner, foreign)
    assert bring_in(sessions, owner, foreign, trusted=True)[1].plan.counts["skipped"] == len(NAMES)


def test_the_name_is_its_owners_to_change_and_a_factor_is_asked_only_on_purpose(sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    with sessions.writing() as session:
        rename_account(session, owner, name="Harbour", now=NOW)
    export(sessions, owner, tmp_path / "a.zip")
    with sessions.writing() as session:
        other, _ = person(session, "new@example.org")
        manager, _ = joined(session, other, "may@example.org", "manager")
    _, done = bring_in(sessions, manager, tmp_path / "a.zip")
    assert any("its owners' to change" in each for each in done.told)
    ref, _ = bring_in(sessions, other, tmp_path / "a.zip")
    with sessions.writing() as session:
        account = session.scalars(sa.text("SELECT name FROM accounts WHERE id = :id").bindparams(id=other.account_id)).one()
        assert account == "Harbour"
        undo_import(session, other, ref=ref, now=NOW + DAY)
        assert session.scalars(sa.text("SELECT name FROM accounts WHERE id = :id").bindparams(id=other.account_id)).one() != "Harbour"


def test_a_manager_gets_no_more_by_an_owner_s_file(sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    with sessions.writing() as session:
        rename_account(session, owner, name="Harbour", now=NOW)
        set_factor_rule(session, owner, on=True, now=NOW)
    export(sessions, owner, tmp_path / "a.zip")
    with sessions.writing() as session:
        other, _ = person(session, "new@example.org")
        manager, _ = joined(session, other, "may@example.org", "manager")
    with sessions.writing() as session:
        ref = hand_in(session, other, name="a.zip", size=1, sha256="0" * 64, now=NOW)
        row = import_by_ref(session, other.account_id or 0, ref)
        assert row is not None
        row.state = "previewed"
        want_import(session, manager, ref=ref, choices=Choices(factor=True), now=NOW)
        assert for_whom(session, row).role == "manager", "it is applied as far as who chose may"
        session.rollback()

    ref, done = bring_in(sessions, other, tmp_path / "a.zip", factor=True)
    assert any("of your own" in each for each in done.told), "nobody locks themselves out"
    with sessions.writing() as session:
        assert not factor_required(session, other.account_id or 0)
        undone = undo_import(session, manager, ref=ref, now=NOW)
        assert undone.told == ("The account's name is its owners' to change, and stays as it is.",)
        assert session.get_one(Account, other.account_id).name == "Harbour"
        session.add(Factor(ref="f" * 16, user_id=other.user_id, kind="totp", sealed="x", created_at=NOW, confirmed_at=NOW))
    ref, _ = bring_in(sessions, other, tmp_path / "a.zip", factor=True)
    with sessions.writing() as session:
        assert factor_required(session, other.account_id or 0)
        assert "still asks" in undo_import(session, other, ref=ref, now=NOW).told[0]
        assert factor_required(session, other.account_id or 0), "it is ended by who proves that it is them"


def test_viewers_and_who_left_bring_nothing_in(sessions: Sessions, tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", "a.example,443,,,,")
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        viewer, _ = joined(session, owner, "vera@example.org", "viewer")
        manager, _ = joined(session, owner, "max@example.org", "manager")
        with pytest.raises(NotAllowed):
            hand_in(session, viewer, name="x", size=1, sha256="0" * 64, now=NOW)
        ref = hand_in(session, manager, name="a\u202eb.csv", size=1, sha256="0" * 64, now=NOW)
        row_id = session.scalars(sa.select(Import.id)).one()
        row = take_import(session, row_id, lease=DAY, now=NOW)
        assert row is not None
        assert take_import(session, row_id, lease=DAY, now=NOW) is None, "another worker has it"
        with open_content(path, own_vkeys=()) as content:
            preview = preview_import(session, row, content, now=NOW)
            assert record_preview(session, WORKER, row, content, preview)
            want_import(session, manager, ref=ref, choices=Choices(), now=NOW)
            row = take_import(session, row_id, lease=DAY, now=NOW)
            assert row is not None
            session.execute(sa.text("UPDATE memberships SET deleted_at = created_at WHERE user_id = :id").bindparams(id=manager.user_id))
            with pytest.raises(NotAllowed, match="does not belong"):
                apply_wanted(session, row, content, allowed_accounts=(), now=NOW)
        assert live(session, owner) == set()
        with pytest.raises(Refused):
            drop_import(session, owner, ref=ref, now=NOW)
        with pytest.raises(NotAllowed):
            for_whom(session, row)


def test_an_undoing_ends_after_thirty_days(sessions: Sessions, tmp_path: Path) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
    ref, _ = bring_in(sessions, owner, csv(tmp_path / "a.csv", "a.example,443,,,,"))
    with sessions.writing() as session:
        with pytest.raises(Refused, match="30 days"):
            undo_import(session, owner, ref=ref, now=NOW + 31 * DAY)
        assert import_by_ref(session, owner.account_id or 0, ref) is not None
        assert live(session, owner) == {"a.example"}


def test_what_was_undone_goes_for_good_after_thirty_days_and_nothing_else_does(sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    export(sessions, owner, tmp_path / "a.zip", now=NOW + DAY)
    with sessions.writing() as session:
        eve, _ = person(session, "eve@elsewhere.example")
        bob, _ = person(session, "bob@elsewhere.example")
    bring_in(sessions, bob, tmp_path / "a.zip", now=NOW + DAY)
    ref, done = bring_in(sessions, eve, tmp_path / "a.zip", now=NOW + DAY)
    assert done.history is not None
    with sessions.writing() as session:
        undo_import(session, eve, ref=ref, now=NOW + 2 * DAY)
        before = session.scalar(sa.select(sa.func.count()).select_from(ImportedObservation)) or 0
        purge_imports(session, NOW + 32 * DAY - 31 * DAY)
        assert session.scalar(sa.select(sa.func.count()).select_from(ImportedObservation)) == before
        assert session.scalar(sa.select(sa.func.count()).select_from(ImportChange))
        purge_imports(session, NOW + 40 * DAY)
        assert session.scalar(sa.select(sa.func.count()).select_from(ImportedObservation)) == before - done.history.observations
        assert session.scalar(sa.select(sa.func.count()).select_from(ImportChange)) == 0
