"""Mail: composed from templates/mail, sent by the operator's server, or kept in the outbox folder where none is set."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UniqueUnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, Policy, default
from email.utils import format_datetime, parseaddr
from pathlib import Path
from urllib.parse import urlsplit

from core.channels import Delivery, Hand, Letter, Message, Topic
from core.net.mail import NotSent, Server, Unsure, send_mail
from core.net.text import u_label, visible
from core.render import render

SUBJECTS = {
    "expiring": "{name}: its certificate ends soon",
    "ended": "{name}: its certificate has ended",
    "bad": "{name} needs you",
    "well": "{name} is well again",
}


class _Whole(UniqueUnstructuredHeader, BaseHeader):  # type: ignore[misc]  # the library combines the two likewise
    """A header that is never folded: a long address would become encoded words, which mail programs do not read as one (RFC 2369)."""

    def fold(self, *, policy: Policy) -> str:
        """The line."""
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _Whole)
_POLICY = default.clone(header_factory=_HEADERS)


@dataclass(frozen=True, slots=True)
class MailChannel:
    """`smtp_url` "" keeps messages as files in `outbox`, named by their reference: writing one twice is writing it once."""

    smtp_url: str
    sender: str
    outbox: Path

    def deliver(self, message: Message, hand: Hand) -> Delivery:
        """Send or keep the message."""
        subject, text = compose(message)
        topics = [_plain(topic) for topic in message.topics]
        html = render("mail/notice.html", topics=topics, account=message.account, portal_url=message.portal_url, subject=subject)
        return self.post(Letter(message.ref, message.recipient, subject, text, message.portal_url, message.written_at, html), hand)

    def post(self, letter: Letter, hand: Hand) -> Delivery:
        """Send or keep what is composed already."""
        subject, text = letter.subject, letter.text
        try:
            mail = _addressed(self.sender, letter.recipient)
        except _UnaddressableError as error:
            return Delivery("failed", str(error), subject, text)
        _fill(mail, letter)
        if not self.smtp_url:
            outcome, error_words = _keep(self.outbox, letter.ref, mail.as_bytes(), hand)
            return Delivery(outcome, error_words, subject, text)
        try:
            server = Server.from_url(self.smtp_url)
            address = parseaddr(self.sender)[1]
            handed = send_mail(server, mail, sender=address, recipient=letter.recipient, before_content=hand)
        except NotSent as error:
            return Delivery("failed", str(error), subject, text)
        except Unsure as error:
            return Delivery("unsure", str(error), subject, text)
        return Delivery("sent" if handed else "elsewhere", subject=subject, body=text)


def compose(message: Message) -> tuple[str, str]:
    """Subject and plain text. What strangers wrote is spelled out: no character in it can be invisible, and none ends a header."""
    topics = [_plain(topic) for topic in message.topics]
    subject = (
        SUBJECTS[message.topics[0].kind].format(name=topics[0]["name"]) if len(topics) == 1 else f"{len(topics)} messages about your names"
    )
    text = render("mail/notice.txt", topics=topics, account=message.account, portal_url=message.portal_url)
    return subject, text.strip() + "\n"


def _plain(topic: Topic) -> dict[str, str | list[str]]:
    shown = f"{u_label(topic.name)}{'' if topic.port == 443 else f':{topic.port}'}{topic.how and f' ({topic.how})'}"  # noqa: PLR2004 - https
    return {
        "kind": topic.kind,
        "name": spelled(shown),
        "ace": topic.name if u_label(topic.name) != topic.name else "",
        "message": spelled(topic.message),
        "fix": spelled(topic.fix),
        "url": topic.url,
        "at": [spelled(name) for name in topic.at],
    }


def spelled(text: str) -> str:
    """What a stranger wrote, with every invisible character named."""
    return "".join(f"<{run}>" if hidden else run for hidden, run in visible(text))


class _UnaddressableError(ValueError):
    """An address that no mail can bear. The message is for people."""


def _addressed(sender: str, recipient: str) -> EmailMessage:
    """A mail that has its two addresses and nothing else. Raises _UnaddressableError."""
    mail = EmailMessage(policy=_POLICY)
    name, address = parseaddr(sender)
    try:
        mail["From"] = Address(display_name=name, addr_spec=address)
        mail["To"] = Address(addr_spec=recipient)
        mail.as_bytes(policy=SMTP)  # some are refused only as they are written
    except (MessageError, ValueError, LookupError, AttributeError) as error:  # the library's parser raises all of these
        shown = f"from {spelled(sender)} to {spelled(recipient)}"
        raise _UnaddressableError(f"No mail can be written {shown}: one of the two is not a mail address.") from error
    return mail


def _fill(mail: EmailMessage, letter: Letter) -> None:
    mail["Subject"] = letter.subject
    mail["Date"] = format_datetime(letter.written_at)
    mail["Message-ID"] = f"<{letter.ref}@{urlsplit(letter.portal_url).hostname or 'localhost'}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice comes back
    if letter.leave.isascii() and letter.leave:
        mail["List-Unsubscribe"] = f"<{letter.leave}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(letter.text)
    if letter.html:
        mail.add_alternative(letter.html, subtype="html")
    if letter.file is not None:
        name, content = letter.file
        mail.add_attachment(content, maintype="application", subtype="zip" if name.endswith(".zip") else "octet-stream", filename=name)


def _keep(outbox: Path, ref: str, content: bytes, hand: Hand) -> tuple[str, str]:
    """Outcome and error, as in Delivery. All that a full disk can refuse is done before `hand` is called."""
    try:
        temporary = _written(outbox, ref, content)
    except OSError as error:
        return "failed", f"The mail could not be kept in the outbox folder: {error.strerror}."
    try:
        if not hand():
            return "elsewhere", ""
        temporary.replace(outbox / f"{ref}.eml")
    except OSError as error:  # nothing has left us: it may be tried again
        return "failed", f"The mail could not be kept in the outbox folder: {error.strerror}."
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return "kept", ""


def _written(outbox: Path, ref: str, content: bytes) -> Path:
    """A file of this call's own, on the disk for certain: another worker may be trying the same message. Raises OSError."""
    outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=f".{ref}.", suffix=".tmp", dir=outbox)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise
    return Path(name)
