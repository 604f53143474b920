"""Tell people what is due to be told: one mail a notice, or one for all when many fall due at once for one person."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from core.actions.notices import ToTell, claim_notices, hand_over, record_delivery
from core.channels import Channel, Delivery, Message, Topic
from core.channels.mail import MailChannel
from core.store.accounts import account_names, emails_of
from core.store.served_at import served_at
from jobs.context import Context

AT_ONCE = 200
MERGED_FROM = 10
"""From so many messages for one person on, they come as one mail: nobody reads forty."""
log = logging.getLogger("keychest.notify")


def send_notices(context: Context) -> None:
    """Send what is due, until nothing is."""
    channel: Channel = MailChannel(context.smtp_url, context.mail_from, context.data / "outbox")
    while True:
        with context.sessions.writing() as session:
            taken = claim_notices(session, most=AT_ONCE, now=context.now())
        if not taken:
            return
        for together in _messages(taken):
            _tell(context, channel, together)


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

    def hand() -> bool:
        with context.sessions.writing() as session:
            return hand_over(session, ids, now=context.now())

    delivery = channel.deliver(message, hand) if message else Delivery("failed", "The person has left the account.")
    with context.sessions.writing() as session:
        record_delivery(session, ids, delivery, now=context.now())
    log.info("%s: %d notices", delivery.outcome, len(ids))


def _message(context: Context, together: Sequence[ToTell]) -> Message | None:
    first = together[0]
    with context.sessions.reading() as session:
        recipient = emails_of(session, [first.user_id]).get(first.user_id)
        account = account_names(session, [first.account_id]).get(first.account_id, "")
        topics = [
            Topic(
                kind=told.kind, name=told.name, port=told.port, message=told.message, fix=told.fix,
                url=f"{context.public_url}/endpoints/{told.watch_ref}",
                at=served_at(session, told.account_id, told.certificate) if told.certificate and told.kind in {"expiring", "ended"} else (),
            )
            for told in together
        ]  # fmt: skip
    if recipient is None:
        return None
    return Message(first.ref, recipient, account, topics, context.public_url, context.now())
