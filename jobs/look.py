"""A look at the backups every few minutes: the kit is kept up, what is too old goes, and operators are told what is wrong, silence too."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from core.actions.alarms import ToTell, alarm_mails_due, hand_alarm_mail, record_alarm_mail, settle_alarms
from core.actions.backups import remove_backup, stored_of
from core.actions.chores import end_chore, take_chore
from core.actions.policy import Actor
from core.backups import kit
from core.backups.alarms import KINDS, alarms
from core.backups.engine import BackupError
from core.backups.facts import gather, known_until
from core.backups.retention import Candidate, plan
from core.backups.stored import Stored
from core.channels import Delivery, Letter
from core.channels.mail import MailChannel
from core.render import render
from core.store.backups import backups, newest_kit, open_holds
from core.targets import Target, TargetError
from jobs.context import Context
from jobs.kits import put_kit
from jobs.lease import LEASE, kept

WORKER: Final = Actor(worker=True)
EVERY: Final = timedelta(minutes=5)
log = logging.getLogger("keychest.look")


def look(context: Context, *words: str) -> None:
    """Do all of it; with words, though it is not due."""
    with context.sessions.writing() as session:
        taken = take_chore(session, "look", lease=LEASE, now=context.now(), anyway=bool(words))
    if taken is None:
        return
    with kept(context, taken):
        kit_faults = _keep_kit(context)
        _remove_old(context)
        with context.sessions.writing() as session:
            facts = gather(session, kit_faults=kit_faults)
            found = alarms(facts, interval=context.plan.interval, longest_age=context.plan.longest_age, now=context.now())
            settle_alarms(session, WORKER, found=found, now=context.now())
        with context.sessions.reading() as session:
            tellings = alarm_mails_due(session, context.now())
        for telling in tellings:
            _tell(context, telling)
    with context.sessions.writing() as session:
        end_chore(session, taken, next_at=context.now() + EVERY, now=context.now())


def _keep_kit(context: Context) -> tuple[str, ...]:
    with context.sessions.reading() as session:
        begun = bool(backups(session, most=1))
    if not begun:
        return ()  # the first backup brings the first kit
    try:
        put_kit(context)
    except (BackupError, TargetError, OSError) as error:
        return (str(error),)
    with context.sessions.reading() as session:
        row = newest_kit(session)
    if row is None:
        return ()
    short = [f"{shown}: {error}" for shown, error in row.targets.items() if error]
    return (*short, *kit.compare(row.fingerprints, context.plan.place()))


def _remove_old(context: Context) -> None:
    """Retention: the label goes first, so that nothing looks whole that is not. One that a target does not give up is tried again."""
    with context.sessions.reading() as session:
        rows = backups(session)
        held = bool(open_holds(session))
        found = plan(
            [Candidate(row.ref, row.at or row.began_at, row.restorable is True) for row in rows],
            context.plan.retention,
            held=held,
            known_until=known_until(session),
            now=context.now(),
        )
        gone = [stored_of(row) for row in rows if row.ref in found.remove]
    if not gone:
        return
    try:
        targets = context.plan.targets()
        for stored in gone:
            _remove(context, targets, stored)
    except (BackupError, TargetError) as error:
        log.warning("an old backup stays for now: %s", error)


def _remove(context: Context, targets: Sequence[Target], stored: Stored) -> None:
    for target in targets:
        target.remove(stored.label)
        if stored.sha256:
            target.remove(stored.sealed)
    with context.sessions.writing() as session:
        remove_backup(session, WORKER, ref=stored.ref, why="older than what is kept", now=context.now())
    log.info("backup %s was removed", stored.ref)


def _tell(context: Context, telling: ToTell) -> None:
    channel = MailChannel(context.smtp_url, context.mail_from, context.data / "outbox")

    def hand() -> bool:
        with context.sessions.writing() as session:
            return hand_alarm_mail(session, telling, now=context.now())

    delivery = channel.post(letter(context, telling), hand)
    if delivery.outcome != "elsewhere":
        _record(context, telling, delivery)


def _record(context: Context, telling: ToTell, delivery: Delivery) -> None:
    with context.sessions.writing() as session:
        record_alarm_mail(session, telling, delivery, now=context.now())


def letter(context: Context, telling: ToTell) -> Letter:
    """The mail: what is wrong in its subject, what to do in its text."""
    what = KINDS.get(telling.kind, "Something about backups needs you.")
    about = "Log" if telling.kind == "log" else "Backups"
    text = render(
        "mail/alarm.txt",
        closing=telling.closing,
        what=what,
        about_log=telling.kind == "log",
        message=telling.message,
        opened=f"{telling.opened_at:%-d %b %Y, %H:%M} UTC",
        closed=f"{telling.closed_at:%-d %b %Y, %H:%M} UTC" if telling.closed_at else "",
        portal_url=context.public_url,
    )
    subject = f"Over: {what}" if telling.closing else f"{about}: {what}"
    return Letter(telling.ref, telling.email, subject, text.strip() + "\n", context.public_url, context.now())
