from __future__ import annotations

import asyncio
import errno
import ipaddress
import resource
import socket
from pathlib import Path

import pytest

from core.net.dial import Failure, Stream, Undialled, open_stream
from core.net.guard import Network
from core.scanner.facts import FailureKind
from tests.servers import hang_up, raw_server, reset, send, silent

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


async def dialled(address: str, port: int, timeout_s: float = 2.0) -> Stream | Failure:
    return await open_stream(address, port, timeout_s, LOOPBACK)


def failure(address: str, port: int, timeout_s: float = 2.0) -> Failure:
    got = asyncio.run(dialled(address, port, timeout_s))
    assert isinstance(got, Failure)
    return got


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
def test_bytes_go_both_ways_and_are_counted(address: str) -> None:
    async def run(port: int) -> tuple[bytes, int, int]:
        stream = await dialled(address, port)
        assert isinstance(stream, Stream)
        with stream:
            await stream.write(b"x" * 100_000)
            got = await stream.read()
            return got, stream.received_bytes, stream.sent_bytes

    with raw_server(send(b"hello"), address) as server:
        assert asyncio.run(run(server.port)) == (b"hello", 5, 100_000)
        assert server.connections == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_guard_is_asked_again_and_nothing_is_sent(address: str) -> None:
    with raw_server(silent, address) as server:
        got = asyncio.run(open_stream(address, server.port, 2.0))
        assert isinstance(got, Failure)
        assert got.kind is Undialled.REFUSED_ADDRESS
        assert "loopback" in got.message
        assert server.connections == 0


@pytest.mark.parametrize("name", ["localhost", "127.1", "2130706433", "0x7f.1"])
def test_only_literals_are_dialled(name: str) -> None:
    with raw_server(silent) as server:
        assert failure(name, server.port).kind is Undialled.REFUSED_ADDRESS
        assert server.connections == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_nothing_listens(address: str) -> None:
    with raw_server(silent, address) as server:
        port = server.port
    got = failure(address, port)
    assert got == Failure(Undialled.REFUSED, f"Nothing listens on port {port} of {address}.")


def test_a_full_backlog_times_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]

        async def run() -> Failure:
            held = []
            try:
                while True:
                    got = await dialled("127.0.0.1", port, 0.2)
                    if isinstance(got, Failure):
                        return got
                    held.append(got)
            finally:
                for stream in held:
                    stream.close()

        assert asyncio.run(run()).kind is Undialled.TIMEOUT


def test_the_end_and_a_reset_are_told_apart() -> None:
    async def run(port: int) -> bytes:
        stream = await dialled("127.0.0.1", port)
        assert isinstance(stream, Stream)
        with stream:
            await stream.write(b"x")
            return await stream.read()

    with raw_server(hang_up) as server:
        assert asyncio.run(run(server.port)) == b""
    with raw_server(reset) as server, pytest.raises(ConnectionResetError):
        asyncio.run(run(server.port))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_open() -> None:
    async def run(good: int, refusing: int) -> tuple[int, int]:
        before = open_descriptors()
        for _ in range(5):
            stream = await dialled("127.0.0.1", good)
            assert isinstance(stream, Stream)
            stream.close()
            assert isinstance(await dialled("127.0.0.1", refusing), Failure)
        return before, open_descriptors()

    with raw_server(silent) as closed:
        refusing = closed.port
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before, after = asyncio.run(run(listener.getsockname()[1], refusing))
    assert before == after


def test_our_own_lack_of_descriptors_is_not_blamed_on_the_server() -> None:
    async def run(port: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = [socket.socket() for _ in range(3)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1].fileno() + 1, hard))
            with pytest.raises(OSError, match="open files") as raised:
                await dialled("127.0.0.1", port)
            assert raised.value.errno == errno.EMFILE
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for one in held:
                one.close()

    asyncio.run(run(9))


def test_the_kinds_are_those_of_the_scanner() -> None:
    assert {kind.value for kind in Undialled} <= {kind.value for kind in FailureKind}
