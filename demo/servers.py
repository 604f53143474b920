"""The servers of the demonstration, and the DNS that names them, in one process: `python -m demo.servers FOLDER`.

It reads what `demo.stage` wrote into FOLDER, listens on addresses of 127.77.0.0/16 alone, and ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import ssl
import struct
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

PATIENCE_S: Final = 30.0
_CHAIN_PATIENCE: Final = (OSError, asyncio.IncompleteReadError, TimeoutError, ssl.SSLError)
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

TALKS: Final[Mapping[str, Sequence[tuple[bytes, bytes]]]] = {
    "smtp": ((b"220 mx ESMTP\r\n", b"\r\n"), (b"250-mx\r\n250 STARTTLS\r\n", b"\r\n"), (b"220 go\r\n", b"")),
    "imap": ((b"* OK ready\r\n", b"\r\n"), (b"{tag} OK go\r\n", b"")),
    "pop3": ((b"+OK ready\r\n", b"\r\n"), (b"+OK go\r\n", b"")),
    "ftp": ((b"220 ready\r\n", b"\r\n"), (b"234 go\r\n", b"")),
    "sieve": ((b'"STARTTLS"\r\nOK\r\n', b"\r\n"), (b'OK "go"\r\n', b"")),
    "nntp": ((b"201 no posting\r\n", b"\r\n"), (b"382 go\r\n", b"")),
}
"""What is said, and the end of what is awaited after it, before TLS begins. `{tag}` is the first word of what was heard."""
QUESTIONS: Final[Mapping[str, tuple[bytes, bytes]]] = {
    "imap": (b"CAPABILITY", b"* CAPABILITY IMAP4rev1 STARTTLS\r\n{tag} OK done\r\n"),
    "ftp": (b"FEAT", b"211-Features\r\n AUTH TLS\r\n211 End\r\n"),
}
"""What careful clients ask first, and the answer."""


def listening(plan: Mapping[str, Any]) -> bool:
    """Whether the last of the servers of this plan listens, and so all of them do."""
    with socket.socket() as probe:
        return probe.connect_ex((plan["servers"][-1]["address"], plan["port"])) == 0


def tls_context(serve: str, chain: Path, key: Path) -> ssl.SSLContext:
    """A context that serves also what no good server would: old protocols, short keys."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        if serve == "tls10":
            context.maximum_version = ssl.TLSVersion.TLSv1
    context.load_cert_chain(chain, key)
    if serve == "client":
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(chain)
    return context


def _hold() -> Client:
    """Wait for the first word or the leave of the other side."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*_CHAIN_PATIENCE):
            await asyncio.wait_for(reader.read(1024), PATIENCE_S)
        await _close(writer)

    return client


def _silent() -> Client:
    """Take whatever comes, and say nothing for as long as anybody waits."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*_CHAIN_PATIENCE):
            async with asyncio.timeout(PATIENCE_S):
                while await reader.read(1024):
                    pass
        await _close(writer)

    return client


def _say(words: bytes) -> Client:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*_CHAIN_PATIENCE):
            await asyncio.wait_for(reader.read(1024), PATIENCE_S)
            writer.write(words)
            await writer.drain()
        await _close(writer)

    return client


def _slow() -> Client:
    """One byte of a TLS record every five seconds."""

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*_CHAIN_PATIENCE):
            for byte in b"\x16\x03\x03\x40\x00\x02":
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(5)
        await _close(writer)

    return client


def _reset() -> Client:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*_CHAIN_PATIENCE):
            await asyncio.wait_for(reader.read(1024), PATIENCE_S)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return client


def _upgrading(protocol: str, context: ssl.SSLContext) -> Client:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*_CHAIN_PATIENCE):
            question, answer = QUESTIONS.get(protocol, (b"", b""))
            heard = b""
            for words, end in TALKS[protocol]:
                writer.write(_tagged(words, heard))
                await writer.drain()
                if end:
                    heard = await asyncio.wait_for(reader.readuntil(end), PATIENCE_S)
                if question and question in heard.upper():
                    writer.write(_tagged(answer, heard))
                    heard = await asyncio.wait_for(reader.readuntil(end), PATIENCE_S)
            await writer.start_tls(context, ssl_handshake_timeout=PATIENCE_S)
            await asyncio.wait_for(reader.read(1024), PATIENCE_S)
        await _close(writer)

    return client


def _tagged(words: bytes, heard: bytes) -> bytes:
    return words.replace(b"{tag}", heard.partition(b" ")[0])


async def _close(writer: asyncio.StreamWriter) -> None:
    with suppress(*_CHAIN_PATIENCE):
        writer.close()
        await writer.wait_closed()


class Names(asyncio.DatagramProtocol):
    """The DNS of the zone, and of nothing else: A records and CNAMEs out of `zone`, by name."""

    def __init__(self, zone: Mapping[str, Sequence[str]]) -> None:
        self.zone = zone
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer one question; what is none is left alone."""
        with suppress(dns.exception.DNSException):
            answer = self.answer(dns.message.from_wire(data))
            if self.transport is not None:
                self.transport.sendto(answer.to_wire(), addr)

    def answer(self, question: dns.message.Message) -> dns.message.Message:
        """What the zone says: NXDOMAIN for names that are not in it."""
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.AA | dns.flags.RA
        asked = question.question[0]
        name = asked.name.to_text(omit_final_dot=True).lower()
        if name not in self.zone:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        while (found := self.zone.get(name)) and found[0].endswith("."):  # a CNAME
            answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", found[0]))
            name = found[0].rstrip(".")
        if asked.rdtype == dns.rdatatype.A and (found := self.zone.get(name)):
            answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "A", *found))
        return answer


async def serve(plan: Mapping[str, Any], folder: Path) -> None:
    """Listen as `plan` says until SIGTERM or SIGINT."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await loop.create_datagram_endpoint(lambda: Names(plan["zone"]), local_addr=("127.0.0.1", plan["dns_port"]))
    servers = [await _listen(one, folder, plan["port"]) for one in plan["servers"]]
    print("The servers of the demonstration listen.", flush=True)  # noqa: T201 - its log
    await ended.wait()
    for server in servers:
        server.close()


async def _listen(one: Mapping[str, str], folder: Path, port: int) -> asyncio.Server:
    kind, context = one["serve"], None
    if one["chain"]:
        context = tls_context(kind, folder / one["chain"], folder / one["key"])
        if one["beside"]:
            context.load_cert_chain(folder / one["beside"], folder / one["beside_key"])
    if kind in TALKS and context is not None:
        return await asyncio.start_server(_upgrading(kind, context), one["address"], port)
    clients: dict[str, Callable[[], Client]] = {
        "silent": _silent,
        "slow": _slow,
        "reset": _reset,
        "http": lambda: _say(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    }
    client = clients.get(kind, _hold)()
    return await asyncio.start_server(client, one["address"], port, ssl=context)


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # who hangs up in a handshake is no news here
    place = Path(sys.argv[1])
    asyncio.run(serve(json.loads((place / "demo.json").read_text()), place))
