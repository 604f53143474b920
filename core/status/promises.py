"""The six promises made after the accident: how far each is kept, and the newest evidence that somebody can look at."""

from __future__ import annotations

from dataclasses import dataclass

from core.render import plural
from core.status.told import Measure, SeenBackups, SeenLog, Told


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How the installation is set up.

    `logins_apart`: PostgreSQL with a login for each process; `elsewhere`: some backup target is another machine; `published`: the feed is
    copied to another place.
    """

    logins_apart: bool = False
    elsewhere: bool = False
    published: bool = False


def promises(told: Told, ways: Circumstances) -> tuple[Measure, ...]:
    """The six, in the order in which they were made."""
    return (
        _privileges(told.log, ways),
        _backups(told.backups, ways),
        _not_yet(
            "snapshots",
            "Daily snapshots of the servers, kept for two weeks",
            "Nothing takes snapshots of the machines yet, and nothing here says otherwise. Before each upgrade of the database a backup is "
            "made and proven by a restore.",
        ),
        _monitoring(told, ways),
        _not_yet(
            "cluster",
            "A highly available cluster in two or three regions, which also sees the servers that DNS names in each region",
            "There is one place from which certificates are looked at, and one that serves people. Each result names the place it was seen "
            "from, so that more can be added.",
        ),
        _exports(told),
    )


def _not_yet(key: str, promise: str, says: str) -> Measure:
    return Measure(key, promise, "not yet", says, "", None, "")


def _privileges(log: SeenLog | None, ways: Circumstances) -> Measure:
    promise = "Database privileges that disable catastrophic commands, with logging for each table"
    says = (
        "Each process has a login of its own, and none that serves people may delete what they typed in. Entries of the log can be changed "
        "by nobody. Not there yet: refusing a DROP or an unbounded DELETE to operators, and a log for each table."
        if ways.logins_apart
        else "This database has no logins to tell apart. Entries of the log cannot be changed or deleted in it. Not there yet: guarded "
        "privileges, and a log for each table."
    )
    newest = f"The log has {log.size:,} entries, and anybody can check that none was changed." if log else ""
    return Measure("privileges", promise, "partly", says, newest, log.logged_at if log else None, "log/" if log else "")


def _backups(seen: SeenBackups | None, ways: Circumstances) -> Measure:
    promise = "Automated daily backups on a dedicated server"
    if seen is None or seen.newest_at is None:
        return _not_yet("backups", promise, "There is no backup yet.")
    proven = seen.proven_at is not None and seen.accounts is not None
    newest = f"{seen.restorable:,} of {seen.accounts:,} accounts restored in the newest drill." if proven else "A backup, not proven yet."
    says = "Backups are made daily and each is proven by restoring it."
    if not ways.elsewhere:
        says += " They lie on the machine they are of: no other place is set up, and the loss of the machine would be theirs too."
    state = "kept" if ways.elsewhere and proven else "partly"
    return Measure("backups", promise, state, says, newest, seen.proven_at or seen.newest_at, "index.html#h-ba")


def _monitoring(told: Told, ways: Circumstances) -> Measure:
    promise = "Public monitoring of up time, incidents, and every access to production servers"
    says = "Up time is measured, incidents are published, and each access is told in a log that others can check."
    if not told.hosts:
        says += " No host reports accesses to it yet; operators who look at accounts, and shells, are told."
    if not ways.published:
        says += " This page is not copied to another host yet: it shares the fate of what it reports."
    state = "kept" if told.hosts and ways.published else "partly"
    if told.accesses:
        return Measure("monitoring", promise, state, says, "The newest access to production.", told.accesses[0].started_at, "access/")
    heard = max((host.heard_at for host in told.hosts if host.heard_at is not None), default=None)
    return Measure("monitoring", promise, state, says, "The newest word of a host." if heard else "", heard, "access/" if heard else "")


def _exports(told: Told) -> Measure:
    promise = "Exports of certificates and active domains, so that users can back up their configuration"
    says = (
        "Owners and managers take out all that their account holds, now or by a plan, in a signed file that anybody can read and check, "
        "and that comes back whole, into this installation or another."
    )
    seen = told.exports
    newest = f"{plural(seen.made, 'export')} in 30 days; the newest was made then." if seen else "Nobody made one in 30 days."
    return Measure("exports", promise, "kept", says, newest, seen.newest_at if seen else None, "")
