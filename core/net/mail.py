"""The one SMTP client. It dials what the operator configured, and says exactly how far a message came."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from urllib.parse import unquote, urlsplit

TIMEOUT_S = 20.0
DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class NotSent(Exception):  # noqa: N818 - what is known, not a fault of ours
    """The server does not have the message; it may be sent again. The message says why."""


class Unsure(Exception):  # noqa: N818 - as above
    """The content was handed over and no answer came: the server may have the message. It must not be sent again by itself."""


@dataclass(frozen=True, slots=True)
class Server:
    """An SMTP server of the operator's: `scheme` is smtp, smtp+starttls or smtps."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""

    @classmethod
    def from_url(cls, url: str) -> Server:
        """A server from `KEYCHEST_SMTP_URL`, which config.py has checked."""
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname or "", port, unquote(parts.username or ""), unquote(parts.password or ""))


def send_mail(server: Server, message: EmailMessage, *, sender: str, recipient: str, before_content: Callable[[], bool]) -> bool:
    """Send one message to one recipient. Raises NotSent or Unsure.

    `before_content` is called when the server has taken sender and recipient, just before the content leaves (RFC 5321 section
    4.1.1.4); when it answers False nothing is sent and False is returned: somebody else has the message in hand.
    """
    try:
        smtp = _connect(server)
    except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: a word that cannot be sent as ASCII
        raise NotSent(f"The mail server {server.host}:{server.port} cannot be used: {_words(error)}") from error
    try:
        return _hand_in(smtp, message.as_bytes(policy=SMTP), sender, recipient, before_content)
    finally:
        with suppress(smtplib.SMTPException, OSError):  # what became of the message is known; no farewell changes it
            smtp.quit()
        smtp.close()


def _hand_in(smtp: smtplib.SMTP, content: bytes, sender: str, recipient: str, before_content: Callable[[], bool]) -> bool:
    """As send_mail. `content` has CRLF, and no line over 998 octets (RFC 5322 section 2.1.1)."""
    try:
        smtp.ehlo_or_helo_if_needed()
        _agree(smtp.mail(sender), f"the sender {sender}")
        _agree(smtp.rcpt(recipient), f"the recipient {recipient}")
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(f"The mail server ended the conversation: {_words(error)}") from error
    except ValueError as error:
        raise NotSent(f"This mail server cannot be told the addresses {sender} and {recipient}: {_words(error)}") from error
    if not before_content():
        return False
    try:
        code, answer = smtp.data(content)
    except smtplib.SMTPDataError as error:
        raise NotSent(f"The mail server refused the message: {_words(error)}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise Unsure(f"The connection ended before the mail server answered: {_words(error)}") from error
    _agree((code, answer), "the message")
    return True


def _connect(server: Server) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if server.scheme == "smtps":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=context)
    else:
        smtp = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)
    try:
        if server.scheme == "smtp+starttls":
            smtp.starttls(context=context)
        if server.user:
            smtp.login(server.user, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _agree(answer: tuple[int, bytes], what: str) -> None:
    code, text = answer
    if not 200 <= code < 300:  # noqa: PLR2004 - RFC 5321 section 4.2.1: 2yz is yes
        raise NotSent(f"The mail server refused {what}: {code} {text.decode(errors='replace')}")


def _words(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        answer = error.smtp_error
        return f"{error.smtp_code} {answer.decode(errors='replace') if isinstance(answer, bytes) else answer}"
    return str(error) or type(error).__name__
