"""Large removals: proof, a second person, once, and nobody round it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.tables import OutboxEvent
from core.actions import removals, team
from core.actions.policy import Actor, NotAllowed, Refused
from core.store.approvals import Approval, decided, waiting, waiting_for
from core.store.db import Sessions
from core.store.letters import Letter
from core.store.watches import Watch
from tests.make import NOW, make_watches
from tests.people import joined, person, proof

DAY = timedelta(days=1)
MIRA, MAX = "mira@example.org", "max@example.org"


def names(session: Session, actor: Actor, count: int) -> list[str]:
    return [added.ref for added in make_watches(session, actor, *(f"n{number}.example.org" for number in range(count)), now=NOW)]


def live(sessions: Sessions) -> int:
    with sessions.reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(Watch).where(Watch.deleted_at.is_(None))) or 0


def two(sessions: Sessions, count: int, role: str = "manager") -> tuple[Actor, Actor, list[str]]:
    """An owner, somebody else in the account, and the names in it."""
    with sessions.writing() as session:
        owner, _ = person(session, MIRA)
        other, _ = joined(session, owner, MAX, role)
        return owner, other, names(session, owner, count)


def asked(sessions: Sessions, owner: Actor, refs: list[str]) -> str:
    checked = proof(sessions, MIRA)
    with sessions.writing() as session:
        assert removals.remove_names(session, owner, refs=refs, checked=checked, now=NOW) == removals.Removal(waiting=len(refs))
        (each,) = waiting(session, owner.account_id or 0, owner.user_id or 0, NOW)
        return each.ref


def test_twenty_five_go_at_once_and_one_more_needs_proof(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, MIRA)
        refs = names(session, owner, 51)
    with sessions.writing() as session:
        assert removals.remove_names(session, owner, refs=refs[:25], checked=None, now=NOW).removed == 25
    with pytest.raises(removals.ProofNeeded) as needed, sessions.writing() as session:
        removals.remove_names(session, owner, refs=refs[25:], checked=None, now=NOW)
    assert needed.value.names == 26
    wrong, right = proof(sessions, MIRA, "not this one at all"), proof(sessions, MIRA)
    with pytest.raises(Refused, match="not your password"), sessions.writing() as session:
        removals.remove_names(session, owner, refs=refs[25:], checked=wrong, now=NOW)
    assert live(sessions) == 26
    with sessions.writing() as session:
        assert removals.remove_names(session, owner, refs=refs[25:], checked=right, now=NOW).removed == 26, "there is nobody else to ask"
    assert live(sessions) == 0


def test_another_s_proof_is_none(sessions: Sessions) -> None:
    owner, _, refs = two(sessions, 26)
    theirs = proof(sessions, MAX)
    with sessions.writing() as session:
        session.execute(sa.text("UPDATE users SET password_hash = 'x' WHERE email = :email"), {"email": MIRA})
    with pytest.raises(Refused, match="not your password"), sessions.writing() as session:
        removals.remove_names(session, owner, refs=refs, checked=theirs, now=NOW)


def test_with_a_second_person_it_waits_for_them_and_happens_once(sessions: Sessions) -> None:
    owner, other, refs = two(sessions, 30)
    ref = asked(sessions, owner, refs)
    assert live(sessions) == 30
    with sessions.reading() as session:
        account = owner.account_id or 0
        assert (waiting_for(session, account, owner.user_id or 0, NOW), waiting_for(session, account, other.user_id or 0, NOW)) == (0, 1)
    with pytest.raises(Refused, match="a second person"), sessions.writing() as session:
        removals.approve(session, owner, ref=ref, now=NOW)
    with sessions.writing() as session:
        assert removals.approve(session, other, ref=ref, now=NOW + DAY).removed == 30
    assert live(sessions) == 0
    with pytest.raises(Refused, match="does not wait any more"), sessions.writing() as session:
        removals.approve(session, other, ref=ref, now=NOW + DAY)
    with sessions.reading() as session:
        row = session.scalars(sa.select(Approval)).one()
        assert (row.table_name, row.count, row.decision, row.decided_by, row.used_at) == (
            "watches", 30, "approved", other.user_id, NOW + DAY,
        )  # fmt: skip
        told = session.execute(sa.select(Letter.email, Letter.words).where(Letter.kind == "told").order_by(Letter.id)).all()
        assert [(email, words["subject"]) for email, words in told] == [
            (MAX, "30 names of example.org are to be removed"),
            (MIRA, "30 names were removed"),
            (MAX, "30 names were removed"),
        ]
        kinds = list(session.scalars(sa.select(OutboxEvent.kind).order_by(OutboxEvent.id)))[-3:]
        assert kinds == ["removal.asked.v1", "removal.approved.v1", "domains.removed.v1"]


def test_two_who_say_yes_at_once_remove_once(sessions: Sessions) -> None:
    owner, other, refs = two(sessions, 26)
    ref = asked(sessions, owner, refs)
    begin, came = threading.Barrier(2), []

    def come() -> None:
        begin.wait()
        try:
            with sessions.writing() as session:
                came.append(removals.approve(session, other, ref=ref, now=NOW).removed)
        except Refused:
            came.append(0)

    threads = [threading.Thread(target=come) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == [0, 26]


@pytest.mark.parametrize("role", ["owner", "manager"])
def test_it_can_be_refused_and_taken_back(sessions: Sessions, role: str) -> None:
    owner, other, refs = two(sessions, 26, role)
    first = asked(sessions, owner, refs)
    with sessions.writing() as session:
        removals.refuse(session, other, ref=first, now=NOW)
    second = asked(sessions, owner, refs)
    with sessions.writing() as session:
        removals.refuse(session, owner, ref=second, now=NOW)
    for ref in (first, second):
        with pytest.raises(Refused), sessions.writing() as session:
            removals.approve(session, other, ref=ref, now=NOW)
    assert live(sessions) == 26
    with sessions.reading() as session:
        assert [each.decision for each in decided(session, owner.account_id or 0, NOW)] == ["withdrawn", "refused"]


def test_what_nobody_decides_in_seven_days_does_not_happen(sessions: Sessions) -> None:
    owner, other, refs = two(sessions, 26)
    ref = asked(sessions, owner, refs)
    with pytest.raises(Refused, match="does not wait"), sessions.writing() as session:
        removals.approve(session, other, ref=ref, now=NOW + 7 * DAY)
    with sessions.reading() as session:
        assert decided(session, owner.account_id or 0, NOW + 7 * DAY)[0].decision == "not decided in time"
    assert live(sessions) == 26


def test_who_may_not_remove_any_more_asked_in_vain(sessions: Sessions) -> None:
    owner, other, refs = two(sessions, 26)
    checked = proof(sessions, MAX)
    with sessions.writing() as session:
        removals.remove_names(session, other, refs=refs, checked=checked, now=NOW)
        (each,) = waiting(session, owner.account_id or 0, owner.user_id or 0, NOW)
        team.change_role(session, owner, user_ref=other.user_ref, role="viewer", now=NOW)
    with pytest.raises(Refused, match="may not do it any more"), sessions.writing() as session:
        removals.approve(session, owner, ref=each.ref, now=NOW)
    assert live(sessions) == 26


def test_viewers_and_strangers_decide_nothing(sessions: Sessions) -> None:
    owner, _, refs = two(sessions, 26)
    ref = asked(sessions, owner, refs)
    with sessions.writing() as session:
        viewer, _ = joined(session, owner, "vera@example.org", "viewer")
        stranger, _ = person(session, "eve@elsewhere.example")
    for act in (removals.approve, removals.refuse):
        with pytest.raises(NotAllowed), sessions.writing() as session:
            act(session, viewer, ref=ref, now=NOW)
        with pytest.raises(Refused, match="does not wait"), sessions.writing() as session:
            act(session, stranger, ref=ref, now=NOW)
    with sessions.reading() as session:
        assert waiting(session, stranger.account_id or 0, stranger.user_id or 0, NOW) == ()


def test_a_viewer_beside_is_no_second_person(sessions: Sessions) -> None:
    owner, _, refs = two(sessions, 26, "viewer")
    checked = proof(sessions, MIRA)
    with sessions.writing() as session:
        assert removals.remove_names(session, owner, refs=refs, checked=checked, now=NOW).removed == 26


def test_strangers_names_do_not_count(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, MIRA)
        eve, _ = person(session, "eve@elsewhere.example")
        theirs, mine = names(session, eve, 30), names(session, owner, 2)
        assert removals.remove_names(session, owner, refs=[*theirs, *mine], checked=None, now=NOW).removed == 2
    assert live(sessions) == 30
