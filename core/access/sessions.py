"""Which sessions are open, as the reports tell it, and what sshd's and PostgreSQL's logs add to them.

What a log says is believed only of sessions that PAM or the log itself has opened, and each thing once: a line read twice changes nothing.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from core.access.kernel import ancestry, lives, pid_of, session_name
from core.access.texts import MOST_NAME, plain

MOST_OPEN: Final = 200
MOST_REASONS: Final = 3
_REMEMBERED: Final = 10_000
_SFTP: Final = re.compile(
    r"subsystem request for sftp by |Starting session: (?:subsystem 'sftp'|forced-command \([a-z-]+\) 'internal-sftp(?: [^']*)?') for "
)
_SHELL: Final = re.compile(r"Starting session: ")
_CHILD: Final = re.compile(r"User child is on pid (\d+)")
_POSTGRESQL: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{3}) \S+ \[(\d+)\] (?:\S+ )?LOG:  (.*)")
_RECEIVED: Final = re.compile(r"connection received: host=(\S+)")
_AUTHORIZED: Final = re.compile(r"(?:replication )?connection authorized: user=(.*?)(?: (?:database|application_name|SSL|GSS)\b|$)")
_ENDED: Final = "disconnection: session time: "
_STARTED: Final = "database system is ready to accept connections"

Add = Callable[..., int]
"""Keeps a report: what, and its fields."""


@dataclass
class Session:
    """A session. `number` is that of the report of its beginning; `shell`: more than files was asked for in it."""

    name: str
    number: int
    kind: str
    shell: bool = False
    reasons: int = 0


class Sessions:
    """`boot`: this run of the machine. Everything follows from the reports, which are read in order when the recorder starts."""

    def __init__(self, boot: str, superusers: Sequence[str] = ()) -> None:
        self.boot, self.superusers = boot, frozenset(superusers)
        self.seen = 0
        self.open: OrderedDict[str, Session] = OrderedDict()
        self.ended: OrderedDict[str, Session] = OrderedDict()
        self._pids: OrderedDict[int, str] = OrderedDict()
        self._children: OrderedDict[int, str] = OrderedDict()
        self._from: OrderedDict[int, str] = OrderedDict()

    def learn(self, text: str) -> None:
        """Take notice of a report."""
        told = json.loads(text)
        self.seen = max(self.seen, told["number"])
        what, name = told["what"], told.get("session", "")
        if what == "opened" and name not in self.ended:
            self.open.setdefault(name, Session(name, told["number"], told["kind"]))
            if told["kind"] != "database":
                _remember(self._pids, pid_of(name), name)
        elif what == "closed":
            _remember(self.ended, name, self.open.pop(name, None) or Session(name, told["number"], ""))
        elif what in {"completed", "reason"} and (session := self.known(name)):
            session.kind = told.get("kind", session.kind)
            session.reasons += what == "reason"

    def settle(self) -> None:
        """What was told of open sessions stands: a log, which others may write to, makes no less of them later."""
        for session in self.open.values():
            session.shell = session.kind == "ssh"

    def known(self, name: str) -> Session | None:
        """The session, open or ended lately."""
        return self.open.get(name) or self.ended.get(name)

    def named(self) -> list[str]:
        """The open ones, oldest first, as a heartbeat has room for them."""
        return list(self.open)[:MOST_OPEN]

    def of_sshd(self, pid: int, words: str, add: Add) -> bool:
        """What sshd's process `pid` wrote into its log. False where its session is not known, or not known yet."""
        child = _CHILD.match(words)
        sftp, begins = _SFTP.match(words), _SHELL.match(words)
        if not (child or sftp or begins):
            return True
        session = self._carried_by(pid)
        if session is None:
            return False
        if child:
            _remember(self._children, int(child[1]), session.name)
        elif (kind := "sftp" if sftp and not session.shell else "ssh") != session.kind:
            session.kind = kind
            add("completed", session=session.name, kind=kind)
        session.shell = session.shell or (sftp is None and child is None)
        return True

    def of_postgresql(self, line: str, add: Add) -> None:
        """A line of PostgreSQL's log: a superuser came or went, or the server started and nobody is there any more."""
        told = _POSTGRESQL.match(line)
        if told is None:
            return
        pid, words = int(told[8]), told[9]
        if words.startswith(_STARTED):
            self._close([each for each in self.open.values() if each.kind == "database"], add)
        elif received := _RECEIVED.match(words):
            _remember(self._from, pid, received[1])
        elif words.startswith(_ENDED):
            self._close([each for each in self.open.values() if each.kind == "database" and pid_of(each.name) == pid], add)
        elif (authorized := _AUTHORIZED.match(words)) and authorized[1] in self.superusers:
            name = session_name(self.boot, pid, int("".join(told.group(3, 4, 5, 6, 7))))
            if self.known(name) is None:
                names = {"user": plain(authorized[1], MOST_NAME), "from": plain(self._from.get(pid, ""), MOST_NAME)}
                number = add("opened", session=name, kind="database", role="superuser", **names)
                self.open[name] = Session(name, number, "database")

    def said(self, names: Iterable[str], reason: str, add: Add) -> None:
        """A reason, said from below these processes. Three are taken of each session."""
        for name in names:
            session = self.known(name)  # a short one has ended by now
            if session and session.reasons < MOST_REASONS:
                add("reason", session=name, reason=reason)
                return

    def dead(self) -> list[str]:
        """Open sessions whose sshd is gone: killed, or with the whole machine. Of the database only those of an earlier boot."""
        return [name for name, each in self.open.items() if not self._lives(each)]

    def _lives(self, session: Session) -> bool:
        if session.kind == "database":
            return session.name.startswith(session_name(self.boot, 0, 0)[:5])
        return lives(session.name, self.boot)

    def _close(self, sessions: Iterable[Session], add: Add) -> None:
        for session in sessions:
            _remember(self.ended, session.name, self.open.pop(session.name))
            add("closed", session=session.name)

    def _carried_by(self, pid: int) -> Session | None:
        """The session of this process of sshd's: its own, its parent's, or that of which the log named it as the child."""
        carried = (self.known(self._pids.get(each, "")) for each in (pid, *ancestry(pid)))
        found = [session for session in carried if session]
        still = next((session for session in found if session.name in self.open), None)
        return still or self.known(self._children.get(pid, "")) or (found[0] if found else None)


def _remember(memory: OrderedDict, key: object, value: object) -> None:  # type: ignore[type-arg]  # any of three
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
