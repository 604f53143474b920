"""Real DNS on loopback: bind9 with a zone given as text, and a stub that answers whatever a test makes up.

with bind9({"kc.test": "two A 127.0.0.1\\ntwo A 127.0.0.2\\n"}) as resolver:      # "127.0.0.1:PORT"
with stub_dns(lambda request: ...) as stub:                                      # stub.resolver, stub.asked
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dnslib import DNSRecord

READY_LINE = "running"
MOST_WAIT_S = 20.0
_HEAD = "$TTL 1\n@ IN SOA ns hostmaster 1 60 60 60 1\n@ IN NS ns\nns IN A 127.0.0.1\n"
_CONF = """options {{
  directory "{directory}"; pid-file none; session-keyfile "{directory}/session.key"; recursion no; notify no;
  dnssec-validation no; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; max-cache-size 8m;
}};
controls {{ }};
"""

Answer = Callable[[DNSRecord], "DNSRecord | None"]


@contextlib.contextmanager
def bind9(zones: Mapping[str, str]) -> Iterator[str]:
    """An authoritative `named` for these zones (origin -> records). A zone whose text is broken answers SERVFAIL."""
    program = shutil.which("named") or shutil.which("named", path="/usr/sbin")
    if program is None:
        pytest.skip("bind9's named is not installed: apt-get install bind9")
    with tempfile.TemporaryDirectory(prefix="keychest-named-") as directory:
        port = _free_port()
        conf = _CONF.format(directory=directory, port=port)
        for number, (origin, text) in enumerate(zones.items()):
            (Path(directory) / f"{number}.zone").write_text(f"{_HEAD}{text}\n")
            conf += f'zone "{origin}" {{ type primary; file "{number}.zone"; check-names ignore; }};\n'
        (Path(directory) / "named.conf").write_text(conf)
        command = [program, "-g", "-n", "1", "-c", f"{directory}/named.conf"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            reader, said, ready = _reader(process)
            try:
                if not ready.wait(MOST_WAIT_S) or process.poll() is not None:
                    pytest.fail("named did not start:\n" + "".join(said[-15:]))
                yield f"127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(MOST_WAIT_S)
                reader.join(MOST_WAIT_S)


def _reader(process: subprocess.Popen[str]) -> tuple[threading.Thread, list[str], threading.Event]:
    """A thread that reads named's log to its end, so that it never waits for us; the event is set when it runs, or has ended."""
    said: list[str] = []
    ready = threading.Event()

    def read() -> None:
        for line in process.stderr or ():
            said.append(line)
            if line.rstrip().endswith(READY_LINE):
                ready.set()
        ready.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, said, ready


def _free_port() -> int:
    """A port that is free for UDP and TCP alike."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind(("127.0.0.1", port))
                return port


@dataclass
class Stub:
    """Where it listens, and every question it was asked, like ("a.test", "A")."""

    resolver: str
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def stub_dns(answer: Answer) -> Iterator[Stub]:
    """UDP and TCP; `answer` gets the request and gives the reply, or None to say nothing. Replies over 1,232 bytes go by TCP."""
    stub = Stub("")

    def reply(packet: bytes, *, by_udp: bool) -> bytes | None:
        request = DNSRecord.parse(packet)
        stub.asked.append((str(request.q.qname).rstrip("."), _kind(request)))
        record = answer(request)
        if record is None:
            return None
        whole: bytes = record.pack()
        if by_udp and len(whole) > 1_232:
            cut = request.reply()
            cut.header.tc = 1
            return bytes(cut.pack())
        return whole

    port = _free_port()
    stub.resolver = f"127.0.0.1:{port}"
    with _serving(port, reply):
        yield stub


@contextlib.contextmanager
def _serving(port: int, reply: Callable[..., bytes | None]) -> Iterator[None]:
    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            packet = reply(self.request[0], by_udp=True)
            if packet is not None:
                self.request[1].sendto(packet, self.client_address)

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.read(2):
                packet = reply(self.rfile.read(int.from_bytes(head, "big")), by_udp=False)
                if packet is not None:
                    self.wfile.write(len(packet).to_bytes(2, "big") + packet)

    class Udp(socketserver.ThreadingUDPServer):
        daemon_threads = True

    class Tcp(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Udp(("127.0.0.1", port), Datagram) as udp, Tcp(("127.0.0.1", port), Connection) as tcp:
        threads = [threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in (udp, tcp)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            udp.shutdown()
            tcp.shutdown()
            for thread in threads:
                thread.join(MOST_WAIT_S)


def _kind(request: DNSRecord) -> str:
    return {1: "A", 28: "AAAA"}.get(request.q.qtype, str(request.q.qtype))
