"""The HTTP client for the identity provider: one question, one answer, bounded in bytes and in time.

It dials what the operator configured, and where that provider says that it answers: by TLS alone, but on this machine. No redirect is
followed, no proxy is asked.
"""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

import certifi

from core.net.web import hang_up

WITHIN_S: Final = 5.0
MOST_BYTES: Final = 262_144
"""Of one answer. Documents about providers and their keys have a few thousand."""
Tls = ssl.SSLContext
"""Whose certificates are trusted."""
_PORTS: Final = {"https": 443, "http": 80}


class Unanswered(Exception):  # noqa: N818 - what is known, not a fault of ours
    """There is no answer that could be used. The message is for the operator's log, and holds nothing of what was answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    body: bytes


def trusting(extra_roots: str = "") -> Tls:
    """Trust in Mozilla's roots, and in those in this PEM file. Raises OSError where that cannot be read or holds none."""
    context = ssl.create_default_context(cafile=certifi.where())
    if extra_roots:
        context.load_verify_locations(cafile=extra_roots)
    return context


def on_this_machine(url: str) -> bool:
    """Whether an address leads to this machine, whatever a resolver says."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def ask(
    url: str,
    *,
    tls: Tls,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
    within_s: float = WITHIN_S,
    most_bytes: int = MOST_BYTES,
) -> Answer:
    """What is answered to a GET, or with a body to a POST. Raises Unanswered.

    Neither silence, nor an answer that comes in drops, nor an endless one holds us longer than `within_s`; how long the system's own
    resolver may take, it says itself.
    """
    until = time.monotonic() + within_s
    try:
        parts = urlsplit(url)
        with _line(parts, tls, within_s) as line:
            answer = _asked(line, parts, body, headers or {}, most_bytes)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an address that cannot be written in a request
        late = time.monotonic() >= until
        raise Unanswered(f"no answer within {within_s:g} s" if late else f"no answer: {type(error).__name__}") from error
    if time.monotonic() >= until:
        raise Unanswered(f"no whole answer within {within_s:g} s")
    if len(answer.body) > most_bytes:
        raise Unanswered(f"an answer of more than {most_bytes} bytes")
    return answer


def _asked(
    line: http.client.HTTPConnection, parts: SplitResult, body: str | None, headers: Mapping[str, str], most_bytes: int
) -> Answer:  # fmt: skip
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {"Host": parts.netloc, "Accept": "application/json", "User-Agent": "KeyChest", "Connection": "close", **headers}
    line.request("GET" if body is None else "POST", path, body=None if body is None else body.encode(), headers=sent)
    with line.getresponse() as response:
        return Answer(response.status, response.read(most_bytes + 1))


@contextmanager
def _line(parts: SplitResult, tls: Tls, within_s: float) -> Iterator[http.client.HTTPConnection]:
    """A connection that ends after so many seconds, whatever the other side sends meanwhile."""
    if parts.scheme != "https" and not (parts.scheme == "http" and on_this_machine(parts.geturl())):
        raise ValueError("neither TLS nor this machine")
    host = parts.hostname or ""
    line = http.client.HTTPConnection(host, parts.port or _PORTS[parts.scheme], timeout=within_s)
    until = time.monotonic() + within_s
    line.connect()
    secured = tls.wrap_socket(line.sock, server_hostname=host, do_handshake_on_connect=False) if parts.scheme == "https" else None
    line.sock = secured or line.sock
    end = threading.Timer(max(until - time.monotonic(), 0), hang_up, (line.sock,))
    end.daemon = True
    end.start()
    try:
        if secured is not None:
            secured.do_handshake()
        yield line
    finally:
        end.cancel()
        line.close()
