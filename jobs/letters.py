"""Send letters: what each says is composed as it leaves, with a link whose token nobody else ever holds."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from core.actions.accounts import token_sha256
from core.actions.letters import claim_letters, hand_letter, record_letter
from core.channels import Delivery
from core.channels import Letter as Composed
from core.channels.mail import MailChannel, spelled
from core.leaving import leaving
from core.render import render
from core.store.accounts import user_by_email
from core.store.letters import Letter, handed_lately
from core.store.public_incidents import is_told, told_in_mail
from jobs.context import Context

AT_ONCE: Final = 20
WORKS_FOR: Final = timedelta(seconds=45)
"""Well within the job's own limit, which might strike while a letter is on its way."""
PATHS: Final[Mapping[str, str]] = {
    "reset": "/reset/",
    "sign_up": "/sign-up/",
    "invitation": "/invitation/",
    "email_old": "/email/old/",
    "email_new": "/email/new/",
    "export_ready": "/exports/get/",
    "status_confirm": "/status/confirm/",
}
"""Where a letter's link leads. Kinds that are not here bear none."""
AN_HOUR: Final = 3
"""So many of each of `ASKED` leave for one address in an hour: nobody fills a stranger's letter box by us."""
ASKED: Final = frozenset({"reset", "sign_up", "invitation", "email_new", "status_confirm"})
"""Kinds that somebody else may ask for in one's name."""
SUBSCRIBED: Final = frozenset({"status_confirm", "status_told"})
"""Kinds that who gets them may leave with one click."""
log = logging.getLogger("keychest.letters")


def send_letters(context: Context) -> None:
    """Send what is due, until nothing is or the time is over: then the clock calls again."""
    channel = MailChannel(context.smtp_url, context.mail_from, context.data / "outbox")
    until = context.now() + WORKS_FOR
    while context.now() < until:
        with context.sessions.writing() as session:
            taken = claim_letters(session, most=AT_ONCE, now=context.now())
            session.expunge_all()
        if not taken:
            return
        for letter in taken:
            _send(context, channel, letter)


def _send(context: Context, channel: MailChannel, letter: Letter) -> None:
    token = secrets.token_urlsafe(32) if letter.kind in PATHS else ""
    with context.sessions.reading() as session:
        known = user_by_email(session, letter.email)
        needless = letter.kind == "reset" and user_by_email(session, letter.email, let_in=True) is None
        needless = needless or (letter.kind == "status_told" and not is_told(session, letter.about))
        told = told_in_mail(session, int(letter.words["update"])) if letter.kind == "status_told" else letter.words
        many = letter.kind in ASKED and handed_lately(session, letter.kind, letter.email, context.now() - timedelta(hours=1)) >= AN_HOUR
    if (letter.kind == "sign_up" and known is not None) or (letter.kind == "status_confirm" and letter.words["there"]):
        token = ""
    whose = known.id if known is not None and letter.kind == "reset" else None

    def hand() -> bool:
        with context.sessions.writing() as session:
            sha256 = token_sha256(token) if token else None
            return hand_letter(session, letter, token_sha256=sha256, user_id=whose, now=context.now())

    delivery = Delivery("gone") if needless or many else channel.post(_composed(context, letter, token, told), hand)
    with context.sessions.writing() as session:
        record_letter(session, letter.id, delivery, now=context.now())
    log.info("%s: a letter (%s)", delivery.outcome, letter.kind)


def _composed(context: Context, letter: Letter, token: str, told: Mapping[str, object]) -> Composed:
    """The template's first line is the subject. `told`: what its text is filled with."""
    words = {name: spelled(str(value)) for name, value in told.items()}
    if letter.kind == "status_told":
        words["text"] = "\n".join(spelled(line) for line in str(told["text"]).split("\n"))
    link = f"{context.public_url}{PATHS[letter.kind]}{token}" if token else ""
    leave = f"{context.public_url}/status/leave/{leaving(context.keys, letter.about)}" if letter.kind in SUBSCRIBED else ""
    until = f"{letter.expires_at:%-d %b %Y, %H:%M} UTC"
    text = render(
        f"mail/letters/{letter.kind}.txt",
        words=words,
        link=link,
        leave=leave,
        until=until,
        email=letter.email,
        portal_url=context.public_url,
        feed=context.status_address or context.public_url,
    )
    subject, _, body = text.strip().partition("\n")
    return Composed(letter.ref, letter.email, subject.strip(), body.strip() + "\n", context.public_url, context.now(), leave=leave)
