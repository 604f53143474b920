"""Notes, tags and responsible people: kept with the name, counted, told once, all or nothing, and nobody undoes another unknowingly."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.tables import OutboxEvent
from core.actions import team
from core.actions.cards import NOBODY, Bulk, ChangedMeanwhile, Typed, edit_card, edit_domains
from core.actions.domains import remove_watches, restore_watches
from core.actions.policy import Actor, NotAllowed, Refused
from core.actions.tags import read_note, read_tags
from core.store.cards import BLANK, Written, holders, tags_counted, written_on
from core.store.db import Sessions
from core.store.letters import Letter
from core.store.watches import Watch
from tests.make import NOW, make_watches
from tests.people import joined, person

MIRA, MAX = "mira@example.org", "max@example.org"


def names(session: Session, actor: Actor, *listed: str) -> list[str]:
    return [added.ref for added in make_watches(session, actor, *listed)]


def two(sessions: Sessions, *listed: str) -> tuple[Actor, Actor, list[str]]:
    """An owner, a manager beside them, and names."""
    with sessions.writing() as session:
        owner, _ = person(session, MIRA)
        return owner, joined(session, owner, MAX, "manager")[0], names(session, owner, *listed)


def card(sessions: Sessions, ref: str) -> Written:
    with sessions.reading() as session:
        domain_id = session.scalars(sa.select(Watch.domain_id).where(Watch.ref == ref)).one()
        return written_on(session, [domain_id])[domain_id]


def write(sessions: Sessions, actor: Actor, ref: str, note: str = "", tags: str = "", who: str = "", version: int = 0) -> bool | None:
    with sessions.writing() as session:
        return edit_card(session, actor, ref=ref, typed=Typed(note, tags, who, version), now=NOW)


def bulk(sessions: Sessions, actor: Actor, refs: list[str], **what: str) -> tuple[int, int, int, int, int, str]:
    with sessions.writing() as session:
        done = edit_domains(session, actor, refs=refs, bulk=Bulk(**what), now=NOW)
    return done.names, done.changed, done.tagged, done.untagged, done.moved, done.to


def told(sessions: Sessions) -> list[tuple[str, str, str]]:
    with sessions.reading() as session:
        query = sa.select(Letter).where(Letter.kind == "told").order_by(Letter.id)
        return [(each.email, each.words["subject"], each.words["text"]) for each in session.scalars(query)]


def events(sessions: Sessions) -> list[tuple[dict[str, object], dict[str, object]]]:
    with sessions.reading() as session:
        found = session.scalars(sa.select(OutboxEvent).where(OutboxEvent.kind == "domains.edited.v1").order_by(OutboxEvent.id))
        return [(dict(each.public), dict(each.private)) for each in found]


@pytest.mark.slow
def test_a_name_bears_what_is_written_through_the_bin_for_all_its_ports_and_for_its_account_alone(sessions: Sessions) -> None:
    owner, other, (ref, port, plain) = two(sessions, "a.example", "a.example:8443", "b.example")
    with sessions.writing() as session:
        stranger, _ = person(session, "eve@elsewhere.example")
        (theirs,) = names(session, stranger, "a.example")
    assert write(sessions, owner, ref, " one\r\n\r\ntwo ", "Shop, team:web,shop,", other.user_ref) is True
    written = Written("one\n\ntwo", ("shop", "team:web"), MAX, other.user_ref, left=False, version=1, by=MIRA)
    assert card(sessions, ref) == card(sessions, port) == written
    assert card(sessions, plain) == card(sessions, theirs) == BLANK
    assert write(sessions, stranger, ref, "mine") is None, "a stranger's name is none"
    with pytest.raises(Refused, match="does not belong to this account"):
        write(sessions, owner, plain, who=stranger.user_ref)
    with pytest.raises(NotAllowed):
        write(sessions, replace(other, role="viewer"), plain, "x")
    for removed, count in (([ref], 1), ([port], 0)):
        with sessions.writing() as session:
            remove_watches(session, owner, refs=removed, now=NOW)
            assert dict(tags_counted(session, owner.account_id or 0)) == ({"shop": 1, "team:web": 1} if count else {})
            assert sum(each.names for each in holders(session, owner.account_id or 0)) == count
    with sessions.writing() as session:
        restore_watches(session, owner, refs=[ref], now=NOW)
    with sessions.writing() as session:
        make_watches(session, owner, "a.example:8443")
        assert dict(tags_counted(session, owner.account_id or 0)) == {"shop": 1, "team:web": 1}
        assert tags_counted(session, stranger.account_id or 0) == ()
    assert card(sessions, ref) == written
    assert write(sessions, other, ref, tags="team:web", version=1) is True
    assert card(sessions, ref) == Written("", ("team:web",), "", "", left=False, version=2, by=MAX)
    private = {"added": "shop, team:web", "taken": "", "note": True, "responsible": other.user_ref}
    assert events(sessions) == [
        ({"names": 1}, private), ({"names": 1}, {"added": "", "taken": "shop", "note": True, "responsible": ""}),
    ]  # fmt: skip


def test_who_writes_on_something_older_is_told_what_stands_there_also_in_the_same_moment(sessions: Sessions) -> None:
    owner, other, (ref,) = two(sessions, "a.example")
    start = threading.Barrier(2)
    outcomes: list[object] = []

    def go(actor: Actor, note: str) -> None:
        start.wait(10)
        try:
            outcomes.append(write(sessions, actor, ref, note))
        except ChangedMeanwhile as changed:
            outcomes.append((changed.now.note, changed.now.by, changed.now.version))

    threads = [threading.Thread(target=go, args=each) for each in ((owner, "Mira's"), (other, "Max's"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    stands = card(sessions, ref)
    assert True in outcomes
    assert (stands.note, stands.by, 1) in outcomes
    assert write(sessions, owner, ref, stands.note) is False, "what stands there already is no conflict, and no act"
    with pytest.raises(ChangedMeanwhile):
        write(sessions, owner, ref, "again")
    assert write(sessions, owner, ref, "again", version=1) is True
    assert len(events(sessions)) == 2


@pytest.mark.slow
def test_many_at_once_are_one_act_one_event_and_one_mail(sessions: Sessions) -> None:
    owner, other, refs = two(sessions, *(f"n{number}.example" for number in range(300)))
    assert bulk(sessions, owner, refs, add="Shop", responsible=other.user_ref) == (300, 300, 300, 0, 300, MAX)
    assert events(sessions) == [({"names": 300}, {"added": "shop", "taken": "", "responsible": other.user_ref})]
    ((to, subject, text),) = told(sessions)
    assert (to, subject.partition(" of ")[0]) == (MAX, "You are responsible for 300 names")
    assert text.startswith(f"{MIRA} made you responsible for n0.example, ")
    assert "and 290 more" in text
    assert bulk(sessions, owner, refs, add="shop", responsible=other.user_ref) == (300, 0, 0, 0, 0, MAX)
    assert bulk(sessions, owner, refs[:2], take="shop", responsible=NOBODY) == (2, 2, 0, 2, 2, "")
    assert bulk(sessions, owner, refs[:3], add="shop") == (3, 2, 2, 0, 0, "")
    assert bulk(sessions, owner, refs[:2], responsible=owner.user_ref)[4] == 2
    assert len(told(sessions)) == 1, "neither who did it nor nobody is told"
    assert write(sessions, owner, refs[0], tags="shop", who=other.user_ref, version=4) is True
    assert told(sessions)[1][1].startswith("You are responsible for n0.example of ")
    assert [public["names"] for public, _ in events(sessions)] == [300, 2, 2, 2, 1]


@pytest.mark.slow
def test_all_or_nothing(sessions: Sessions) -> None:
    owner, other, (a, b) = two(sessions, "a.example", "b.example")
    with sessions.writing() as session:
        stranger, _ = person(session, "eve@elsewhere.example")
        (theirs,) = names(session, stranger, "c.example")
    write(sessions, owner, b, tags=", ".join(f"t{number}" for number in range(12)))
    for refs, what, words in (
        ([a, b], {"add": "more", "responsible": other.user_ref}, "b.example would have 13 tags, and 12 fit. Nothing was changed"),
        ([a, theirs], {"add": "more"}, "Not every name that was ticked is still watched. Nothing was changed"),
        ([a], {"add": "more", "responsible": stranger.user_ref}, "does not belong to this account any more. Nothing was changed"),
        ([a], {"add": "no<"}, r"The tag holds U\+003C \(LESS-THAN SIGN\)"),
        ([a], {"add": "x", "take": "X"}, "The same tag"),
        ([a], {}, "Nothing was to be done"),
        ([], {"add": "x"}, "Nothing was selected"),
        ([f"r{number}" for number in range(1_001)], {"add": "x"}, "At most 1,000 names"),
    ):
        with pytest.raises(Refused, match=words):
            bulk(sessions, owner, refs, **what)
    with pytest.raises(NotAllowed):
        bulk(sessions, replace(other, role="viewer"), [a], add="x")
    assert card(sessions, a) == card(sessions, theirs) == BLANK
    assert (len(events(sessions)), told(sessions)) == (1, [])
    assert bulk(sessions, owner, [a, b], take="t1", add="more")[:4] == (2, 2, 2, 1)


@pytest.mark.slow
def test_names_of_who_left_are_orphans_until_they_are_back(sessions: Sessions) -> None:
    owner, other, (a, b) = two(sessions, "a.example", "b.example")
    bulk(sessions, owner, [a, b], responsible=other.user_ref)
    with sessions.writing() as session:
        team.remove_member(session, owner, user_ref=other.user_ref, now=NOW)
        assert [(each.ref, each.left, each.names) for each in holders(session, owner.account_id or 0)] == [(other.user_ref, True, 2)]
    assert (card(sessions, a).left, card(sessions, a).responsible) == (True, MAX)
    assert write(sessions, owner, a, "a note", who=other.user_ref, version=1) is True, "a note is written without choosing anew"
    with pytest.raises(Refused, match="does not belong"):
        bulk(sessions, owner, [b], responsible=other.user_ref)
    with sessions.writing() as session:
        team.restore_member(session, owner, user_ref=other.user_ref, now=NOW)
    assert not card(sessions, a).left
    with sessions.writing() as session:
        session.execute(sa.text("UPDATE users SET deleted_at = :at WHERE email = :email"), {"at": NOW.replace(tzinfo=None), "email": MAX})
    assert (card(sessions, a).left, card(sessions, a).responsible, card(sessions, a).responsible_ref) == (True, "", other.user_ref)


@pytest.mark.parametrize(
    ("typed", "tags"),
    [
        ("", ()), (" , ;\n", ()), ("  Two   Words ,x", ("two words", "x")), ("BÜCHER,bu\u0308cher", ("bücher",)), ("a-_.:/b", ("a-_.:/b",)),
        ("x" * 32, ("x" * 32,)), ("2026", ("2026",)), ("हिन्दी,日本語,שלום", ("हिन्दी", "日本語", "שלום")),
    ],
)  # fmt: skip
def test_tags_as_people_type_them(typed: str, tags: tuple[str, ...]) -> None:
    assert read_tags(typed) == tags


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("ok,<b>", r"Tag 2 holds U\+003C"), ("x" * 33, "33 characters"), ("a\u202eb", r"U\+202E \(RIGHT-TO-LEFT"), ("\u3164", r"U\+3164"),
        ("a\tb", r"U\+0009"), ("-", "neither a letter nor a digit"), ("e" + "\u0301\u0302\u0303\u0304", r"U\+0304"),
        ("=1+1", r"U\+003D"),
        ("\U0001f600", r"U\+1F600"), ("a\u00a0b", r"U\+00A0"), ("\0", r"U\+0000"), ("\u0301", r"neither|U\+0301"),
    ],
)  # fmt: skip
def test_what_is_no_tag_is_refused_without_being_repeated(typed: str, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        read_tags(typed)
    assert refused.value.field == "tags"
    assert str(refused.value).isascii()


def test_a_note_keeps_its_lines_and_is_no_longer_than_what_fits() -> None:
    assert read_note("\r\n a\rb\n\nc \n") == "a\nb\n\nc"
    assert len(read_note("ü\r\n" * 1_000 + "  ")) == 1_999
    for typed, words in (("x" * 2_001, "has 2,001 characters"), ("a\0", r"U\+0000"), ("a\ud800", r"U\+D800")):
        with pytest.raises(Refused, match=words):
            read_note(typed)
