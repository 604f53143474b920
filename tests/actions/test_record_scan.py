import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from core.actions.claim_scans import Claimed, claim_due, pull_in, release_claims
from core.actions.domains import remove_watches, restore_watches
from core.actions.notices import claim_notices
from core.actions.policy import Actor
from core.actions.record_scan import Recorded, Result, record_scans
from core.perspective import LOCAL
from core.scanner.facts import Failure, FailureKind, Scan, Stage
from core.scanner.path import Roots
from core.scanner.verdict import judge
from core.store.db import Sessions
from core.store.endpoints import ScanGap, ScanTally, Schedule, Verdict, open_gaps
from core.store.incidents import Incident
from core.store.observations import Certificate, Current, Finding, Observation
from core.store.watches import Watch, WatchTally
from demo.pki import Chain, make_chain
from tests.make import NOW, REFUSED, make_actor, make_scan, make_watches, run_scans

HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=3)


@pytest.fixture(scope="module")
def good() -> Chain:
    return make_chain(["a.example"], now=NOW)


@pytest.fixture(scope="module")
def roots(good: Chain) -> Roots:
    return Roots.of([good.root.certificate])


@pytest.fixture
def actor(sessions: Sessions) -> Actor:
    with sessions.writing() as session:
        actor = make_actor(session)
        make_watches(session, actor, "a.example")
        return actor


def scan(sessions: Sessions, roots: Roots, what: Callable[[int], Scan], now: datetime = NOW) -> Recorded:
    with sessions.writing() as session:
        session.execute(sa.update(Schedule).values(next_scan_at=now))
        return run_scans(session, what, roots=roots, now=now)


def one(sessions: Sessions, column: object, *where: object) -> object:
    with sessions.reading() as session:
        return session.execute(sa.select(column).where(*where)).scalar_one()  # type: ignore[call-overload]  # any column


def test_a_good_scan_is_recorded_whole(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    assert scan(sessions, roots, lambda _: make_scan("a.example", {"192.0.2.1": good.ders})) == Recorded(1, 0)
    with sessions.reading() as session:
        watch = session.scalars(sa.select(Watch)).one()
        assert (watch.state, watch.ends_at) == ("ok", good.leaf.certificate.not_valid_after_utc)
        assert watch.sentence.startswith("Well until ")
        tallies = dict(session.execute(sa.select(WatchTally.state, WatchTally.watches)).all())
        assert tallies == {"ok": 1, "bad": 0, "soon": 0, "unk": 0, "live": 0}
        schedule = session.scalars(sa.select(Schedule)).one()
        assert (schedule.lease_until, schedule.scans, schedule.urgent, schedule.last_scanned_at) == (None, 1, False, NOW)
        assert schedule.next_scan_at == NOW + 8 * HOUR
        current = session.scalars(sa.select(Current)).one()
        assert current.verified
        assert current.path == [good.leaf.sha256, good.intermediates[0].sha256, good.root.sha256]
        assert set(session.scalars(sa.select(Certificate.sha256))) == set(current.path)
        assert session.scalars(sa.select(ScanTally.made)).one() == 1
        assert session.scalars(sa.select(Verdict.state)).one() == "ok"


@pytest.mark.slow
def test_what_does_not_change_adds_no_observation(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    renewed = make_chain(["a.example"], root=good.root, now=NOW)
    seen: list[dict[str, object]] = [
        {"192.0.2.1": good.ders},
        {"192.0.2.1": good.ders},
        {"192.0.2.1": renewed.ders, "192.0.2.2": good.ders},
    ]
    for hours, what in enumerate(seen):
        at = NOW + hours * HOUR
        scan(sessions, roots, lambda _, at=at, what=what: make_scan("a.example", what, at=at), at)  # type: ignore[misc]
    with sessions.reading() as session:
        rows = session.execute(sa.select(Observation.address, Observation.seen_at, Observation.leaf_sha256).order_by(Observation.id)).all()
        assert [tuple(row) for row in rows] == [
            ("192.0.2.1", NOW, good.leaf.sha256),
            ("192.0.2.1", NOW + 2 * HOUR, renewed.leaf.sha256),
            ("192.0.2.2", NOW + 2 * HOUR, good.leaf.sha256),
        ]
        assert set(session.scalars(sa.select(Current.last_seen_at))) == {NOW + 2 * HOUR}


def test_an_address_that_is_gone_is_marked_and_comes_back(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    both = {"192.0.2.1": good.ders, "192.0.2.2": good.ders}
    for hours, what in enumerate((both, {"192.0.2.1": good.ders}, both)):
        at = NOW + hours * HOUR
        scan(sessions, roots, lambda _, at=at, what=what: make_scan("a.example", what, at=at), at)  # type: ignore[misc]
        gone = one(sessions, Current.gone_at, Current.address == "192.0.2.2")
        assert gone == (at if hours == 1 else None)


def test_a_result_counts_once_whoever_delivers_it_twice(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    verdict = judge(make_scan("a.example", {"192.0.2.1": good.ders}), roots, NOW)
    with sessions.writing() as session:
        (claimed,) = claim_due(session, perspective=LOCAL, urgent=True, most=10, lease=LEASE, now=NOW)
        assert claim_due(session, perspective=LOCAL, urgent=True, most=10, lease=LEASE, now=NOW) == []
    for expected in (Recorded(1, 0), Recorded(0, 1), Recorded(0, 1)):
        with sessions.writing() as session:
            result = Result(claimed.endpoint_id, claimed.claim, verdict)
            assert record_scans(session, [result], interval=8 * HOUR, spread=lambda: 1.0, now=NOW) == expected
    assert one(sessions, Schedule.scans) == 1
    assert one(sessions, ScanTally.made) == 1
    assert one(sessions, sa.func.count(Observation.id)) == 1


def test_a_late_result_is_kept_and_moves_nothing(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    expired = make_chain(["a.example"], root=good.root, not_before=NOW - 90 * 24 * HOUR, not_after=NOW - HOUR)
    with sessions.writing() as session:
        (first,) = claim_due(session, perspective=LOCAL, urgent=True, most=1, lease=LEASE, now=NOW)
        (second,) = claim_due(session, perspective=LOCAL, urgent=True, most=1, lease=LEASE, now=NOW + 2 * LEASE)
        assert (first.endpoint_id, first.claim + 1) == (second.endpoint_id, second.claim)
    newer = judge(make_scan("a.example", {"192.0.2.1": good.ders}, at=NOW + 2 * LEASE), roots, NOW + 2 * LEASE)
    older = judge(make_scan("a.example", {"192.0.2.1": expired.ders}), roots, NOW)
    for claimed, verdict, expected in ((second, newer, Recorded(1, 0)), (first, older, Recorded(0, 1))):
        with sessions.writing() as session:
            result = Result(claimed.endpoint_id, claimed.claim, verdict)
            assert record_scans(session, [result], interval=8 * HOUR, spread=lambda: 1.0, now=NOW + 3 * LEASE) == expected
    assert one(sessions, Watch.state) == "ok"
    assert one(sessions, sa.func.count(Finding.id)) == 0
    assert one(sessions, sa.func.count(Observation.id)) == 2


def test_the_first_result_to_come_counts_whoever_holds_the_claim(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    with sessions.writing() as session:
        (first,) = claim_due(session, perspective=LOCAL, urgent=True, most=1, lease=LEASE, now=NOW)
        (second,) = claim_due(session, perspective=LOCAL, urgent=True, most=1, lease=LEASE, now=NOW + 2 * LEASE)
    for claimed, minutes, expected in ((first, 7, Recorded(1, 0)), (second, 8, Recorded(0, 1))):
        at = NOW + timedelta(minutes=minutes)
        with sessions.writing() as session:
            result = Result(claimed.endpoint_id, claimed.claim, judge(make_scan("a.example", {"192.0.2.1": good.ders}, at=at), roots, at))
            assert record_scans(session, [result], interval=8 * HOUR, spread=lambda: 1.0, now=at) == expected
    assert one(sessions, Schedule.scans) == 1
    assert one(sessions, sa.func.count(Observation.id)) == 1


def test_what_could_not_be_handed_out_is_due_again(sessions: Sessions, actor: Actor) -> None:
    with sessions.writing() as session:
        claims = claim_due(session, perspective=LOCAL, urgent=True, most=10, lease=LEASE, now=NOW)
        release_claims(session, perspective=LOCAL, claims=[Claimed(claims[0].endpoint_id, claims[0].claim + 7)])
        assert claim_due(session, perspective=LOCAL, urgent=True, most=10, lease=LEASE, now=NOW) == []
        release_claims(session, perspective=LOCAL, claims=claims)
        again = claim_due(session, perspective=LOCAL, urgent=True, most=10, lease=LEASE, now=NOW)
    assert [claimed.endpoint_id for claimed in again] == [claimed.endpoint_id for claimed in claims]


@pytest.mark.slow
def test_findings_and_incidents_open_once_and_close_when_cured(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    wrong = make_chain(["b.example"], root=good.root, now=NOW)
    for hours, chain in enumerate((wrong, wrong, good)):
        at = NOW + hours * HOUR
        scan(sessions, roots, lambda _, at=at, chain=chain: make_scan("a.example", {"192.0.2.1": chain.ders}, at=at), at)  # type: ignore[misc]
        with sessions.reading() as session:
            finding = session.scalars(sa.select(Finding)).one()
            incident = session.scalars(sa.select(Incident)).one()
        assert (finding.check, finding.status, finding.opened_at) == ("CERT-NAME", "error", NOW)
        assert (incident.check, incident.opened_at, incident.account_id) == ("CERT-NAME", NOW, actor.account_id)
        closed = at if hours == 2 else None
        assert (finding.closed_at, incident.closed_at) == (closed, closed)
        assert one(sessions, Watch.state) == ("ok" if hours == 2 else "bad")


@pytest.mark.slow
def test_what_was_not_reached_is_neither_well_nor_cured(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    wrong = make_chain(["b.example"], root=good.root, now=NOW)
    scan(sessions, roots, lambda _: make_scan("a.example", {"192.0.2.1": wrong.ders}))
    for failures in range(1, 4):
        at = NOW + failures * HOUR
        scan(sessions, roots, lambda _, at=at: make_scan("a.example", {"192.0.2.1": REFUSED}, at=at), at)  # type: ignore[misc]
        assert one(sessions, Watch.state) == "unk"
        assert one(sessions, Incident.closed_at) is None
        assert one(sessions, Schedule.failures) == failures
        assert one(sessions, Schedule.next_scan_at) == at + timedelta(minutes=5) * 2 ** (failures - 1)


def test_half_an_answer_is_told_and_cures_nothing(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    wrong = make_chain(["b.example"], root=good.root, now=NOW)
    scan(sessions, roots, lambda _: make_scan("a.example", {"192.0.2.1": good.ders, "192.0.2.2": wrong.ders}))
    assert one(sessions, Incident.closed_at, Incident.check == "CERT-NAME") is None
    later = NOW + HOUR
    scan(sessions, roots, lambda _: make_scan("a.example", {"192.0.2.1": good.ders, "192.0.2.2": REFUSED}, at=later), later)
    assert one(sessions, Incident.closed_at, Incident.check == "CERT-NAME") is None
    assert one(sessions, Watch.state) == "soon"
    assert "1 of 2 addresses" in str(one(sessions, Watch.sentence))


def test_a_step_of_the_lifetime_is_never_slept_through(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    crossing = NOW + timedelta(hours=2)
    chain = make_chain(["a.example"], root=good.root, not_before=crossing - timedelta(days=60), not_after=crossing + timedelta(days=30))
    scan(sessions, roots, lambda _: make_scan("a.example", {"192.0.2.1": chain.ders}))
    due = one(sessions, Schedule.next_scan_at)
    assert isinstance(due, datetime)
    assert crossing < due <= crossing + timedelta(seconds=2)


def test_a_refused_name_is_said_with_its_reason(sessions: Sessions, actor: Actor, roots: Roots) -> None:
    failure = Failure(FailureKind.REFUSED_ADDRESS, Stage.GUARD, "10.0.0.1 is in a private range.")
    scan(sessions, roots, lambda _: make_scan("a.example", {"10.0.0.1": failure}))
    assert one(sessions, Watch.sentence) == "10.0.0.1 is in a private range."


def test_nobodys_endpoint_is_not_scanned(sessions: Sessions, actor: Actor) -> None:
    with sessions.writing() as session:
        ref = session.scalars(sa.select(Watch.ref)).one()
        remove_watches(session, actor, refs=[ref], now=NOW)
        assert claim_due(session, perspective=LOCAL, urgent=True, most=10, lease=LEASE, now=NOW + HOUR) == []


def test_a_missed_scan_is_a_gap_until_it_is_made_up(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    grace, late = timedelta(minutes=15), NOW + timedelta(minutes=16)
    with sessions.writing() as session:
        assert open_gaps(session, grace=grace, now=NOW + timedelta(minutes=14)) == 0
        assert open_gaps(session, grace=grace, now=late) == 1
        assert open_gaps(session, grace=grace, now=late) == 0
    with sessions.writing() as session:
        run_scans(session, lambda _: make_scan("a.example", {"192.0.2.1": good.ders}, at=late), roots=roots, now=late)
        gap = session.scalars(sa.select(ScanGap)).one()
    assert (gap.due_at, gap.noticed_at, gap.closed_at) == (NOW, late, late)


def test_every_account_that_watches_is_told_apart(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    wrong = make_chain(["b.example"], root=good.root, now=NOW)
    with sessions.writing() as session:
        make_watches(session, make_actor(session, "ann@example.net"), "a.example")
    scan(sessions, roots, lambda _: make_scan("a.example", {"192.0.2.1": wrong.ders}))
    with sessions.reading() as session:
        assert len(set(session.scalars(sa.select(Incident.account_id)))) == 2
        assert session.scalars(sa.select(Watch.state)).all() == ["bad", "bad"]
        assert session.scalar(sa.select(sa.func.count(Observation.id))) == 1


ABSURD = [
    (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)),
    (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    (datetime(2060, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)),
    (NOW - timedelta(seconds=20), NOW + timedelta(seconds=20)),
]


@pytest.mark.parametrize(("begins", "ends"), ABSURD)
def test_absurd_dates_are_recorded_and_scanned_no_oftener_than_each_minute(
    sessions: Sessions, actor: Actor, good: Chain, roots: Roots, begins: datetime, ends: datetime
) -> None:
    plain = judge(make_scan("a.example", {"192.0.2.1": good.ders}), roots, NOW)
    leaf = plain.addresses[0].leaf
    assert leaf is not None
    absurd = replace(plain, addresses=(replace(plain.addresses[0], leaf=replace(leaf, not_before=begins, not_after=ends)),))
    with sessions.writing() as session:
        (claimed,) = claim_due(session, perspective=LOCAL, urgent=True, most=1, lease=LEASE, now=NOW)
        done = record_scans(session, [Result(claimed.endpoint_id, claimed.claim, absurd)], interval=8 * HOUR, spread=lambda: 1.0, now=NOW)
        assert done == Recorded(1, 0)
    due = one(sessions, Schedule.next_scan_at)
    assert isinstance(due, datetime)
    assert due >= NOW + timedelta(minutes=1)
    if ends - begins > timedelta(hours=8) or ends < begins:
        assert due >= NOW + timedelta(minutes=5)


def test_a_clock_that_was_ahead_blinds_nobody(sessions: Sessions, actor: Actor, good: Chain, roots: Roots) -> None:
    ahead = NOW + timedelta(days=20)
    scan(sessions, roots, lambda _: make_scan("a.example", {"192.0.2.1": good.ders}, at=ahead), ahead)
    with sessions.writing() as session:
        assert pull_in(session, longest=9 * HOUR, now=NOW) == 1
        assert run_scans(session, lambda _: make_scan("a.example", {"192.0.2.1": good.ders}, at=NOW), roots=roots, now=NOW) == Recorded(
            1, 0
        )
        assert pull_in(session, longest=9 * HOUR, now=NOW) == 0
    assert one(sessions, Schedule.last_scanned_at) == NOW


@pytest.mark.slow
def test_removing_and_recording_at_once_neither_deadlock_nor_miscount(sessions: Sessions, roots: Roots, good: Chain) -> None:
    names = [f"h{number}.example" for number in range(40)]
    wrong = make_chain(["b.example"], root=good.root, now=NOW)
    with sessions.writing() as session:
        actor = make_actor(session)
        refs = [added.ref for added in make_watches(session, actor, *names)]
    failures: list[BaseException] = []
    started = threading.Barrier(3)

    def attempt(work: Callable[[], object]) -> None:
        started.wait(20)
        try:
            for _ in range(6):
                work()
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failures.append(error)

    def record() -> None:
        with sessions.writing() as session:
            claims = claim_due(session, perspective=LOCAL, urgent=True, most=100, lease=LEASE, now=NOW)
        verdict = judge(make_scan("h.example", {"192.0.2.1": wrong.ders}), roots, NOW)
        with sessions.writing() as session:
            results = [Result(claimed.endpoint_id, claimed.claim, verdict) for claimed in claims]
            record_scans(session, results, interval=8 * HOUR, spread=lambda: 1.0, now=NOW)

    def remove_and_restore() -> None:
        with sessions.writing() as session:
            remove_watches(session, actor, refs=refs[::-1], now=NOW)
        with sessions.writing() as session:
            restore_watches(session, actor, refs=refs, now=NOW)

    def tell() -> None:
        with sessions.writing() as session:
            claim_notices(session, most=100, now=NOW + timedelta(hours=1))

    threads = [threading.Thread(target=attempt, args=(work,)) for work in (record, remove_and_restore, tell)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with sessions.reading() as session:
        kept = dict(session.execute(sa.select(WatchTally.state, WatchTally.watches)).all())
        counted = dict(
            session.execute(sa.select(Watch.state, sa.func.count()).where(Watch.deleted_at.is_(None)).group_by(Watch.state)).all()
        )
    assert {state: count for state, count in kept.items() if count} == counted
    assert sum(counted.values()) == 40
