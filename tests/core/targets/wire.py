"""A TCP wire between a client and a server on loopback, which a test cuts, bends or answers itself.

with wire(server.port) as between:
    between.cuts.append(500_000)          # ends the connection when so many octets went up since the last cut; then lets pass
    between.cut_down = 500_000            # ends the connection once, when so many octets in all came down
    between.flip_up = 300_000             # changes one octet on its way up, counted from the start; flip_down likewise
    between.answers[b"DELETE "] = forbidden   # answers requests that begin so, and the server never sees them
    between.swallow_after = 100_000       # takes everything, and passes no more on
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.servers import raw_server

_MOST_WAIT_S = 20.0


@dataclass(slots=True)
class Wire:
    """Where it listens, and what it does; `up` and `down` are the octets that it passed on so far."""

    port: int = 0
    cuts: list[int] = field(default_factory=list)
    flip_up: int | None = None
    flip_down: int | None = None
    cut_down: int | None = None
    answers: dict[bytes, bytes] = field(default_factory=dict)
    swallow_after: int | None = None
    up: int = 0
    down: int = 0
    cut_at: int = 0

    def answer_to(self, chunk: bytes) -> bytes | None:
        return next((answer for begun, answer in self.answers.items() if chunk.startswith(begun)), None)

    def until_cut(self, chunk: bytes) -> bytes:
        """What of this still passes; shorter than `chunk` when the wire is cut in it."""
        left = self.cuts[0] - (self.up - self.cut_at) if self.cuts else len(chunk)
        if left < len(chunk):
            self.cuts.pop(0)
            self.cut_at = self.up + left
        return chunk[:left]


def xml(status: str, code: str) -> bytes:
    """An S3 store's error."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>in the store's words</Message></Error>".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def bare(status: str) -> bytes:
    """The answer to a HEAD, which has no body."""
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


@contextlib.contextmanager
def wire(to_port: int) -> Iterator[Wire]:
    """A wire to 127.0.0.1:`to_port`."""
    between = Wire()

    def behave(near: socket.socket, _ended: threading.Event) -> None:
        with socket.create_connection(("127.0.0.1", to_port), _MOST_WAIT_S) as far:
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a wire adds no delay of its own
            back = threading.Thread(target=_back, args=(between, far, near), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                _forth(between, near, far)
            for end in (far, near):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join(_MOST_WAIT_S)

    with raw_server(behave) as server:
        between.port = server.port
        yield between


def _forth(between: Wire, near: socket.socket, far: socket.socket) -> None:
    while chunk := near.recv(65536):
        answer = between.answer_to(chunk)
        if answer is not None:
            near.sendall(answer)
            return
        if between.swallow_after is not None and between.up >= between.swallow_after:
            continue
        passing = between.until_cut(chunk)
        far.sendall(_flipped(passing, between.flip_up, between.up))
        between.up += len(passing)
        if len(passing) < len(chunk):
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as a broken line gives
            return


def _back(between: Wire, far: socket.socket, near: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := far.recv(65536):
            near.sendall(_flipped(chunk, between.flip_down, between.down))
            between.down += len(chunk)
            if between.cut_down is not None and between.down >= between.cut_down:
                between.cut_down = None
                break
        near.shutdown(socket.SHUT_RDWR)


def _flipped(chunk: bytes, at: int | None, start: int) -> bytes:
    if at is None or not start <= at < start + len(chunk):
        return chunk
    bent = bytearray(chunk)
    bent[at - start] ^= 1
    return bytes(bent)
