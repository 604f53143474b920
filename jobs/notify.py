"""Tell people what is due to be told: one mail a notice, or one for all when many fall due at once for one person."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta

from core.actions.notices import ToTell, claim_notices, hand_over, record_delivery, release_notices
from core.channels import Channel, Delivery, Message, Topic
from core.channels.mail import MailChannel
from core.store.accounts import account_names, members_of
from core.store.served_at import served_at
from jobs.context import Context

AT_ONCE = 100
WORKS_FOR = timedelta(seconds=45)
"""Well within the job's own limit, which might strike while a message is on its way."""
MERGED_FROM = 10
"""From so many messages for one person on, they come as one mail: nobody reads forty."""
log = logging.getLogger("keychest.notify")


def send_notices(context: Context) -> None:
    """Send what is due, until nothing is or the time is over: then the rest is given back, and the clock calls again."""
    channel: Channel = MailChannel(context.smtp_url, context.mail_from, context.data / "outbox")
    until = context.now() + WORKS_FOR
    while True:
        with context.sessions.writing() as session:
            taken = claim_notices(session, most=AT_ONCE, now=context.now())
        if not taken:
            return
        messages = list(_messages(taken))
        while messages and context.now() < until:
            _tell(context, channel, messages.pop(0))
        if messages:
            with context.sessions.writing() as session:
                release_notices(session, [told.notice_id for together in messages for told in together])
            return


def _messages(taken: Sequence[ToTell]) -> Iterator[list[ToTell]]:
    """Notices that go into one message, in the order they arose."""
    by_person: dict[tuple[int, int], list[ToTell]] = {}
    for told in taken:
        by_person.setdefault((told.account_id, told.user_id), []).append(told)
    for mine in by_person.values():
        if len(mine) >= MERGED_FROM:
            yield mine
        else:
            yield from ([told] for told in mine)


def _tell(context: Context, channel: Channel, together: Sequence[ToTell]) -> None:
    ids = [told.notice_id for told in together]
    message = _message(context, together)

    handed = False

    def hand() -> bool:
        nonlocal handed
        with context.sessions.writing() as session:
            handed = hand_over(session, ids, now=context.now())
        return handed

    try:
        delivery = channel.deliver(message, hand) if message else Delivery("gone")
    except Exception as error:
        log.exception("a message could not be told")
        delivery = Delivery("unsure" if handed else "failed", f"{type(error).__name__}: {error}")
    with context.sessions.writing() as session:
        record_delivery(session, ids, delivery, now=context.now())
    log.info("%s: %d notices", delivery.outcome, len(ids))


def _message(context: Context, together: Sequence[ToTell]) -> Message | None:
    first = together[0]
    with context.sessions.reading() as session:
        recipient = next((each.email for each in members_of(session, [first.account_id]) if each.user_id == first.user_id), None)
        account = account_names(session, [first.account_id]).get(first.account_id, "")
        topics = [
            Topic(
                kind=told.kind, name=told.name, port=told.port, how=told.how, message=told.message, fix=told.fix,
                url=f"{context.public_url}/endpoints/{told.watch_ref}",
                at=served_at(session, told.account_id, told.certificate) if told.certificate and told.kind in {"expiring", "ended"} else (),
            )
            for told in together
        ]  # fmt: skip
    if recipient is None:
        return None
    return Message(first.ref, recipient, account, topics, context.public_url, context.now())
