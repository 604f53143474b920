"""BR 6.3.2 (validity period): no longer than was allowed on the day it was issued.

Says: how long the certificate is valid and what was allowed; for information, where it is within a day of the limit.
Why: browsers refuse public certificates that live longer than the rules of their day allow.
Do: have it issued for less: 200 days from 15 Mar 2026, 100 days from 15 Mar 2027, 47 days from 15 Mar 2029.
Limits: judged by the certificate's own first day, for every certificate with a path, private authorities too. Before July 2012
  there was no limit.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import day, span

ID = "CERT-VALIDITY"
SEVERITY = Severity.HIGH
NEEDS: tuple[str, ...] = ("not_before", "not_after")

ONE_SECOND = timedelta(seconds=1)
DAYS = (  # issued from, at most days
    (datetime(2029, 3, 15, tzinfo=UTC), 47),
    (datetime(2027, 3, 15, tzinfo=UTC), 100),
    (datetime(2026, 3, 15, tzinfo=UTC), 200),
    (datetime(2020, 9, 1, tzinfo=UTC), 398),
    (datetime(2018, 3, 1, tzinfo=UTC), 825),
)
MONTHS = ((datetime(2015, 4, 1, tzinfo=UTC), 39), (datetime(2012, 7, 1, tzinfo=UTC), 60))
SHOULD_FROM = datetime(2020, 9, 1, tzinfo=UTC)


def applies(subject: Subject) -> bool:
    """Leaves that lead to a root of ours."""
    return subject.path.anchored


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding."""
    begin, end = subject.leaf.not_before, subject.leaf.not_after
    if not begin or not end:
        return ()
    valid = end - begin + ONE_SECOND  # both ends count
    days = next((days for since, days in DAYS if begin >= since), None)
    months = next((months for since, months in MONTHS if begin >= since), None)
    if days is not None:
        limit = f"{days} days"
        severity = _severity(valid, timedelta(days=days), should=begin >= SHOULD_FROM)
    elif months is not None:
        limit = f"{months} months"
        severity = SEVERITY if end > _months_later(begin, months) else None
    else:
        return ()
    if severity is None:
        return ()
    length = f"{valid.days} days" + (f" and {span(timedelta(seconds=valid.seconds))}" if valid.seconds else "")
    over = f"valid for {length}; {limit} are the most for one issued on {day(begin)}"
    near = f"valid for {length}, within a day of the {limit} that are the most for one issued on {day(begin)}"
    return (
        subject.finding(
            ID,
            severity,
            f"This certificate is {over if severity is SEVERITY else near}.",
            cause="Public authorities must not issue longer ones, and browsers refuse them; a private authority may not know the limit."
            if severity is SEVERITY
            else "Authorities are asked to stay a day below the limit, so that a difference of clocks does not break it.",
            fix=f"Have the next certificate issued for less than {limit}, and let it be renewed automatically.",
            evidence={"valid_s": int(valid.total_seconds()), "limit": limit, "not_before": begin.isoformat()},
        ),
    )


def _severity(valid: timedelta, limit: timedelta, *, should: bool) -> Severity | None:
    if valid > limit:
        return SEVERITY
    return Severity.INFO if should and valid > limit - timedelta(days=1) else None


def _months_later(begin: datetime, months: int) -> datetime:
    """The same day of the month, or the first of the next where there is none."""
    years, month = divmod(begin.month - 1 + months, 12)
    try:
        return begin.replace(year=begin.year + years, month=month + 1)
    except ValueError:
        return begin.replace(year=begin.year + years, month=month + 2, day=1)
