"""Every connection and look-up that Python is asked for, by its own audit events: what a scan really dialled, not what it says.

with dialled() as asked:
    ...
assert asked == [("connect", "127.0.0.1", 443)]

What would leave this machine is noted and stopped: a test of a defence must do no harm on the day the defence is broken.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import sys
import threading
from collections.abc import Iterator

Asked = tuple[str, str, int]
"""("connect" or "look up", address or name, port)."""
_LOOK_UPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
_notes: dict[int, list[Asked]] = {}


@contextlib.contextmanager
def dialled() -> Iterator[list[Asked]]:
    """What this thread asks for within the block. c-ares, which asks the DNS itself, is not seen."""
    _listen()
    asked = _notes[threading.get_ident()] = []
    try:
        yield asked
    finally:
        del _notes[threading.get_ident()]


@functools.cache
def _listen() -> None:
    sys.addaudithook(_note)  # for good: Python takes none away


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if not event.startswith("socket.") or (asked := _notes.get(threading.get_ident())) is None:
        return
    if event in _LOOK_UPS:
        asked.append(("look up", str(arguments[0]), 0))
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        address, port = str(arguments[1][0]), int(arguments[1][1])
        asked.append(("connect", address, port))
        if not ipaddress.ip_address(address).is_loopback:
            raise PermissionError(errno.EPERM, "a test does not dial what is not loopback")
