from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from core.actions.domains import remove_watches
from core.actions.notices import FRESH, LEASE, claim_notices, hand_over, notices_due, record_delivery
from core.actions.policy import Actor
from core.channels import Delivery
from core.scanner.path import Roots
from core.store.db import Sessions
from core.store.endpoints import Endpoint, Schedule
from core.store.incidents import Notice
from core.store.watches import Watch
from demo.pki import Chain, Forged, make_chain, make_intermediate, make_leaf, make_root
from tests.make import NOW, REFUSED, make_actor, make_scan, make_watches, run_scans

DAY = timedelta(days=1)
SENT = Delivery("sent", subject="s", body="b")


@pytest.fixture(scope="module")
def root() -> Forged:
    return make_root(now=NOW)


@pytest.fixture
def actor(sessions: Sessions) -> Actor:
    with sessions.writing() as session:
        actor = make_actor(session)
        make_watches(session, actor, "a.example", "b.example")
        return actor


def chain(root: Forged, days: float = 90, *, end: datetime | None = None, names: tuple[str, ...] = ("a.example", "b.example")) -> Chain:
    end = end or NOW + days * DAY
    return make_chain(list(names), root=root, not_before=end - 90 * DAY, not_after=end)


def look(sessions: Sessions, root: Forged, served: Chain | None, now: datetime) -> None:
    """Every watched endpoint is scanned and serves this (None: refuses)."""
    with sessions.writing() as session:
        session.execute(sa.update(Schedule).values(next_scan_at=now))
        what = {"192.0.2.1": served.ders if served else REFUSED}
        run_scans(session, lambda _: make_scan("a.example", what, at=now), roots=Roots.of([root.certificate]), now=now)  # type: ignore[arg-type]


def tell(sessions: Sessions, now: datetime, delivery: Delivery = SENT) -> list[str]:
    """Send all that is due, and give the kinds and steps."""
    told: list[str] = []
    with sessions.writing() as session:
        taken = claim_notices(session, most=100, now=now)
    for each in taken:
        with sessions.writing() as session:
            assert hand_over(session, [each.notice_id], now=now)
        with sessions.writing() as session:
            record_delivery(session, [each.notice_id], delivery, now=now)
            notice = session.get(Notice, each.notice_id)
            assert notice is not None
            told.append(f"{notice.kind} {notice.step}".strip())
    return told


@pytest.mark.slow
def test_every_step_is_told_once_per_certificate(sessions: Sessions, actor: Actor, root: Forged) -> None:
    served = chain(root, end=NOW + 40 * DAY)
    story = [
        (0, []),
        (11, ["expiring 1/3"]),
        (12, []),
        (26, ["expiring 1/6"]),
        (33, ["expiring 1/12"]),
        (38, []),
        (41, ["ended"]),
        (42, []),
    ]
    for days, expected in story:
        now = NOW + days * DAY
        look(sessions, root, served, now)
        look(sessions, root, served, now)
        assert tell(sessions, now) == expected, days


@pytest.mark.slow
def test_a_renewed_certificate_is_told_as_well_once_for_each_name(sessions: Sessions, actor: Actor, root: Forged) -> None:
    look(sessions, root, chain(root, 20), NOW)
    assert tell(sessions, NOW) == ["expiring 1/3"]
    look(sessions, root, chain(root, 89), NOW + DAY)
    assert tell(sessions, NOW + DAY) == ["well", "well"]
    look(sessions, root, chain(root, 89), NOW + 2 * DAY)
    assert tell(sessions, NOW + 2 * DAY) == []


@pytest.mark.slow
def test_turning_bad_is_told_for_each_name_and_being_well_again_too(sessions: Sessions, actor: Actor, root: Forged) -> None:
    wrong = chain(root, 80, names=("c.example",))
    for day, served, expected in (
        (0, wrong, ["bad", "bad"]),
        (1, wrong, []),
        (2, None, []),
        (3, chain(root, 80), ["well", "well"]),
        (4, wrong, ["bad"] * 2),
    ):
        look(sessions, root, served, NOW + day * DAY)
        assert tell(sessions, NOW + day * DAY) == expected, day


@pytest.mark.slow
def test_what_is_over_before_it_was_told_is_not_told_and_is_told_when_it_comes_back(sessions: Sessions, actor: Actor, root: Forged) -> None:
    old = chain(root, 20)
    look(sessions, root, old, NOW)
    look(sessions, root, chain(root, 80), NOW + timedelta(minutes=1))
    assert tell(sessions, NOW + timedelta(minutes=2)) == []
    look(sessions, root, old, NOW + timedelta(minutes=3))
    assert tell(sessions, NOW + timedelta(minutes=4)) == ["expiring 1/3"]


@pytest.mark.slow
def test_an_old_notice_waits_for_a_fresh_scan(sessions: Sessions, actor: Actor, root: Forged) -> None:
    served = chain(root, 20)
    look(sessions, root, served, NOW)
    later = NOW + FRESH + timedelta(minutes=1)
    assert tell(sessions, later) == []
    with sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).where(Schedule.urgent, Schedule.next_scan_at == later)) == 1
    look(sessions, root, served, later)
    assert tell(sessions, later + timedelta(minutes=1)) == ["expiring 1/3"]


@pytest.mark.slow
def test_what_failed_is_tried_again_later_and_what_is_unsure_never(sessions: Sessions, actor: Actor, root: Forged) -> None:
    served = chain(root, 20)
    look(sessions, root, served, NOW)
    assert tell(sessions, NOW, Delivery("failed", "no route")) == ["expiring 1/3"]
    assert tell(sessions, NOW + timedelta(seconds=59)) == []
    assert tell(sessions, NOW + timedelta(seconds=61), Delivery("unsure", "cut off")) == ["expiring 1/3"]
    for minutes in (10, 600):
        look(sessions, root, served, NOW + timedelta(minutes=minutes))
        assert tell(sessions, NOW + timedelta(minutes=minutes)) == []
    with sessions.reading() as session:
        first = session.scalars(sa.select(Notice).order_by(Notice.id)).first()
        assert first is not None
        assert (first.sent_at, first.last_error, first.handed_at) == (None, "cut off", NOW + timedelta(seconds=61))


def test_a_killed_sender_loses_nothing_and_doubles_nothing(sessions: Sessions, actor: Actor, root: Forged) -> None:
    look(sessions, root, chain(root, 20), NOW)
    with sessions.writing() as session:
        (taken,) = claim_notices(session, most=10, now=NOW)
        assert claim_notices(session, most=10, now=NOW) == []
    after = NOW + LEASE + timedelta(seconds=1)
    with sessions.writing() as session:  # killed before the content left: told by the next one
        (again,) = claim_notices(session, most=10, now=after)
        assert again.notice_id == taken.notice_id
        assert hand_over(session, [taken.notice_id], now=after)
        assert not hand_over(session, [taken.notice_id], now=after)
    with sessions.writing() as session:  # killed after it left: never again
        assert claim_notices(session, most=10, now=after + 2 * LEASE) == []
        assert not notices_due(session, after + 2 * LEASE)


def test_every_member_is_told(sessions: Sessions, actor: Actor, root: Forged) -> None:
    with sessions.writing() as session:
        other = make_actor(session, "ann@example.org")
        session.execute(
            sa.text("INSERT INTO memberships (account_id, user_id, role, created_at) VALUES (:a, :u, 'viewer', :t)"),
            {"a": actor.account_id, "u": other.user_id, "t": NOW},
        )
    look(sessions, root, chain(root, 20), NOW)
    assert tell(sessions, NOW) == ["expiring 1/3"] * 2


def test_nobody_is_told_of_what_is_in_the_bin(sessions: Sessions, actor: Actor, root: Forged) -> None:
    look(sessions, root, chain(root, 20), NOW)
    with sessions.writing() as session:
        remove_watches(session, actor, refs=list(session.scalars(sa.select(Watch.ref))), now=NOW)
    assert tell(sessions, NOW) == []


def look_at(
    sessions: Sessions, root: Forged, served: dict[str, Chain | None], now: datetime, *, partial: bool = False, at: str = ""
) -> None:
    """The endpoint called `at` (all, when empty) is scanned; each address serves this chain (None: refuses)."""
    with sessions.writing() as session:
        where = Endpoint.name == at if at else Endpoint.id > 0
        ids = sa.select(Endpoint.id).where(where)
        session.execute(sa.update(Schedule).values(next_scan_at=now + 99 * DAY))
        session.execute(sa.update(Schedule).where(Schedule.endpoint_id.in_(ids)).values(next_scan_at=now))
        what = {address: chain.ders if chain else REFUSED for address, chain in served.items()}
        scan = replace(make_scan("a.example", what, at=now), partial=partial)  # type: ignore[arg-type]
        run_scans(session, lambda _: scan, roots=Roots.of([root.certificate]), now=now)


@pytest.mark.slow
def test_two_bad_things_of_which_one_is_cured_before_it_is_told_leave_the_other_told(sessions: Sessions, root: Forged) -> None:
    with sessions.writing() as session:
        make_watches(session, make_actor(session), "a.example")
    weak = make_chain(["c.example"], root=root, now=NOW, not_before=NOW - DAY, not_after=NOW + 80 * DAY, key="rsa1024")
    wrong = chain(root, 80, names=("c.example",))
    look_at(sessions, root, {"192.0.2.1": weak, "192.0.2.2": wrong}, NOW)
    look_at(sessions, root, {"192.0.2.1": wrong, "192.0.2.2": wrong}, NOW + timedelta(minutes=1))
    assert tell(sessions, NOW + timedelta(minutes=2)) == ["bad"]
    look_at(sessions, root, {"192.0.2.1": wrong, "192.0.2.2": wrong}, NOW + DAY)
    assert tell(sessions, NOW + DAY) == []


@pytest.mark.slow
def test_two_bad_things_cured_one_after_the_other_are_told_as_over_once_at_the_end(sessions: Sessions, root: Forged) -> None:
    with sessions.writing() as session:
        make_watches(session, make_actor(session), "a.example")
    good, wrong, other = chain(root, 80), chain(root, 80, names=("c.example",)), chain(root, 80, names=("d.example",))
    story: list[tuple[dict[str, Chain | None], list[str]]] = [
        ({"192.0.2.1": wrong, "192.0.2.2": other}, ["bad"]),
        ({"192.0.2.1": good, "192.0.2.2": other}, []),
        ({"192.0.2.1": good, "192.0.2.2": good}, ["well"]),
        ({"192.0.2.1": good, "192.0.2.2": good}, []),
    ]
    for day, (served, expected) in enumerate(story):
        look_at(sessions, root, served, NOW + day * DAY)
        assert tell(sessions, NOW + day * DAY) == expected, day


@pytest.mark.slow
def test_a_leaf_at_two_names_that_is_renewed_at_one_is_told_as_over_there(sessions: Sessions, actor: Actor, root: Forged) -> None:
    old, new = chain(root, 20), chain(root, 89)
    look(sessions, root, old, NOW)
    assert tell(sessions, NOW) == ["expiring 1/3"]
    for day, name in enumerate(("b.example", "a.example"), start=1):
        look_at(sessions, root, {"192.0.2.1": new}, NOW + day * DAY, at=name)
        assert tell(sessions, NOW + day * DAY) == ["well"], name


@pytest.mark.slow
def test_an_unsent_notice_of_two_names_goes_on_where_it_is_not_cured(sessions: Sessions, actor: Actor, root: Forged) -> None:
    look(sessions, root, chain(root, 20), NOW)
    look_at(sessions, root, {"192.0.2.1": chain(root, 89)}, NOW + timedelta(minutes=1), at="a.example")
    assert tell(sessions, NOW + timedelta(minutes=2)) == ["expiring 1/3"]
    with sessions.reading() as session:
        told = sa.select(Watch.name).join(Notice, Notice.watch_id == Watch.id).where(Notice.sent_at.is_not(None))
        assert session.scalars(told).all() == ["b.example"]


@pytest.mark.slow
def test_a_certificate_that_ended_and_comes_back_is_told_again(sessions: Sessions, root: Forged) -> None:
    with sessions.writing() as session:
        make_watches(session, make_actor(session), "a.example")
    ended, good = chain(root, end=NOW - DAY), chain(root, 80)
    for day, (served, expected) in enumerate([(ended, ["ended"]), (good, ["well"]), (ended, ["bad"]), (ended, []), (good, ["well"])]):
        look(sessions, root, served, NOW + day * DAY)
        assert tell(sessions, NOW + day * DAY) == expected, day


@pytest.mark.slow
def test_a_certificate_that_comes_back_at_two_names_is_told_for_both(sessions: Sessions, actor: Actor, root: Forged) -> None:
    ended, good = chain(root, end=NOW - DAY), chain(root, 80)
    for day, (served, expected) in enumerate([(ended, ["ended"]), (good, ["well"] * 2), (ended, ["bad"] * 2), (ended, [])]):
        look(sessions, root, served, NOW + day * DAY)
        assert tell(sessions, NOW + day * DAY) == expected, day


@pytest.mark.slow
def test_an_intermediate_that_ended_is_told_for_each_name(sessions: Sessions, actor: Actor, root: Forged) -> None:
    intermediate = make_intermediate(root, not_before=NOW - 400 * DAY, not_after=NOW - DAY)
    leaf = make_leaf(["a.example", "b.example"], intermediate, not_before=NOW - DAY, not_after=NOW + 80 * DAY)
    served = Chain(leaf, (intermediate,), root)
    look(sessions, root, served, NOW)
    assert tell(sessions, NOW) == ["bad", "bad"]


@pytest.mark.slow
def test_half_a_dns_answer_cures_nothing(sessions: Sessions, root: Forged) -> None:
    with sessions.writing() as session:
        make_watches(session, make_actor(session), "a.example")
    good, wrong = chain(root, 80), chain(root, 80, names=("c.example",))
    look_at(sessions, root, {"192.0.2.1": wrong, "2001:db8::1": good}, NOW)
    assert tell(sessions, NOW) == ["bad"]
    for hours in (1, 20):
        look_at(sessions, root, {"2001:db8::1": good}, NOW + timedelta(hours=hours), partial=True)
        assert tell(sessions, NOW + timedelta(hours=hours)) == []


@pytest.mark.slow
def test_an_address_that_is_left_out_of_one_answer_is_not_cured_and_one_that_stays_away_is(sessions: Sessions, root: Forged) -> None:
    with sessions.writing() as session:
        make_watches(session, make_actor(session), "a.example")
    good, wrong = chain(root, 80), chain(root, 80, names=("c.example",))
    both: dict[str, Chain | None] = {"192.0.2.1": wrong, "192.0.2.2": good}
    half: dict[str, Chain | None] = {"192.0.2.2": good}
    story: list[tuple[int, dict[str, Chain | None], list[str]]] = [
        (0, both, ["bad"]),
        (1, half, []),
        (2, both, []),
        (3, half, []),
        (7, half, ["well"]),
    ]
    for hours, served, expected in story:
        look_at(sessions, root, served, NOW + timedelta(hours=hours))
        assert tell(sessions, NOW + timedelta(hours=hours)) == expected, hours


@pytest.mark.slow
def test_what_was_seen_before_a_watch_began_is_not_told_to_it(sessions: Sessions, actor: Actor, root: Forged) -> None:
    later = NOW + timedelta(minutes=5)
    with sessions.writing() as session:
        make_watches(session, make_actor(session, "ann@example.net", now=later), "a.example", now=later)
        wrong = chain(root, 80, names=("c.example",))
        scan = make_scan("a.example", {"192.0.2.1": wrong.ders}, at=NOW)
        run_scans(session, lambda _: scan, roots=Roots.of([root.certificate]), now=later)
    with sessions.reading() as session:
        assert sorted(session.execute(sa.select(Watch.name, Watch.state)).all()) == [
            ("a.example", "bad"), ("a.example", "live"), ("b.example", "bad"),
        ]  # fmt: skip
