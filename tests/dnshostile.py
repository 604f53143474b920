"""DNS servers that mean ill: what goes over the wire is bytes that a test makes up, by UDP and by TCP apart.

with raw_dns(udp=lambda question: [garbage]) as resolver: ...                       # "127.0.0.1:PORT"
with raw_dns(udp=truncated, tcp=lambda question: [whole]) as resolver: ...
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.dnsserver import MOST_WAIT_S, _free_port
from tests.servers import Behaviour, raw_server

A, CNAME, TXT, AAAA = 1, 5, 16, 28


@dataclass(frozen=True)
class Question:
    """A question as it came. `raw` is name, type and class."""

    id: bytes
    raw: bytes
    kind: int


Say = Callable[[Question], Iterable[bytes]]
"""The packets with which a question is answered; over TCP each goes after its length."""


def question_of(packet: bytes) -> Question:
    end = 12
    while packet[end]:
        end += 1 + packet[end]
    return Question(packet[:2], packet[12 : end + 5], int.from_bytes(packet[end + 1 : end + 3], "big"))


def packet(question: Question, answers: Sequence[bytes] = (), *, flags: int = 0x8180, count: int | None = None, tail: bytes = b"") -> bytes:
    """A reply. `count`: how many answers it says that it has; `tail`: what follows them."""
    counts = (1).to_bytes(2, "big") + (len(answers) if count is None else count).to_bytes(2, "big") + bytes(4)
    return question.id + flags.to_bytes(2, "big") + counts + question.raw + b"".join(answers) + tail


def record(kind: int, data: bytes, *, name: bytes = b"\xc0\x0c", ttl: int = 0, says: int | None = None) -> bytes:
    """A resource record, by default of the name that was asked for. `says`: how long it says that its data are."""
    length = len(data) if says is None else says
    return name + kind.to_bytes(2, "big") + b"\0\x01" + ttl.to_bytes(4, "big") + length.to_bytes(2, "big") + data


def name_of(*labels: bytes) -> bytes:
    """A name on the wire. Labels may hold anything, and may be longer than a label can say."""
    return b"".join(bytes([len(label) & 0xFF]) + label for label in labels) + b"\0"


def truncated(question: Question) -> list[bytes]:
    """Ask again by TCP."""
    return [packet(question, flags=0x8380)]


@contextlib.contextmanager
def raw_dns(udp: Say, tcp: Say | None = None, *, stream: Behaviour | None = None) -> Iterator[str]:
    """`udp` answers datagrams; `tcp` questions over TCP, or `stream` does as it likes with each connection. Neither: nobody listens."""
    port, ended = _free_port(), threading.Event()
    with contextlib.ExitStack() as stack:
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", port))
        datagrams.settimeout(0.05)
        thread = threading.Thread(target=_answer, args=(datagrams, udp, ended), daemon=True)
        thread.start()
        stack.callback(thread.join, MOST_WAIT_S)
        stack.callback(ended.set)
        if tcp is not None or stream is not None:
            stack.enter_context(raw_server(stream or _over_tcp(tcp or udp), port=port))
        yield f"127.0.0.1:{port}"


def _answer(datagrams: socket.socket, say: Say, ended: threading.Event) -> None:
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            asked, peer = datagrams.recvfrom(4096)
            for each in say(question_of(asked)):
                datagrams.sendto(each, peer)


def _over_tcp(say: Say) -> Behaviour:
    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        with connection.makefile("rb") as asked:
            while head := asked.read(2):
                for each in say(question_of(asked.read(int.from_bytes(head, "big")))):
                    connection.sendall(len(each).to_bytes(2, "big") + each)

    return behave
