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
SOONEST = timedelta(minutes=1)
"""However short a lifetime, nobody is dialled more often than this."""
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
    for begins, ends in _lifetimes(verdict):
        if begins <= now < ends:
            wait = min(wait, max((ends - begins) / SHARE_OF_LIFETIME, SOONEST))
    due = now + wait * spread
    turns = [moment + timedelta(seconds=1) for moment in _turning_points(verdict) if now < moment < due]
    return max(min([due, *turns]), min(due, now + SOONEST))


def _lifetimes(verdict: Verdict) -> list[tuple[datetime, datetime]]:
    """Beginning and end of every leaf whose dates can be read and are in order."""
    leaves = [address.leaf for address in verdict.addresses if address.leaf is not None]
    dates = [(leaf.not_before, leaf.not_after) for leaf in leaves]
    return [(begins, ends) for begins, ends in dates if begins is not None and ends is not None and begins < ends]


def _turning_points(verdict: Verdict) -> list[datetime]:
    """When a verdict changes by time alone: a beginning, an end, and the shares of the lifetime at which people are told."""
    points: list[datetime] = []
    for begins, ends in _lifetimes(verdict):
        lifetime = ends - begins
        points += [begins, ends, *(ends - lifetime / step for step in STEPS)]
        if lifetime > SOON:
            points.append(ends - SOON)
    return points
