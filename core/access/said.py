"""Reasons: said by whoever logged in, as their shell starts, over a socket that is open to everybody on the host.

Who says it does not matter, only from where: the kernel tells the sender's process, whose parents lead to the sshd that carries the
session. Nobody can give a reason to a session of somebody else's.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.access.kernel import ancestry, session_name, started
from core.access.texts import MOST_REASON, plain

_WAITS_S = 1.0
_MOST_BYTES = 4_096
_MOST_WAITING = 200
_CREDENTIALS = struct.Struct("3i")
_PASSCRED = 16  # SO_PASSCRED, SCM_CREDENTIALS: linux/socket.h
_SCM_CREDENTIALS = 2


@dataclass(frozen=True)
class Said:
    """A reason, and the sessions that may be meant: one for each process from the sender upwards."""

    reason: str
    sessions: Sequence[str]


def say(path: str, reason: str) -> None:
    """Tell the recorder why this session was opened, and wait a second at most for its answer. That nobody listens is no error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
        asking.settimeout(_WAITS_S)
        asking.bind("")  # a name of the kernel's making, to be answered at
        asking.sendto(reason.encode("utf-8", "surrogateescape")[:_MOST_BYTES], path)
        asking.recv(16)  # while this waits, the process and its parents can be looked at


class Listener:
    """Hears reasons in a thread of its own, so that nobody's shell waits while the portal is asked."""

    def __init__(self, path: Path, boot: str) -> None:
        self.path, self.boot = path, boot
        self.heard: queue.Queue[Said] = queue.Queue(_MOST_WAITING)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._hear, daemon=True)

    def begin(self) -> None:
        """Listen, from now on. Raises OSError."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._socket.setsockopt(socket.SOL_SOCKET, _PASSCRED, 1)
        self._socket.bind(str(self.path))
        self.path.chmod(0o666)
        self._thread.start()

    def end(self) -> None:
        """Listen no more."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # by which the thread wakes
        if self._thread.is_alive():
            self._thread.join(_WAITS_S)
        self._socket.close()

    def taken(self) -> list[Said]:
        """What was heard since the last time."""
        found: list[Said] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.heard.get_nowait())
        return found

    def _hear(self) -> None:
        while not self._ended.is_set():
            words, extra, _, sender = self._socket.recvmsg(_MOST_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size))
            for level, kind, value in extra:
                if level == socket.SOL_SOCKET and kind == _SCM_CREDENTIALS:
                    self._note(words, _CREDENTIALS.unpack(value)[0])
            with contextlib.suppress(OSError, TypeError):
                self._socket.sendto(b"heard", socket.MSG_DONTWAIT, sender)

    def _note(self, words: bytes, pid: int) -> None:
        reason = plain(os.fsdecode(words), MOST_REASON)
        sessions = [session_name(self.boot, each, start) for each in ancestry(pid) if (start := started(each)) is not None]
        if reason and sessions:
            with contextlib.suppress(queue.Full):
                self.heard.put_nowait(Said(reason, sessions))
