"""What is asked of the log on both databases: an account's entries by filter and word, and for operators never a tenant's values."""

from __future__ import annotations

from datetime import timedelta

import pytest

from audit.asked import Wanted, keys_of, newest_log, not_sealed_yet, told_of_all, told_to, waiting
from audit.erasing import erase_private
from audit.keeper import Keeper
from audit.log import Event, append
from audit.note import public_of
from audit.sequencer import Sequencer
from core.store.db import Sessions
from tests.turns import NOW, ORIGIN

MINE, THEIRS = "abcdefghjkmnpqrs", "srqpnmkjhgfedcba"
MIRA, MAX = "zyxwvutsrqpnmkjh", "hjkmnpqrstuvwxyz"


@pytest.fixture
def told(sessions: Sessions, sequencer: Sequencer) -> Sessions:
    """A log in which two accounts did things, and the installation."""
    events = (
        Event("domains.added.v1", NOW, f"user:{MIRA}", MINE, {"added": 2, "restored": 0}, {"names": "shop.example, b\u00fccher.example"}),
        Event("member.invited.v1", NOW + timedelta(hours=1), f"user:{MAX}", MINE, {"role": "viewer"}, {"email": "noa_1@example.org"}),
        Event("domains.added.v1", NOW, f"user:{MAX}", THEIRS, {"added": 1, "restored": 0}, {"names": "canary.example"}),
        Event("member.removed.v1", NOW + timedelta(days=1), f"user:{MIRA}", MINE, {"role": "manager"}, {"user": MAX}),
        Event("backup_hold.set.v1", NOW, f"user:{MAX}", "", {"hold": "hhhh"}, {"reason": "an audit"}),
        Event("account.renamed.v1", NOW + timedelta(days=2), "terminal", MINE),
    )
    with sessions.writing() as session:
        for event in events:
            append(session, event)
    sequencer.turn(NOW + timedelta(days=3))
    return sessions


def found(sessions: Sessions, **wanted: object) -> list[int]:
    with sessions.reading() as session:
        return [each.index for each in told_to(session, MINE, Wanted(**wanted), most=10)]  # type: ignore[arg-type]  # fields by name


def test_an_account_s_entries_are_found_by_what_they_are_and_say(told: Sessions) -> None:
    assert found(told) == [6, 4, 2, 1]
    assert found(told, kinds={"domains.added.v1", "member.removed.v1"}) == [4, 1]
    assert found(told, kinds=frozenset()) == []
    assert found(told, actors={f"user:{MIRA}"}) == [4, 1]
    assert found(told, since=NOW + timedelta(hours=1), until=NOW + timedelta(days=2)) == [4, 2]
    assert found(told, text="SHOP.ex") == [1]
    assert found(told, text="b\u00fccher") == [1]
    assert found(told, text="noa_1@") == [2]
    assert found(told, text="noaX1@") == [], "what stands for any character elsewhere stands for itself"
    assert found(told, text="%") == found(told, text="canary") == found(told, text='"') == []
    assert found(told, text="manager") == [4], "what strangers see is looked through as well"
    assert found(told, text=MINE) == found(told, text="2026-11-28T") == found(told, text="terminal") == []
    assert found(told, text="nobody", kinds_with_text={"account.renamed.v1"}) == [6]
    assert found(told, text="max", people_with_text={MAX}) == [4, 2]
    with told.reading() as session:
        salt = told_to(session, MINE, Wanted(), most=1)[0].sealed["actor"][0]
    assert found(told, text=salt[:8]) == [], "salts are no words"


def test_it_goes_on_after_a_place_and_has_every_value(told: Sessions) -> None:
    with told.reading() as session:
        first = told_to(session, MINE, Wanted(), most=2)
        then = told_to(session, MINE, Wanted(), after=(first[-1].log, first[-1].index), most=2)
    assert [each.index for each in (*first, *then)] == [6, 4, 2, 1]
    assert then[-1].values == {"added": 2, "restored": 0, "names": "shop.example, b\u00fccher.example"}
    assert then[-1].said == {"added": "1 to 9", "restored": "0"}
    assert then[0].values == {"role": "viewer", "email": "noa_1@example.org"}


def test_operators_see_values_of_what_is_in_no_account_alone(told: Sessions) -> None:
    with told.writing() as session:
        erase_private(session, [(1, 2)], NOW)
    with told.reading() as session:
        rows = told_of_all(session, kind="", account_ref="", actor="", after=None, most=10)
        by_account = told_of_all(session, kind="", account_ref=THEIRS, actor="", after=None, most=10)
        by_both = told_of_all(session, kind="domains.added.v1", account_ref="", actor=f"user:{MIRA}", after=None, most=10)
        onward = told_of_all(session, kind="", account_ref="", actor="", after=(1, 2), most=1)
    assert [each.index for each in rows] == [6, 5, 4, 3, 2, 1, 0]
    assert {each.index for each in rows if each.sealed} == {5, 0}
    assert rows[1].sealed["reason"][1] == "an audit"
    assert (rows[4].kind, rows[4].actor, rows[4].at) == ("", "", None), "what was erased is there, and says so"
    assert [each.index for each in by_account] == [3]
    assert by_account[0].sealed == {}
    assert [each.index for each in by_both] == [each.index for each in onward] == [1]


def test_what_waits_is_counted_and_an_account_sees_its_own(told: Sessions, keeper: Keeper) -> None:
    with told.reading() as session:
        assert (waiting(session).count, waiting(session).oldest) == (0, None)
    with told.writing() as session:
        append(session, Event("account.renamed.v1", NOW + timedelta(seconds=7), "terminal", MINE))
        append(session, Event("account.renamed.v1", NOW + timedelta(seconds=9), "terminal", THEIRS))
    with told.reading() as session:
        assert (waiting(session).count, waiting(session).oldest) == (2, NOW + timedelta(seconds=7))
        assert [each.account_ref for each in not_sealed_yet(session, MINE, most=5)] == [MINE]
        log = newest_log(session)
        assert log is not None
        assert (log.number, log.size) == (1, 7)
        assert keys_of(session, 1) == [public_of(keeper.key(), ORIGIN).vkey]


def test_every_key_of_a_log_is_known_in_order(told: Sessions, sequencer: Sequencer, keeper: Keeper) -> None:
    before = public_of(keeper.key(), ORIGIN).vkey
    keeper.make_next_key()
    sequencer.turn(NOW + timedelta(days=3))
    with told.reading() as session:
        assert keys_of(session, 1) == [before, public_of(keeper.key(), ORIGIN).vkey]
