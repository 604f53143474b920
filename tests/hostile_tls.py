"""TLS servers that mean ill, in the two dialects that matter: what goes in the clear up to TLS 1.2, and under keys in TLS 1.3.

with raw_server(after_hello(ill12(records(22, message(11, ...))))) as server: ...
with raw_server(ill13(chain, lambda spoken: [spoken.sealed(message(25, b"..."))])) as server: ...

`Spoken13` is a TLS 1.3 server of its own (X25519, AES-128-GCM, SHA-256; RFC 8446), since no library sends what is sent here.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain as chained
from itertools import repeat

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from demo.pki import Chain
from tests.servers import Behaviour

HANDSHAKE, ALERT, APPLICATION, CHANGE_CIPHER = 22, 21, 23, 20
SERVER_HELLO, TICKET, EXTENSIONS, CERTIFICATE, KEY_EXCHANGE, REQUEST, DONE, VERIFY, FINISHED, STATUS, COMPRESSED = (
    2, 4, 8, 11, 12, 13, 14, 15, 20, 22, 25,
)  # fmt: skip
ENDLESS = 0xFFFFFF
"""The longest a handshake message can say that it is: 16 MB."""
_X25519 = 29
_HRR_RANDOM = hashlib.sha256(b"HelloRetryRequest").digest()  # RFC 8446 section 4.1.3


def message(kind: int, body: bytes, *, says: int | None = None) -> bytes:
    """A handshake message, which may say that it is of another length than it is."""
    return bytes([kind]) + (len(body) if says is None else says).to_bytes(3, "big") + body


def records(kind: int, data: bytes, size: int = 16_000) -> bytes:
    """The bytes in records of at most `size`."""
    parts = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    return b"".join(bytes([kind, 3, 3]) + len(part).to_bytes(2, "big") + part for part in parts)


def vector(data: bytes, width: int) -> bytes:
    """The bytes after their length."""
    return len(data).to_bytes(width, "big") + data


def certificates(ders: Iterable[bytes], *, tls13: bool = False) -> bytes:
    """The body of a Certificate message."""
    entries = b"".join(vector(der, 3) + (b"\0\0" if tls13 else b"") for der in ders)
    return (b"\0" if tls13 else b"") + vector(entries, 3)


@dataclass(frozen=True)
class Hello:
    """What a client opened with. `extensions` by number, `raw` the whole message."""

    raw: bytes
    random: bytes
    session: bytes
    extensions: dict[int, bytes]

    @property
    def x25519(self) -> bytes:
        """The client's share."""
        shares = self.extensions[51][2:]
        while shares:
            group, length = struct.unpack(">HH", shares[:4])
            if group == _X25519:
                return shares[4 : 4 + length]
            shares = shares[4 + length :]
        raise ValueError("no X25519 share was offered")


def hello_of(connection: socket.socket) -> Hello:
    """Read the ClientHello. Raises ConnectionError where there is none."""
    raw = b""
    while len(raw) < 4 or len(raw) < 4 + int.from_bytes(raw[1:4], "big"):
        head = _exactly(connection, 5)
        raw += _exactly(connection, int.from_bytes(head[3:5], "big"))
    at = 4 + 2 + 32
    session = raw[at + 1 : at + 1 + raw[at]]
    at += 1 + len(session)
    at += 2 + int.from_bytes(raw[at : at + 2], "big")
    at += 1 + raw[at]
    found, at = {}, at + 2
    while at < len(raw):
        kind, length = struct.unpack(">HH", raw[at : at + 4])
        found[kind] = raw[at + 4 : at + 4 + length]
        at += 4 + length
    return Hello(raw, raw[6:38], session, found)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("the client went away")
        data += part
    return data


def hello12(suite: int = 0xC02B, *, staple: bool = False) -> bytes:
    """A ServerHello of TLS 1.2 for this cipher suite (c02b: ECDHE-ECDSA-AES128-GCM, 009e: DHE-RSA-AES128-GCM, 002f: RSA-AES128-SHA)."""
    extensions = b"\xff\x01\x00\x01\x00" + (b"\x00\x05\x00\x00" if staple else b"")
    return message(SERVER_HELLO, b"\x03\x03" + bytes(32) + b"\0" + suite.to_bytes(2, "big") + b"\0" + vector(extensions, 2))


def hello_retry(hello: Hello, group: int) -> bytes:
    """A HelloRetryRequest that asks for a share of this group."""
    extensions = b"\x00\x2b\x00\x02\x03\x04" + b"\x00\x33\x00\x02" + group.to_bytes(2, "big")
    return message(SERVER_HELLO, b"\x03\x03" + _HRR_RANDOM + vector(hello.session, 1) + b"\x13\x01\0" + vector(extensions, 2))


class Spoken13:
    """The server's side of a TLS 1.3 handshake up to where ill is meant. `opening` is the ServerHello that goes first, in the clear."""

    def __init__(self, hello: Hello, chain: Chain) -> None:
        self._chain = chain
        key = x25519.X25519PrivateKey.generate()
        share = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        secret = key.exchange(x25519.X25519PublicKey.from_public_bytes(hello.x25519))
        extensions = b"\x00\x2b\x00\x02\x03\x04" + b"\x00\x33" + vector(_X25519.to_bytes(2, "big") + vector(share, 2), 2)
        server_hello = message(
            SERVER_HELLO, b"\x03\x03" + bytes(range(32)) + vector(hello.session, 1) + b"\x13\x01\0" + vector(extensions, 2)
        )
        self.opening = records(HANDSHAKE, server_hello)
        self._transcript = hello.raw + server_hello
        early = _extract(bytes(32), bytes(32))
        self._secret = _extract(_derive(early, "derived", b""), secret)
        self._traffic = b""
        self._use(_derive(self._secret, "s hs traffic", self._transcript))

    def _use(self, traffic: bytes) -> None:
        self._traffic, self._sequence = traffic, 0
        self._key, self._iv = AESGCM(_expand(traffic, "key", b"", 16)), int.from_bytes(_expand(traffic, "iv", b"", 12), "big")

    def sealed(self, data: bytes, kind: int = HANDSHAKE, size: int = 16_000) -> bytes:
        """The bytes in records under the server's key."""
        whole = b""
        for start in range(0, len(data) or 1, size):
            inner = data[start : start + size] + bytes([kind])
            head = bytes([APPLICATION, 3, 3]) + (len(inner) + 16).to_bytes(2, "big")
            nonce = (self._iv ^ self._sequence).to_bytes(12, "big")
            self._sequence += 1
            whole += head + self._key.encrypt(nonce, inner, head)
        return whole

    def said(self, kind: int, body: bytes) -> bytes:
        """A message that is in order, and counts towards the transcript."""
        whole = message(kind, body)
        self._transcript += whole
        return self.sealed(whole)

    def to_the_end(self) -> Iterator[bytes]:
        """All that a good server says, up to its Finished; what is sealed after that is under the keys of the connection."""
        yield self.said(EXTENSIONS, b"\0\0")
        yield self.said(CERTIFICATE, certificates(self._chain.ders, tls13=True))
        key = self._chain.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signed = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + hashlib.sha256(self._transcript).digest()
        yield self.said(VERIFY, b"\x04\x03" + vector(key.sign(signed, ec.ECDSA(hashes.SHA256())), 2))
        finished = hmac.new(_expand(self._traffic, "finished", b"", 32), hashlib.sha256(self._transcript).digest(), "sha256")
        yield self.said(FINISHED, finished.digest())
        self._use(_derive(_extract(_derive(self._secret, "derived", b""), bytes(32)), "s ap traffic", self._transcript))


def _extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.new(salt, secret, "sha256").digest()


def _expand(secret: bytes, label: str, context: bytes, length: int) -> bytes:
    info = length.to_bytes(2, "big") + vector(b"tls13 " + label.encode(), 1) + vector(context, 1)
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)


def _derive(secret: bytes, label: str, transcript: bytes) -> bytes:
    return _expand(secret, label, hashlib.sha256(transcript).digest(), 32)


def after_hello(say: Callable[[Hello], Iterable[bytes]]) -> Behaviour:
    """Read the ClientHello, say all of this, then wait for the other side to go."""

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        for part in say(hello_of(connection)):
            if ended.is_set():
                return
            connection.sendall(part)
        while connection.recv(65_536):
            continue

    return behave


def ill12(*parts: bytes, for_ever: bytes = b"") -> Behaviour:
    """Answer the ClientHello with these bytes, and then with `for_ever` for as long as anybody takes it."""
    return after_hello(lambda _hello: chained(parts, repeat(for_ever)) if for_ever else parts)


def ill13(chain: Chain, say: Callable[[Spoken13], Iterable[bytes]]) -> Behaviour:
    """Answer with a ServerHello of TLS 1.3, and then with what `say` makes up."""

    def spoken(hello: Hello) -> Iterator[bytes]:
        server = Spoken13(hello, chain)
        yield server.opening
        yield from say(server)

    return after_hello(spoken)


def slowly(parts: Iterable[bytes], every_s: float, ended: threading.Event) -> Iterator[bytes]:
    """The same bytes, one at a time."""
    for byte in chained.from_iterable(parts):
        if ended.wait(every_s):
            return
        yield bytes([byte])


def dripping(say: Callable[[Hello], tuple[bytes, Iterable[bytes]]], every_s: float) -> Behaviour:
    """Answer at once with the first that `say` gives, and with the rest one byte at a time."""

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        at_once, rest = say(hello_of(connection))
        connection.sendall(at_once)
        for byte in slowly(rest, every_s, ended):
            connection.sendall(byte)

    return behave


def torn(*parts: bytes, hello: bool = True) -> Behaviour:
    """Say this after the ClientHello (or at once), and end it with a TCP RST."""

    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        if hello:
            hello_of(connection)
        for part in parts:
            connection.sendall(part)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave
