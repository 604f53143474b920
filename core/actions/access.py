"""Accesses to production: which hosts are believed, what they report, why somebody was there, and a host that says nothing any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.entry import Value
from audit.log import Event, append
from core.actions.policy import Actor, Permission, Refused, require_installation, require_terminal, require_worker
from core.actions.reported import Signed, settle_open, take_report
from core.reported import MOST_REASON, Beat, ReportError, checked_key, is_host_name
from core.store.access import Access, Host, host_named, report_texts
from core.store.base import new_ref
from core.store.named import named_in

SILENT_AFTER: Final = timedelta(minutes=5)
"""Hosts send a heartbeat each minute."""
_COUNTED: Final = timedelta(minutes=1)
_TOLD_AGAIN: Final = timedelta(hours=1)
_SKEW_S: Final = 120
LEAST_REASON: Final = 10


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a delivery. `next`: the number that is wanted next; `trouble`: a sentence, where something in it does not hold.

    `beat`: then, the newest heartbeat that was heard, so that a host whose disk was put back to an older state can go on from there.
    """

    next: int
    trouble: str = ""
    beat: int = 0


def trust_host(session: Session, actor: Actor, *, name: str, public_key: str, now: datetime) -> str:
    """Believe what this key signs about a host; its reference. Strangers read the name. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    if not is_host_name(name):
        raise Refused(
            "A host's name consists of lower-case letters, digits, dots and hyphens, 64 at most: strangers read it. Nothing was changed.",
            "name",
        )
    try:
        key = checked_key(public_key)
    except ReportError as error:
        raise Refused(f"{error} Nothing was changed.", "key") from None
    former = session.scalar(sa.select(Host).where(Host.name == name, Host.public_key == key, Host.retired_at.is_not(None)).limit(1))
    if host_named(session, name) is not None:
        raise Refused(f"{name} is trusted already. Retire it first (./keychest access retire {name}); what it reported stays.", "name")
    if former is not None:  # it goes on where it ended: nothing is told twice
        former.retired_at, former.added_at, former.silent_at = None, now, None
        append(session, Event("host.trusted.v1", now, actor.name, public={"host": name}, private={"key": key}))
        return former.ref
    never = dict.fromkeys(("retired_at", "beat_at", "heard_at", "silent_at", "refused_at"))
    host = Host(ref=new_ref(), name=name, public_key=key, added_at=now, **never)
    session.add(host)
    append(session, Event("host.trusted.v1", now, actor.name, public={"host": name}, private={"key": key}))
    return host.ref


def retire_host(session: Session, actor: Actor, *, name: str, now: datetime) -> None:
    """Take no more reports of a host. What it reported stays; what is open on it ends unknown. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    host = host_named(session, name)
    if host is None:
        raise Refused(f"No host is called {name}. ./keychest access list names those there are. Nothing was changed.", "name")
    host.retired_at = now
    settle_open(session, host, (), now)
    append(session, Event("host.retired.v1", now, actor.name, public={"host": name}))


def take_delivery(session: Session, *, host_id: int, beat: Beat, reports: Sequence[Signed], now: datetime) -> Taken:
    """Take in what a host delivered, whose signatures hold by its key. In order, each number once; what was taken before is passed over.

    Nothing is taken after something that contradicts what was said before.
    """
    host = session.get_one(Host, host_id, with_for_update=True)
    if host.retired_at is not None:
        return Taken(host.taken + 1, f"{host.name} is not trusted any more. Nothing of this was taken.")
    if beat.beat <= host.beat or beat.last < host.taken:
        return _contradicts(session, host, _replayed(beat, host), now)
    if host.silent_at is not None:
        host.silent_at = None
        append(session, Event("host.heard.v1", now, "worker", public={"host": host.name}))
    skew = round((beat.at - now).total_seconds())
    host.beat, host.beat_at, host.heard_at, host.claimed = beat.beat, beat.at, now, beat.last
    host.skew_s = skew if abs(skew) > _SKEW_S else 0
    known = report_texts(session, host.id, [each.report.number for each in reports if each.report.number <= host.taken])
    for each in sorted(reports, key=lambda signed: signed.report.number):
        if each.report.number <= host.taken:
            if known.get(each.report.number) != each.text:
                return _contradicts(session, host, f"Number {each.report.number} was told before, and otherwise.", now)
        elif each.report.number == host.taken + 1:
            take_report(session, host, each, now)
        else:
            break
    if host.taken == beat.last:
        host.boot = beat.boot
        settle_open(session, host, beat.open, beat.at)
    return Taken(host.taken + 1)


def refuse_delivery(session: Session, *, host_id: int, why: str, now: datetime) -> None:
    """Something came in a host's name that does not hold. It is counted once a minute at most, and told once an hour."""
    host = session.get_one(Host, host_id, with_for_update=True)
    _refuse(session, host, why, now)


def counted_lately(refused_at: datetime | None, now: datetime) -> bool:
    """Whether something in a host's name was refused within this minute: then it is not counted again."""
    return refused_at is not None and timedelta() <= now - refused_at < _COUNTED


def give_reason(session: Session, actor: Actor, *, ref: str, reason: str, now: datetime) -> bool:
    """Say why somebody was there; False where no such access is known. The first reason stands. Strangers read it. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    said = _for_strangers(session, reason)
    access = session.scalar(sa.select(Access).where(Access.ref == ref).with_for_update())
    if access is None:
        return False
    if access.reason:
        raise Refused("A reason was given already, and stands in the log. Nothing was changed.", "reason")
    access.reason, access.reason_at = said, now
    append(session, Event("access.reasoned.v1", now, actor.name, public={"access": ref, "late": True}, private={"reason": said}))
    return True


def open_shell(session: Session, actor: Actor, *, reason: str, person: str, place: str, writing: bool, now: datetime) -> str:
    """Somebody opens a shell on the store: the access's reference. `place`: which process that is. Raises Refused for no reason."""
    require_terminal(actor)
    said = _for_strangers(session, reason)
    access = Access(
        ref=new_ref(), host_id=None, session=place, kind="database", role="administrator", person=person, started_at=now, recorded_at=now,
        ended_at=None, skewed_s=None, reason=said, reason_at=now,
    )  # fmt: skip
    session.add(access)
    public: dict[str, Value] = {"access": access.ref, "host": "", "kind": "database", "role": "administrator", "writing": writing}
    append(session, Event("access.opened.v1", now, actor.name, public=public, private={"person": person, "reason": said}))
    return access.ref


def close_shell(session: Session, actor: Actor, *, ref: str, ending: str = "closed", now: datetime) -> None:
    """That shell is closed; "lost": its process is gone, and nobody saw when it ended."""
    require_worker(actor)
    access = session.scalars(sa.select(Access).where(Access.ref == ref).with_for_update()).one()
    if access.ended_at is None:
        access.ended_at, access.ending = now, ending
        append(session, Event("access.closed.v1", now, actor.name, public={"access": ref, "ending": ending}))


def note_silent_hosts(session: Session, actor: Actor, *, now: datetime) -> list[str]:
    """Hosts of which nothing was heard for SILENT_AFTER, from now on silent: their names."""
    require_worker(actor)
    heard = sa.func.coalesce(Host.heard_at, Host.added_at)
    quiet = sa.or_(heard < now - SILENT_AFTER, heard > now + SILENT_AFTER)  # the other: heard by a clock of ours that was wrong
    found = session.scalars(sa.select(Host).where(Host.retired_at.is_(None), Host.silent_at.is_(None), quiet).with_for_update()).all()
    for host in found:
        host.silent_at = now
        append(session, Event("host.fell_silent.v1", now, actor.name, public={"host": host.name}))
    return [host.name for host in found]


def _for_strangers(session: Session, reason: str) -> str:
    """A reason in one line. Raises Refused for one that is none, and for one that names what is somebody's."""
    said = " ".join(reason.split())
    if not LEAST_REASON <= len(said) <= MOST_REASON or not said.isprintable():
        raise Refused(f"Say in {LEAST_REASON} to {MOST_REASON} plain characters why: strangers read it. Nothing was changed.", "reason")
    if word := named_in(session, said):
        raise Refused(f"Strangers read the reason, and {word} is somebody's here. Say it without. Nothing was changed.", "reason")
    return said


def _replayed(told: Beat, host: Host) -> str:
    if told.beat <= host.beat:
        return f"Heartbeat {told.beat} is not newer than {host.beat}, which was heard before."
    return f"The host says that its newest report is number {told.last}; number {host.taken} was taken before."


def _contradicts(session: Session, host: Host, why: str, now: datetime) -> Taken:
    _refuse(session, host, why, now)
    return Taken(host.taken + 1, f"{why} Nothing of this was taken after that.", host.beat)


def _refuse(session: Session, host: Host, why: str, now: datetime) -> None:
    last = host.refused_at
    if counted_lately(last, now):
        return
    host.refused, host.refused_at = host.refused + 1, now
    if last is None or not timedelta() <= now - last < _TOLD_AGAIN:
        append(session, Event("access_report.refused.v1", now, "worker", public={"host": host.name}, private={"why": why}))
