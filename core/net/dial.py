"""The only opener of sockets to addresses that users or strangers supply: asks the guard, then dials exactly that literal.

No name is ever looked up here, so what was checked is what is dialled (DNS rebinding has nothing to work on).
"""

from __future__ import annotations

import asyncio
import enum
import errno
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from core.net.guard import Network, refusal


class Undialled(enum.StrEnum):
    """Why there is no connection. The values are those of the scanner's failures."""

    REFUSED_ADDRESS = "refused_address"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Failure:
    """No connection was opened. `message` is one plain sentence."""

    kind: Undialled
    message: str


class Stream:
    """A TCP connection that counts what goes over it. `read` and `write` raise OSError as sockets do; b"" is the end."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self.received_bytes = 0
        self.sent_bytes = 0

    async def read(self, most: int = 16_384) -> bytes:
        """What has arrived, waiting for at least one byte; b"" when the other side has ended."""
        part = await self._loop.sock_recv(self._socket, most)
        self.received_bytes += len(part)
        return part

    async def write(self, data: bytes) -> None:
        """Send all of it."""
        await self._loop.sock_sendall(self._socket, data)
        self.sent_bytes += len(data)

    def write_now(self, data: bytes) -> None:
        """Send what the kernel takes at once and drop the rest: for a farewell that nobody waits for."""
        try:
            self.sent_bytes += self._socket.send(data)
        except OSError:
            return  # the other side has gone already, which is what a farewell is about

    def close(self) -> None:
        """End the connection now."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


_NO_WAY: Final = {
    errno.ECONNREFUSED: "Nothing listens on port {port} of {address}.",
    errno.EHOSTUNREACH: "There is no route to {address}.",
    errno.ENETUNREACH: "There is no route to {address}: this machine may have no IPv{version}.",
    errno.EADDRNOTAVAIL: "There is no route to {address}: this machine may have no IPv{version}.",
    errno.EAFNOSUPPORT: "There is no route to {address}: this machine has no IPv{version}.",
    errno.ENETDOWN: "There is no route to {address}: the network is down.",
    errno.EHOSTDOWN: "There is no route to {address}: the host is down.",
    errno.EPERM: "A firewall on this machine does not let us dial {address}.",
    errno.EACCES: "A firewall on this machine does not let us dial {address}.",
}


async def open_stream(address: str, port: int, timeout_s: float, allow: Sequence[Network] = ()) -> Stream | Failure:
    """A stream to this literal address, or why there is none. An error of our own (no free descriptor) is raised."""
    refused = refusal(address, allow)
    if refused is not None:
        return Failure(Undialled.REFUSED_ADDRESS, refused)
    literal = ipaddress.ip_address(address)
    family = socket.AF_INET if literal.version == 4 else socket.AF_INET6  # noqa: PLR2004 - the protocol's own number
    unconnected: socket.socket | None = None
    try:
        unconnected = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        unconnected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(unconnected, (str(literal), port))
        stream, unconnected = Stream(unconnected), None
    except TimeoutError:
        return Failure(Undialled.TIMEOUT, f"{address} did not answer on port {port} within {timeout_s:.0f} seconds.")
    except OSError as error:
        return _failure(error, literal.version, address, port)
    finally:
        if unconnected is not None:
            unconnected.close()
    return stream


def _failure(error: OSError, version: int, address: str, port: int) -> Failure:
    if error.errno == errno.ECONNRESET:
        return Failure(Undialled.RESET, f"{address} ended the connection on port {port} as soon as it was opened.")
    words = _NO_WAY.get(error.errno or 0)
    if words is None:
        raise error
    return Failure(Undialled.REFUSED, words.format(address=address, port=port, version=version))
