"""Real servers on loopback, good and bad, each on a free port in threads of its own, ended when the `with` block ends.

with tls_server(chain.pem, chain.key_pem) as server:           # an ordinary one
    server.address, server.port, server.connections
with raw_server(send(b"HTTP/1.1 400 Bad Request\\r\\n\\r\\n")) as server:   # anything else
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

Behaviour = Callable[[socket.socket, threading.Event], None]
"""What is done with one connection; the event is set when the server is to end."""

MOST_WAIT_S = 20.0


@dataclass
class Server:
    """Where it listens, and who came: `names` are the SNI names asked of a TLS server."""

    address: str
    port: int
    peers: list[tuple[str, int]] = field(default_factory=list)
    names: list[bytes | None] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)
    ours: set[tuple[str, int]] = field(default_factory=set)

    @property
    def connections(self) -> int:
        """How many connections were made so far. Exact: one of our own goes last through the same queue and is not counted."""
        with contextlib.suppress(ConnectionError), socket.create_connection((self.address, self.port), MOST_WAIT_S) as marker:
            mine: tuple[str, int] = marker.getsockname()[:2]
            self.ours.add(mine)
            with self.came:
                self.came.wait_for(lambda: mine in self.peers, MOST_WAIT_S)
        return sum(1 for peer in self.peers if peer not in self.ours)


@contextlib.contextmanager
def raw_server(behave: Behaviour, address: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """A TCP server that does `behave` with every connection, each in its own thread."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(128)
    server = Server(address, listener.getsockname()[1])
    ended = threading.Event()
    open_ones: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def attend(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, SSL.Error):
            behave(connection, ended)

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, peer = listener.accept()
            except OSError:
                return
            connection.settimeout(MOST_WAIT_S)
            with server.came:
                server.peers.append(peer[:2])
                server.came.notify_all()
            open_ones.append(connection)
            threads.append(threading.Thread(target=attend, args=(connection,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which closing alone does not
        listener.close()
        for connection in open_ones:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in (acceptor, *threads):
            thread.join(MOST_WAIT_S)


@contextlib.contextmanager
def tls_server(
    chain_pem: bytes,
    key_pem: bytes,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    minimum: int = SSL.TLS1_VERSION,
    maximum: int = SSL.TLS1_3_VERSION,
    ciphers: bytes = b"ALL:@SECLEVEL=0",
    alpn: Sequence[bytes] | None = None,
    staple: bytes = b"",
    wants_client_certificate: bool = False,
    beside: tuple[bytes, bytes] | None = None,
) -> Iterator[Server]:
    """A TLS server that sends just these certificates in just this order. `alpn` given: others are sent away with an alert.

    `beside`: a second chain and its key, of another kind; the server picks, up to TLS 1.2 by its own order of ciphers.
    """
    context = _server_context(chain_pem, key_pem, ciphers)
    if beside is not None:
        _load(context, *beside)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_min_proto_version(minimum)
    context.set_max_proto_version(maximum)
    if alpn is not None:
        context.set_alpn_select_callback(_chooser(alpn))
    if staple:
        context.set_ocsp_server_callback(lambda _connection, _data: staple)
    if wants_client_certificate:
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    names: list[bytes | None] = []
    context.set_tlsext_servername_callback(lambda connection: names.append(connection.get_servername()))

    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        connection.settimeout(None)  # pyOpenSSL wants a blocking socket; the end of the server shuts it down
        tls = SSL.Connection(context, connection)
        tls.set_accept_state()
        with contextlib.suppress(LookupError):
            tls.do_handshake()
        with contextlib.suppress(SSL.Error):
            while tls.recv(4096):
                continue
        with contextlib.suppress(SSL.Error):
            tls.shutdown()

    with raw_server(behave, address, port) as server:
        server.names = names
        yield server


def silent_after(chain_pem: bytes, key_pem: bytes, *, turns: int) -> Behaviour:
    """For a raw_server: an ordinary handshake with each of the first `turns` that come, silence for whoever comes after."""
    context = _server_context(chain_pem, key_pem, b"ALL:@SECLEVEL=0")
    came = itertools.count()

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        if next(came) >= turns:
            silent(connection, ended)
            return
        served = SSL.Connection(context, connection)
        served.set_accept_state()
        connection.setblocking(True)
        served.do_handshake()
        served.recv(1)

    return behave


def _server_context(chain_pem: bytes, key_pem: bytes, ciphers: bytes) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(ciphers)
    _load(context, chain_pem, key_pem)
    return context


def _load(context: SSL.Context, chain_pem: bytes, key_pem: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # by way of a file, OpenSSL takes certificates that pyca cannot read
        file.write(chain_pem)
        file.flush()
        context.use_certificate_chain_file(file.name)
    context.use_privatekey(load_pem_private_key(key_pem, None))  # type: ignore[arg-type]  # a key of any kind that OpenSSL serves


def _chooser(spoken: Sequence[bytes]) -> Callable[[SSL.Connection, list[bytes]], bytes]:
    def choose(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for name in spoken:
            if name in offered:
                return name
        raise LookupError("none that we speak")  # pyOpenSSL then sends no_application_protocol

    return choose


def send(data: bytes) -> Behaviour:
    """Say this at once, then wait for the other side to go."""

    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        connection.sendall(data)
        while connection.recv(65536):
            continue

    return behave


def silent(connection: socket.socket, _ended: threading.Event) -> None:
    """Read everything and never say a word."""
    while connection.recv(65536):
        continue


def hang_up(connection: socket.socket, _ended: threading.Event) -> None:
    """Close in good order after the first word."""
    connection.recv(1)
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        continue


def reset(connection: socket.socket, _ended: threading.Event) -> None:
    """Answer the first word with a TCP RST."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drip(data: bytes, every_s: float) -> Behaviour:
    """One byte per interval, round and round."""

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        position = 0
        while not ended.wait(every_s):
            connection.sendall(data[position % len(data) :][:1])
            position += 1

    return behave


def flood(head: bytes, part: bytes) -> Behaviour:
    """`head`, and then `part` for as long as anybody takes it."""

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(head)
        while not ended.is_set():
            connection.sendall(part)

    return behave


def alert(number: int) -> bytes:
    """A fatal alert in the clear (RFC 8446 section 6)."""
    return bytes([21, 3, 3, 0, 2, 2, number])


def first_flight(certificates: Sequence[bytes]) -> bytes:
    """ServerHello and Certificate of TLS 1.2, with whatever bytes are given for certificates (RFC 5246 section 7.4)."""
    hello = b"\x03\x03" + bytes(32) + b"\x00" + b"\xc0\x2b" + b"\x00" + b"\x00\x05" + b"\xff\x01\x00\x01\x00"
    entries = b"".join(len(der).to_bytes(3, "big") + der for der in certificates)
    messages = _message(2, hello) + _message(11, len(entries).to_bytes(3, "big") + entries)
    parts = [messages[start : start + 16_000] for start in range(0, len(messages), 16_000)]
    return b"".join(b"\x16\x03\x03" + len(part).to_bytes(2, "big") + part for part in parts)


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body
