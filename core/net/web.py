"""The one client for addresses that accounts give: HTTPS alone, every address asked of the guard, that one dialled, nothing followed.

A name that leads to one address that may not be dialled is not dialled at all. TLS is verified against the name. Time is bounded, and so is
what is read of an answer.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from core.net.guard import Network, refusal
from core.net.names import NameRefused, read_name
from core.net.resolve import open_resolver, resolve

CONNECT_S: Final = 10.0
MOST_ANSWER: Final = 65_536
_AGENT: Final = "KeyChest"


class Undelivered(Exception):  # noqa: N818 - what is known, not a fault of ours
    """It did not get there. The message is one sentence for the account. `again`: whether another try may help."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True, slots=True)
class Way:
    """How accounts' places are reached: by these resolvers (none: the system's), into these private ranges too, trusting these roots."""

    resolvers: tuple[str, ...]
    allow: tuple[Network, ...]
    tls: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the beginning of the body."""

    status: int
    body: bytes


def literals(host: str, way: Way) -> tuple[str, ...]:
    """The addresses of a host, all of which may be dialled. Raises Undelivered."""
    try:
        found: Sequence[str] = (str(ipaddress.ip_address(host.strip("[]"))),)
    except ValueError:
        try:
            name = read_name(host).name
        except NameRefused as error:
            raise Undelivered(str(error), again=False) from None
        found = asyncio.run(_resolved(name, way))
    for each in found:
        if refused := refusal(each, way.allow):
            raise Undelivered(refused, again=False)
    return tuple(found)


async def _resolved(name: str, way: Way) -> Sequence[str]:
    async with open_resolver(way.resolvers) as dns:
        found = await resolve(name, dns)
    if found.failure is not None:
        raise Undelivered(found.failure.message)
    return (*found.addresses, *found.beyond)


def dial(host: str, port: int, way: Way) -> socket.socket:
    """A connection to one of the host's addresses, none of which was resolved twice. Raises Undelivered."""
    said = ""
    for literal in literals(host, way):
        version = ipaddress.ip_address(literal).version
        line = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)  # noqa: PLR2004 - the protocol's number
        try:
            line.settimeout(CONNECT_S)
            line.connect((literal, port))
        except OSError:
            line.close()
            said = f"{host} does not answer on port {port}."
        else:
            return line
    raise Undelivered(said or f"{host} has no address.")


def send(
    url: str, way: Way, *, method: str, headers: Mapping[str, str], content: BinaryIO | bytes, size: int, within_s: float
) -> Answer:  # fmt: skip
    """Send `size` bytes to an https address. No redirect is followed. Raises Undelivered."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise Undelivered("The address begins with https:// and holds no password.", again=False)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {"Host": parts.netloc, "User-Agent": _AGENT, "Connection": "close", "Content-Length": str(size), **headers}
    with _line(parts.hostname, parts.port or 443, way, within_s) as line:
        try:
            line.request(method, path, body=content, headers=sent)
            with line.getresponse() as response:
                return Answer(response.status, response.read(MOST_ANSWER))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Undelivered(f"{parts.hostname} took no whole file, or did not answer within {within_s:g} s.") from error


@contextmanager
def _line(host: str, port: int, way: Way, within_s: float) -> Iterator[http.client.HTTPConnection]:
    """A connection that ends after so many seconds, whatever the other side does meanwhile."""
    plain = dial(host, port, way)
    plain.settimeout(min(CONNECT_S, within_s))
    try:
        secured = way.tls.wrap_socket(plain, server_hostname=host)
    except (OSError, ValueError) as error:
        plain.close()
        why = getattr(error, "verify_message", "") or "it speaks no TLS that can be verified"
        raise Undelivered(f"The certificate of {host} does not hold: {why}.") from error
    secured.settimeout(within_s)
    line = http.client.HTTPConnection(host, port, timeout=within_s)
    line.sock = secured
    end = threading.Timer(within_s, hang_up, (secured,))
    end.daemon = True
    end.start()
    try:
        yield line
    finally:
        end.cancel()
        line.close()


def hang_up(line: socket.socket) -> None:
    """Whoever waits for the line gets its end. Below TLS, which would ask the other side for a farewell."""
    with suppress(OSError):
        socket.socket.shutdown(line, socket.SHUT_RDWR)
