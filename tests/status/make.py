"""Plain factories for what the status feed says: a rich moment, one on which nothing is known yet, and one on which nobody answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from core.status.told import (
    COMPONENTS,
    Component,
    ComponentState,
    Day,
    Incident,
    Measure,
    SeenAccess,
    SeenBackups,
    SeenExports,
    SeenHost,
    SeenLog,
    SeenScans,
    SeenWitness,
    Told,
    Update,
)

MADE = datetime(2026, 11, 23, 9, 14, tzinfo=UTC)
ADDRESS = "https://keychest.example"
FEED = "https://status.keychest.example"
_DAY_S = 86_400


def ago(days: int = 0, hours: int = 0, minutes: int = 0) -> datetime:
    """So long before the feed was made."""
    return MADE - timedelta(days=days, hours=hours, minutes=minutes)


def make_days(odd: dict[int, tuple[int, int, int]] | None = None) -> tuple[Day, ...]:
    """90 calm days; `odd`: (measured, late, down) seconds by how many days ago."""
    odd = odd or {}
    return tuple(Day(ago(days).date(), *odd.get(days, (_DAY_S if days else 33_240, 0, 0))) for days in range(89, -1, -1))


def make_component(key: str, state: ComponentState = "ok", says: str = "It works.", days: tuple[Day, ...] | None = None) -> Component:
    """A part that was measured half a minute ago."""
    since = ago(minutes=43) if state in {"late", "down"} else None
    return Component(
        key,
        state,
        says,
        "by asking it, from a process of its own",
        since,
        ago() - timedelta(seconds=30),
        make_days() if days is None else days,
    )


def rich_told() -> Told:
    """A moment with something of everything: a late part, an open incident, planned work, accesses, and all that is proven."""
    late = make_component(
        "notifications", "late", "E-mail leaves up to 9 minutes late.", make_days({77: (_DAY_S, 1_200, 0), 0: (33_240, 2_580, 0)})
    )
    parts = {
        "portal": make_component(
            "portal", says="Pages and the API answer.", days=make_days({58: (_DAY_S, 0, 1_320), 27: (_DAY_S, 600, 0)})
        ),
        "scanning": make_component("scanning", says="Every check is made on time."),
        "notifications": late,
        "database": make_component("database", days=make_days(dict.fromkeys(range(69, 90), (0, 0, 0)))),
        "backups": make_component("backups", says="The newest backup is 14 minutes old."),
        "log": make_component("log", says="The log goes on, and its witnesses sign."),
    }
    return Told(
        made_at=MADE,
        address=ADDRESS,
        feed=FEED,
        version="2.4.1",
        components=tuple(parts[key] for key in COMPONENTS),
        incidents=make_incidents(),
        accesses=make_accesses(),
        hosts=(
            SeenHost("ams-1", ago(minutes=1), silent=False, missing=0, refused=0),
            SeenHost("ams-2", ago(hours=3), silent=True, missing=2, refused=1),
            SeenHost("osl-1", None, silent=True, missing=0, refused=0),
        ),
        backups=SeenBackups(1_284, 1_284, ago(hours=6), "100.000", ago(minutes=14), ago(364), 3, ((1, 48_102), (1, 48_103))),
        scans=SeenScans(1_912, 0),
        exports=SeenExports(37, ago(hours=4)),
        log=SeenLog(
            1,
            "keychest.example/log",
            48_213,
            "b7e290c418f35ad06c7be14293d8f50a27c1be64f0893d5ea41b72c60e95d83f",
            ago(minutes=4),
            (SeenWitness("witness.bergen.example", ago(minutes=3)), SeenWitness("certwatch.example", None)),
        ),
        measures=make_measures(),
    )


def make_incidents() -> tuple[Incident, ...]:
    """An open one, work that is planned, work under way, and two that ended: one with a post-mortem, one without."""
    seen = (
        Update("monitoring", "The queue is down from 4,100 to 610 messages. Nothing was lost.", ago(minutes=8)),
        Update(
            "identified",
            "The relay refused our address after its reverse name changed.\nMail now leaves by the second relay.",
            ago(minutes=27),
        ),
        Update("investigating", "Mail is more than 5 minutes late.", ago(minutes=43)),
    )
    mail = Incident(
        "in-mail77",
        "E-mail notifications are late",
        "minor",
        "monitoring",
        ("notifications",),
        automatic=True,
        opened_at=ago(minutes=43),
        published_at=ago(minutes=33),
        changed_at=ago(minutes=8),
        ended_at=None,
        planned_from=None,
        planned_until=None,
        account="",
        updates=seen,
    )
    down = replace(
        mail,
        ref="in-down58",
        title="Web and API down for 22 min",
        impact="critical",
        state="resolved",
        components=("portal", "database"),
        opened_at=ago(58),
        published_at=ago(58),
        changed_at=ago(50),
        ended_at=ago(58) + timedelta(minutes=22),
        account="What happened: a migration held a lock.\n\nWhat we changed: migrations give up after 2 s.\n\nWhat we still owe: nothing.",
        updates=(
            Update("resolved", "The lock is gone, and every page answers. Checks went on; 0 missed.", ago(58) + timedelta(minutes=22)),
            Update("investigating", "Pages do not answer.", ago(58)),
        ),
    )
    again = replace(
        down,
        ref="in-late33",
        title="Checks were late by 3 min",
        impact="minor",
        components=("scanning",),
        account="",
        opened_at=ago(33),
        published_at=ago(33),
        changed_at=ago(33) + timedelta(hours=1),
        ended_at=ago(33) + timedelta(hours=1),
        updates=(Update("resolved", "Checks are made on time again.", ago(33) + timedelta(hours=1)),),
    )
    work = replace(
        mail,
        ref="pl-disk01",
        title="New disks",
        impact="none",
        state="scheduled",
        components=("database", "backups"),
        automatic=False,
        opened_at=ago(2),
        published_at=ago(2),
        changed_at=ago(2),
        planned_from=MADE + timedelta(days=3),
        planned_until=MADE + timedelta(days=3, hours=2),
        updates=(Update("scheduled", "Disks are changed one by one. Nothing stops.", ago(2)),),
    )
    return (mail, work, down, again)


def make_accesses() -> tuple[SeenAccess, ...]:
    """Newest first: open ones, one without a reason, one that was lost, one by a skewed clock, one that the log has not taken in yet."""
    first = SeenAccess(
        "ac-1", "ams-1", "ssh", "administrator", ago(minutes=30), None, "", "Late e-mail: look at the relay's queue", None, ((1, 48_200),)
    )
    return (
        first,
        replace(first, ref="ac-2", kind="portal", host="the portal", role="operator", started_at=ago(hours=2), reason="", entries=()),
        replace(
            first,
            ref="ac-3",
            host="ams-2",
            kind="sftp",
            role="user",
            started_at=ago(3),
            ended_at=None,
            ending="lost",
            reason="Copy of a certificate",
            skewed_s=412,
        ),
        replace(
            first,
            ref="ac-4",
            kind="ssh",
            started_at=ago(6),
            ended_at=ago(6) + timedelta(minutes=6),
            ending="closed",
            reason="",
            entries=((1, 47_001), (1, 47_002)),
        ),
        replace(
            first,
            ref="ac-5",
            kind="database",
            role="superuser",
            started_at=ago(11),
            ended_at=ago(11) + timedelta(minutes=48),
            ending="closed",
            reason="Restore drill for 12 accounts",
        ),
    )


def make_measures() -> tuple[Measure, ...]:
    """Six promises: kept, kept in part, and not yet."""
    return (
        Measure(
            "accounts",
            "An account can be restored alone.",
            "kept",
            "Proven every day.",
            "1,284 of 1,284 accounts were restored.",
            ago(hours=6),
            "index.html#h-ba",
        ),
        Measure(
            "offline",
            "One copy is out of reach of this installation.",
            "partly",
            "It is made weekly, by hand.",
            "A copy was made.",
            ago(4),
            "",
        ),
        Measure("two", "Nobody restores alone.", "kept", "Two people approve.", "Refused to one person alone.", ago(2), "log/"),
        Measure("log", "Every act is in a log that others sign.", "kept", "The log goes on.", "48,213 entries.", ago(minutes=4), "log/"),
        Measure(
            "access",
            "Every access to production is public.",
            "partly",
            "One host is silent.",
            "The newest access.",
            ago(minutes=30),
            "access/",
        ),
        Measure("away", "The status page is somewhere else too.", "not yet", "It is being built.", "", None, ""),
    )


def empty_told() -> Told:
    """A moment on which nothing was measured, nothing is proven, and nothing happened."""
    parts = tuple(Component(key, "unmeasured", "Nobody has measured this yet.", "", None, None, ()) for key in COMPONENTS)
    return Told(MADE, ADDRESS, FEED, "2.4.1", parts)


def calm_told() -> Told:
    """A moment on which all works and nothing is open."""
    rich = rich_told()
    parts = tuple(make_component(key) for key in COMPONENTS)
    over = tuple(each for each in rich.incidents if each.ended_at)
    return replace(
        rich, components=parts, incidents=over, hosts=rich.hosts[:1], accesses=tuple(each for each in rich.accesses if each.ending)
    )


def unreachable_told() -> Told:
    """What a watcher says that cannot reach the portal for 20 minutes."""
    how = "Three places on other networks asked every 15 s, and none was answered."
    return replace(rich_told(), known_at=ago(minutes=20), unreachable_since=ago(minutes=19), how=how)
