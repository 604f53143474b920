"""Telling people after a loss: one mail to each address in an escrow, once, however often the telling is begun again.

Beside the telling grows a file of marks, one JSON line each, on the disk before the next step is taken. What a crash leaves:

    last mark of an address   what is known                                  when it is begun again
    none                      nothing left us                                it is sent
    about-to-send             the server may have it, or not                 it is never sent, and told at the end
    not-sent                  the server does not have it                    it is sent, after those that were not tried yet
    sent                      the server has it                              it is not sent

The file holds addresses in the clear, for its owner alone, as the mail server's own log does; it can go when everybody was told.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Final, Literal, get_args

from core.backups.engine import BackupError
from core.backups.escrow import Escrow
from core.backups.keys import settle, trouble_of
from core.net.mail import NotSent, Server, Unsure, send_mail
from core.net.text import visible
from core.render import render

Mark = Literal["about-to-send", "sent", "not-sent"]
Outcome = Literal["sent", "sent before", "unsure", "not sent", "not tried"]

_MARKS: Final[dict[str, Mark]] = {mark: mark for mark in get_args(Mark)}
FORMAT: Final = "keychest-telling/1"
SUBJECT: Final = "About your account at KeyChest"
_REFUSALS_IN_A_ROW: Final = 10
"""After so many the server is taken to be away: what is left is not tried, and the next run begins with it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One address, and the names of the accounts that it is a contact of."""

    address: str
    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Telling:
    """Whom to tell what. `reason`: what happened, in the operator's own words; `sender`: as in KEYCHEST_MAIL_FROM."""

    escrow: Escrow
    reason: str
    sender: str

    @property
    def letters(self) -> tuple[Letter, ...]:
        """One for each address, however many accounts it belongs to and however it is capitalised, by address."""
        accounts: dict[str, tuple[str, list[str]]] = {}
        for each in self.escrow.accounts:
            for address in each.addresses:
                accounts.setdefault(address.strip().casefold(), (address.strip(), []))[1].append(each.account)
        return tuple(Letter(address, tuple(dict.fromkeys(names))) for _, (address, names) in sorted(accounts.items()))

    @property
    def digest(self) -> str:
        """The same for the same escrow and reason."""
        content = json.dumps([self.escrow.to_json(), self.reason], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def head(self) -> bytes:
        """The first line of the file of marks, which belongs to this telling and no other."""
        return _line({"format": FORMAT, "telling": self.digest, "reason": self.reason})

    def text(self, letter: Letter) -> str:
        """The whole mail in plain text. What strangers called their accounts is spelled out."""
        return render(
            "mail/escrow.txt",
            reason=self.reason.strip(),
            accounts=[spelled(name) for name in letter.accounts],
            kept_on=f"{self.escrow.at.astimezone(UTC):%Y-%m-%d %H:%M}",
            sender=parseaddr(self.sender)[1],
        )

    def mail(self, letter: Letter, at: datetime) -> EmailMessage:
        """The mail itself. Raises NotSent for an address that no mail can bear."""
        mail = EmailMessage()
        name, address = parseaddr(self.sender)
        try:
            mail["From"] = Address(display_name=name, addr_spec=address)
            mail["To"] = Address(addr_spec=letter.address)
            mail["Subject"] = SUBJECT
            mail["Date"] = format_datetime(at)
            number = hashlib.sha256(f"{self.digest} {letter.address}".encode()).hexdigest()[:32]
            mail["Message-ID"] = f"<{number}@{address.rpartition('@')[2]}>"
            mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice comes back
            mail.set_content(self.text(letter))
            mail.as_bytes(policy=SMTP)  # some are refused only as they are written
        except (MessageError, ValueError, LookupError, AttributeError) as error:  # the library's parser raises all of these
            raise NotSent(f"No mail can be written from {spelled(self.sender)} to {spelled(letter.address)}.") from error
        return mail


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one letter; `why` is a sentence where it was not sent."""

    letter: Letter
    outcome: Outcome
    why: str = ""


@dataclass(slots=True)
class Marks:
    """The newest mark of each address, and the descriptor of the file that they are in; None where they are only looked at."""

    newest: dict[str, Mark] = field(default_factory=dict)
    file: int | None = None

    def put(self, address: str, mark: Mark) -> None:
        """Write a mark, so that it outlives a power cut. Raises BackupError; the telling must end then."""
        if self.file is None:
            raise TypeError("these marks are only looked at")
        try:
            _append(self.file, _line({"mark": mark, "address": address}))
        except OSError as error:
            done = f"{address} was told, and cannot be marked" if mark == "sent" else f"{address} was not told: nothing can be marked"
            raise BackupError(trouble_of(error), f"{done} in the file of marks ({error.strerror}). Nobody else was told.") from None
        self.newest[address] = mark


def look_at_marks(path: Path, telling: Telling) -> Marks:
    """What the marks say, without beginning anything. Raises BackupError."""
    try:
        return Marks(_read(path.read_bytes(), telling, path)[0])
    except FileNotFoundError:
        return Marks()
    except OSError as error:
        raise BackupError("refused", f"The file of marks {path} cannot be read ({error.strerror}). Nobody was told.") from None


@contextmanager
def kept_marks(path: Path, telling: Telling) -> Iterator[Marks]:
    """The marks of a telling, to be added to; made when there are none. Raises BackupError, "refused" while another run adds to them."""
    try:
        number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise BackupError("refused", f"The file of marks {path} cannot be opened ({error.strerror}). Nobody was told.") from None
    try:
        newest = _claim(number, telling, path)
        yield Marks(newest, number)
    finally:
        os.close(number)


def _claim(number: int, telling: Telling, path: Path) -> dict[str, Mark]:
    """Lock the file, and cut off a line that a crash left half written: what it was to say was not done yet."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        newest, whole = _read(path.read_bytes(), telling, path)
        os.ftruncate(number, whole)
        if whole == 0:
            _append(number, telling.head)
            settle(path.parent)
    except BlockingIOError:
        raise BackupError("refused", f"Another run is telling people by {path}. Nobody was told by this one.") from None
    except OSError as error:
        raise BackupError(trouble_of(error), f"The file of marks {path} cannot be used ({error.strerror}). Nobody was told.") from None
    return newest


def _read(content: bytes, telling: Telling, path: Path) -> tuple[dict[str, Mark], int]:
    """The newest mark of each address, and how many bytes are whole lines. Raises BackupError for a file that is not this telling's."""
    whole = content.rfind(b"\n") + 1
    if not whole and telling.head.startswith(content):
        return {}, 0
    if not content.startswith(telling.head):
        raise BackupError(
            "refused",
            f"{path} belongs to another telling, or is something else. To go on with that one, give the same file and the same reason; "
            "to tell everybody anew, name another file with --state. Nobody was told.",
        )
    newest: dict[str, Mark] = {}
    for number, line in enumerate(content[len(telling.head) : whole].splitlines(), 2):
        try:
            kept = json.loads(line)
            newest[kept["address"]] = _MARKS[kept["mark"]]
        except (ValueError, KeyError, TypeError):
            raise BackupError("damaged", f"{path} is damaged: line {number} is no mark. Nobody was told.") from None
    return newest, whole


def _line(kept: Mapping[str, str]) -> bytes:
    return json.dumps(kept).encode() + b"\n"


def _append(number: int, line: bytes) -> None:
    if os.write(number, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(number)


def spelled(text: str) -> str:
    """Text from strangers: what cannot be seen is written as <U+202E>."""
    return "".join(f"<{run}>" if hidden else run for hidden, run in visible(text))


def tell(telling: Telling, marks: Marks, server: Server, *, now: Callable[[], datetime]) -> Iterator[Told]:
    """Send every letter that was not sent, one at a time, and say what became of each as it does. Raises BackupError."""
    letters, refused = telling.letters, 0
    unsure = tuple(unsure_of(letters, marks))
    for letter in letters:
        if marks.newest.get(letter.address) == "sent":
            yield Told(letter, "sent before")
    for letter in _open(letters, marks):
        if refused == _REFUSALS_IN_A_ROW:
            yield Told(letter, "not tried", f"The {refused} mails before it were refused, so it was left for the next run.")
            continue
        told = _send(telling, letter, marks, server, now())
        refused = refused + 1 if told.outcome == "not sent" else 0
        yield told
    yield from unsure


def _open(letters: Sequence[Letter], marks: Marks) -> list[Letter]:
    """What is to be sent: first what was never tried, so that the same refusals do not stand in its way each time."""
    untried = [letter for letter in letters if letter.address not in marks.newest]
    return untried + [letter for letter in letters if marks.newest.get(letter.address) == "not-sent"]


def unsure_of(letters: Sequence[Letter], marks: Marks) -> Iterator[Told]:
    """Those that were being handed over when an earlier run ended: nobody knows whether they arrived."""
    for letter in letters:
        if marks.newest.get(letter.address) == "about-to-send":
            yield Told(letter, "unsure", "It was being handed over when an earlier run ended, so it is not sent again by itself.")


def _send(telling: Telling, letter: Letter, marks: Marks, server: Server, at: datetime) -> Told:
    def before_content() -> bool:
        marks.put(letter.address, "about-to-send")
        return True

    try:
        mail, sender = telling.mail(letter, at), parseaddr(telling.sender)[1]
        send_mail(server, mail, sender=sender, recipient=letter.address, before_content=before_content)
    except NotSent as error:
        marks.put(letter.address, "not-sent")
        return Told(letter, "not sent", str(error))
    except Unsure as error:
        return Told(letter, "unsure", str(error))
    marks.put(letter.address, "sent")
    return Told(letter, "sent")
