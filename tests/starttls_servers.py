"""Servers of every protocol that upgrades, as scripts: what they await, what they say, and then TLS.

with upgrading("smtp", chain.pem, chain.key_pem) as server: ...
with upgrading("imap", chain.pem, chain.key_pem, script=[b"* OK\\r\\n", ...]) as server:   # one that behaves otherwise
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.servers import MOST_WAIT_S, Server, raw_server

Step = bytes | str
"""What is sent (bytes), or what is awaited at the end of what has come (str)."""

LDAP_OK = bytes.fromhex("300c02010178070a010004000400")
LDAP_UNAVAILABLE = bytes.fromhex("300c02010178070a013404000400")
LDAP_GOODBYE = bytes.fromhex("300c02010078070a013404000400")


def mysql_greeting(*, tls: bool = True, version: bytes = b"8.4.0") -> bytes:
    """MySQL's protocol 10, with the lower capabilities that say whether it can TLS."""
    flags = 0xF7FF | (0x0800 if tls else 0)
    told = b"\x0a" + version + b"\0" + b"\x2a\0\0\0" + b"12345678" + b"\0" + flags.to_bytes(2, "little") + b"\x2d" + bytes(18) + b"\0"
    return len(told).to_bytes(3, "little") + b"\0" + told


_XMPP_HEAD = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'>"
)
_XMPP_TLS = b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
_XMPP_PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

SCRIPTS: dict[str, Sequence[Step]] = {
    "smtp": [
        b"220-mx.kc.test\r\n220 ESMTP\r\n",
        "\r\n",
        b"250-mx.kc.test\r\n250-SIZE 1000\r\n250 STARTTLS\r\n",
        "STARTTLS\r\n",
        b"220 go\r\n",
    ],
    "imap": [b"* OK ready\r\n", " STARTTLS\r\n", b"* CAPABILITY IMAP4rev1\r\nkc OK go\r\n"],
    "pop3": [b"+OK ready\r\n", "STLS\r\n", b"+OK go\r\n"],
    "ldap": ["1.3.6.1.4.1.1466.20037", LDAP_OK],
    "postgres": ["\x04\xd2\x16/", b"S"],
    "mysql": [mysql_greeting(), "\0" * 23],
    "xmpp": ["streams'>", _XMPP_HEAD + _XMPP_TLS, "xmpp-tls'/>", _XMPP_PROCEED],
    "xmpp-server": ["streams'>", _XMPP_HEAD + _XMPP_TLS, "xmpp-tls'/>", _XMPP_PROCEED],
    "ftp": [b"220-hello\r\n 220 not yet\r\n220 ready\r\n", "AUTH TLS\r\n", b"234 go\r\n"],
    "sieve": [b'"IMPLEMENTATION" "a server"\r\n"STARTTLS"\r\nOK "ready"\r\n', "STARTTLS\r\n", b'OK "go"\r\n'],
    "nntp": [b"201 no posting\r\n", "STARTTLS\r\n", b"382 go\r\n"],
}
"""How each protocol goes where all is well."""


@contextlib.contextmanager
def upgrading(protocol: str, pem: bytes, key_pem: bytes, script: Sequence[Step] | None = None) -> Iterator[Server]:
    """A server that plays the script and then speaks TLS with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "chain").write_bytes(pem)
        (Path(folder) / "key").write_bytes(key_pem)
        context.load_cert_chain(Path(folder) / "chain", Path(folder) / "key")
    steps = SCRIPTS[protocol] if script is None else script

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        play(connection, steps)
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as wrapped:
            while not ended.is_set() and wrapped.recv(4096):
                pass

    with raw_server(behave) as server:
        yield server


def play(connection: socket.socket, steps: Sequence[Step]) -> None:
    """Say and await, in turns. Raises OSError where the other side ends before."""
    connection.settimeout(MOST_WAIT_S)
    for step in steps:
        if isinstance(step, bytes):
            connection.sendall(step)
            continue
        heard = b""
        while not heard.endswith(step.encode("latin-1")):
            part = connection.recv(1)
            if not part:
                raise ConnectionError("the other side ended")
            heard += part
