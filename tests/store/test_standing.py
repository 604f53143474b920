from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.store.db import Sessions
from core.store.endpoints import Schedule
from core.store.standing import Standing, ders, found_now, history, seen_now, standing
from demo.pki import make_chain
from tests.make import NOW, REFUSED, make_actor, make_watches
from tests.scenes import Served, roots_of, scan_all

HOUR = timedelta(hours=1)
NAME = "shop.example"


def _watch(sessions: Sessions, email: str, at_hour: int = 0) -> tuple[int, str]:
    with sessions.writing() as session:
        actor = make_actor(session, email)
        (added,) = make_watches(session, actor, NAME, now=NOW + at_hour * HOUR)
        assert actor.account_id is not None
        return actor.account_id, added.ref


def _standing(sessions: Sessions, account_id: int, ref: str) -> Standing:
    with sessions.reading() as session:
        found = standing(session, account_id, ref)
    assert found is not None
    return found


@pytest.mark.slow
def test_tells_what_every_address_served_and_what_is_wrong(sessions: Sessions) -> None:
    account_id, ref = _watch(sessions, "mira@example.org")
    good, short = make_chain([NAME]), make_chain([NAME], not_after=NOW + 2 * 24 * HOUR, not_before=NOW - 80 * 24 * HOUR)
    seen: dict[str, Served] = {NAME: {"192.0.2.1": good.ders, "192.0.2.2": short.ders, "192.0.2.3": REFUSED}}
    scan_all(sessions, seen, roots_of(good, short), NOW + HOUR)
    watched = _standing(sessions, account_id, ref)
    with sessions.reading() as session:
        by_address = {each.address: each for each in seen_now(session, watched)}
        findings = found_now(session, watched)
        stored = ders(session, [good.leaf.sha256, good.root.sha256, "0" * 64])
    assert by_address["192.0.2.1"].leaf == good.leaf.sha256
    assert by_address["192.0.2.1"].chain == (good.leaf.sha256, good.intermediates[0].sha256)
    assert by_address["192.0.2.1"].path[-1] == good.root.sha256
    assert by_address["192.0.2.1"].verified
    assert by_address["192.0.2.3"].failure_message == REFUSED.message
    assert findings[0].severity in {"critical", "high"}
    assert [each.severity for each in findings] == sorted(
        (each.severity for each in findings), key=["critical", "high", "medium", "low", "info"].index
    )
    assert stored == {good.leaf.sha256: good.leaf.der, good.root.sha256: good.root.der}
    assert (watched.state, watched.looks[0].scanned_at, watched.pending) == ("bad", NOW + HOUR, False)


@pytest.mark.slow
def test_a_watch_sees_nothing_from_before_it_began(sessions: Sessions) -> None:
    first, first_ref = _watch(sessions, "mira@example.org")
    chain = make_chain([NAME], not_after=NOW + 3 * 24 * HOUR, not_before=NOW - 80 * 24 * HOUR)
    scan_all(sessions, {NAME: {"192.0.2.1": chain.ders}}, roots_of(chain), NOW + HOUR)
    second, second_ref = _watch(sessions, "eve@elsewhere.example", at_hour=2)
    watched = _standing(sessions, second, second_ref)
    with sessions.reading() as session:
        assert seen_now(session, watched) == ()
        assert found_now(session, watched) == ()
        assert history(session, watched, until=None, skip=0, most=50) == ()
    assert watched.looks[0].scanned_at is None
    assert watched.looks[0].judged_at is None
    scan_all(sessions, {NAME: {"192.0.2.1": chain.ders}}, roots_of(chain), NOW + 3 * HOUR)
    watched = _standing(sessions, second, second_ref)
    with sessions.reading() as session:
        (seen,) = seen_now(session, watched)
        assert seen.since_at == watched.since_at == NOW + 2 * HOUR  # not the hour in which another account saw it first
        assert {each.opened_at for each in found_now(session, watched)} == {NOW + 2 * HOUR}
        assert {each.kind for each in history(session, watched, until=None, skip=0, most=50)} == {"opened"}
        assert {each.kind for each in history(session, _standing(sessions, first, first_ref), until=None, skip=0, most=50)} == {
            "seen",
            "opened",
        }


def test_a_strangers_watch_and_one_in_the_bin_are_not_there(sessions: Sessions) -> None:
    from core.actions.domains import remove_watches

    account_id, ref = _watch(sessions, "mira@example.org")
    with sessions.writing() as session:
        other = make_actor(session, "eve@elsewhere.example")
        assert standing(session, other.account_id or 0, ref) is None
    with sessions.writing() as session:
        from core.actions.policy import Actor

        remove_watches(session, Actor(account_id=account_id, account_ref="x", role="owner", user_id=1), refs=[ref], now=NOW + HOUR)
    with sessions.reading() as session:
        assert standing(session, account_id, ref) is None


@pytest.mark.parametrize(("asked", "scanned", "pending"), [(0, None, True), (2, 1, True), (1, 1, False), (1, 2, False), (None, 1, False)])
def test_a_scan_is_pending_until_one_is_recorded_that_is_not_older(
    sessions: Sessions, asked: int | None, scanned: int | None, pending: bool
) -> None:
    account_id, ref = _watch(sessions, "mira@example.org")
    hours = {"requested_at": asked, "last_scanned_at": scanned}
    with sessions.writing() as session:
        values = {key: None if value is None else NOW + value * HOUR for key, value in hours.items()}
        session.execute(sa.update(Schedule).values(**values))
    assert _standing(sessions, account_id, ref).pending is pending


@pytest.mark.slow
def test_history_pages_by_instant_and_place_and_misses_nothing(sessions: Sessions) -> None:
    account_id, ref = _watch(sessions, "mira@example.org")
    chains = [make_chain([NAME]) for _ in range(3)]
    for hour, chain in enumerate(chains, 1):
        scan_all(sessions, {NAME: {f"192.0.2.{n}": chain.ders for n in range(4)}}, roots_of(*chains), NOW + hour * HOUR)
    watched = _standing(sessions, account_id, ref)
    with sessions.reading() as session:
        whole = history(session, watched, until=None, skip=0, most=100)
        assert len(whole) == 12
        assert [each.at for each in whole] == sorted((each.at for each in whole), reverse=True)
        assert history(session, watched, until=NOW + 3 * HOUR, skip=3, most=2) == whole[3:5]
        assert history(session, watched, until=NOW + 2 * HOUR, skip=4, most=100) == whole[8:]


def test_an_incident_is_told_when_it_began_and_when_it_was_over(sessions: Sessions) -> None:
    account_id, ref = _watch(sessions, "mira@example.org")
    bad, good = make_chain([NAME], not_after=NOW - HOUR), make_chain([NAME])
    scan_all(sessions, {NAME: {"192.0.2.1": bad.ders}}, roots_of(bad, good), NOW + HOUR)
    scan_all(sessions, {NAME: {"192.0.2.1": good.ders}}, roots_of(bad, good), NOW + 2 * HOUR)
    with sessions.reading() as session:
        lines = history(session, _standing(sessions, account_id, ref), until=None, skip=0, most=50)
    kinds = {(each.kind, each.at) for each in lines}
    assert {("opened", NOW + HOUR), ("closed", NOW + 2 * HOUR), ("seen", NOW + 2 * HOUR)} <= kinds
    assert {each.about for each in lines if each.kind == "opened"} == {bad.leaf.sha256}


@pytest.mark.slow
def test_an_address_that_the_name_no_longer_has_comes_last(sessions: Sessions) -> None:
    account_id, ref = _watch(sessions, "mira@example.org")
    chain = make_chain([NAME])
    scan_all(sessions, {NAME: {"192.0.2.1": chain.ders, "192.0.2.2": chain.ders}}, roots_of(chain), NOW + HOUR)
    scan_all(sessions, {NAME: {"192.0.2.2": chain.ders}}, roots_of(chain), NOW + 2 * HOUR)
    with sessions.reading() as session:
        seen = seen_now(session, _standing(sessions, account_id, ref))
    assert [(each.address, each.gone) for each in seen] == [("192.0.2.2", False), ("192.0.2.1", True)]
