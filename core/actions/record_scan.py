"""Recording what scans saw: certificates, changed observations, findings, how things stand, incidents, notices, the next scan.

Quiet: what a scan sees is no act of a person. Recording a result twice is recording it once: a result moves the state only while
a scan is in hand, and takes it out of hand. A result that comes too late is kept as an observation and moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.actions.incidents import Standing, follow_up
from core.actions.plan_scan import next_scan
from core.actions.record_findings import record_findings
from core.actions.record_observations import keep_certificates, keep_late, record_observations
from core.scanner.summary import Summary, summarise
from core.scanner.verdict import Verdict
from core.store.endpoints import Schedule, close_gaps, count_scans, lock_schedules, set_verdicts

ATTEMPTS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one claim."""

    endpoint_id: int
    claim: int
    verdict: Verdict

    @property
    def perspective(self) -> str:
        """Where it was looked from."""
        return self.verdict.scan.observations[0].perspective


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many results moved the state, and how many came late or twice."""

    recorded: int
    late: int


def record_scans(
    session: Session, results: Sequence[Result], *, interval: timedelta, spread: Callable[[], float], now: datetime
) -> Recorded:  # fmt: skip
    """Record at most a few hundred results in the caller's transaction. `spread` gives numbers between 0.9 and 1.1."""
    schedules = lock_schedules(session, [result.endpoint_id for result in results])
    in_hand: list[tuple[Result, Schedule, Summary]] = []
    late: list[Result] = []
    for result in sorted({result.endpoint_id: result for result in results}.values(), key=lambda result: result.endpoint_id):
        schedule = _schedule(schedules, result)
        if schedule is None or not _wanted(schedule, result, now):
            late.append(result)
        else:
            in_hand.append((result, schedule, summarise(result.verdict)))
    keep_certificates(session, [result.verdict for result in results], now)
    keep_late(session, [(result.endpoint_id, result.verdict) for result in late])
    record_observations(session, [(result.endpoint_id, result.verdict) for result, _, _ in in_hand])
    record_findings(session, [(result.endpoint_id, result.verdict) for result, _, _ in in_hand], now)
    set_verdicts(session, [_verdict_row(result, summary, now) for result, _, summary in in_hand])
    follow_up(session, [Standing(result.endpoint_id, result.verdict, summary) for result, _, summary in in_hand], now=now)
    for result, schedule, summary in in_hand:
        _plan(schedule, result, summary, interval=interval, spread=spread(), now=now)
    session.flush()
    close_gaps(session, [result.endpoint_id for result, _, _ in in_hand], now)
    count_scans(session, [result.perspective for result, _, _ in in_hand], now)
    return Recorded(len(in_hand), len(results) - len(in_hand))


def _schedule(schedules: dict[int, list[Schedule]], result: Result) -> Schedule | None:
    return next((row for row in schedules.get(result.endpoint_id, []) if row.perspective == result.perspective), None)


def _wanted(schedule: Schedule, result: Result, now: datetime) -> bool:
    """Whether a scan is in hand, and this one is newer than the last that was recorded.

    Whose claim it was does not matter: where a lease ran out and the endpoint was handed out anew, the first result to come is as
    good as the second, which then finds nothing in hand.
    """
    last = schedule.last_scanned_at
    newer = last is None or result.verdict.scan.scanned_at > last or last > now  # a clock that was ahead must not blind us
    return schedule.lease_until is not None and newer


def _verdict_row(result: Result, summary: Summary, now: datetime) -> dict[str, object]:
    return {
        "endpoint_id": result.endpoint_id,
        "perspective": result.perspective,
        "judged_at": now,
        "ruleset": result.verdict.ruleset,
        "state": summary.state,
        "ends_at": summary.ends_at,
        "sentence": summary.sentence,
        "cname_chain": list(result.verdict.scan.cname_chain),
    }


def _plan(schedule: Schedule, result: Result, summary: Summary, *, interval: timedelta, spread: float, now: datetime) -> None:
    schedule.failures = min(schedule.failures + 1, ATTEMPTS_KEPT) if summary.state == "unk" else 0
    scanned_at = result.verdict.scan.scanned_at
    asked_since = schedule.requested_at is not None and schedule.requested_at > scanned_at
    if not asked_since:
        schedule.next_scan_at = next_scan(
            result.verdict, summary, failures=schedule.failures, interval=interval, spread=spread, now=now
        )  # fmt: skip
        schedule.urgent = False
    schedule.lease_until = None
    schedule.scans += 1
    schedule.last_scanned_at = scanned_at
