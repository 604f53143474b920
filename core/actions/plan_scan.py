"""When an endpoint is scanned next."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.scanner.summary import Summary
from core.scanner.verdict import Verdict

SOON = timedelta(days=3)
"""From here on, and while something is wrong, an endpoint is looked at hourly: a cure is noticed within the hour."""
HOUR = timedelta(hours=1)
FIRST_RETRY = timedelta(minutes=5)
SHARE_OF_LIFETIME = 48
STEPS = (3, 6, 12)


def next_scan(verdict: Verdict, summary: Summary, *, failures: int, interval: timedelta, spread: float, now: datetime) -> datetime:
    """The next scan: after `interval`, sooner where an end is near or the lifetime short, later and later where nothing answers.

    `failures` counts scans in a row, this one included, in which no address gave a certificate. `spread` is between 0.9 and 1.1,
    so that what was added at once does not stay together for ever. Passing a step of the lifetime is never missed.
    """
    wait = interval
    if failures:
        wait = min(interval, FIRST_RETRY * 2 ** min(failures - 1, 10))
    elif summary.state == "bad" or (summary.ends_at and summary.ends_at - now < SOON):
        wait = min(interval, HOUR)
    for address in verdict.addresses:
        leaf = address.leaf
        if leaf and leaf.not_before and leaf.not_after and leaf.not_after > now:
            wait = min(wait, max((leaf.not_after - leaf.not_before) / SHARE_OF_LIFETIME, timedelta(seconds=30)))
    due = now + wait * spread
    return min([due, *(moment + timedelta(seconds=1) for moment in _turning_points(verdict) if now < moment < due)])


def _turning_points(verdict: Verdict) -> list[datetime]:
    """When a verdict changes by time alone: a beginning, an end, and the shares of the lifetime at which people are told."""
    points: list[datetime] = []
    for address in verdict.addresses:
        leaf = address.leaf
        if leaf is None or leaf.not_before is None or leaf.not_after is None:
            continue
        lifetime = leaf.not_after - leaf.not_before
        points += [leaf.not_before, leaf.not_after, leaf.not_after - SOON]
        points += [leaf.not_after - lifetime / step for step in STEPS]
    return points
