"""What the scan's benchmark looks at: many servers on loopback addresses, in processes of their own, their names in a real DNS, dead hosts.

Where there is a C compiler with OpenSSL's headers, servers and anchor are our own native ones (server.c, anchor.c), built at each run.
Where there is none, the servers are the tests' Python ones, all names share one certificate, and there is no anchor: said by `Stand.native`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL

from demo.pki import Chain, Forged, make_chain, make_key, make_leaf
from tests.dnsserver import bind9
from tests.postgres import free_port
from tests.processes import eventually
from tests.servers import tls_server

HERE: Final = Path(__file__).resolve().parent
ADDRESSES: Final = 100
KINDS: Final = {"h": "127.0.1.", "o": "127.0.3.", "w": "127.0.4."}
"""Ordinary servers, old ones that speak nothing newer than TLS 1.2, and ones that keep handshakes waiting; each at ADDRESSES addresses."""
MODES: Final = {"h": "any", "o": "tls12", "w": "held"}
DEAD: Final = "127.0.2.1"
"""Takes no connection and refuses none: what is sent to it is dropped, as by a host that is gone."""


@dataclass(frozen=True, slots=True)
class Stand:
    """What is running: `port` is everybody's, `resolver` like "127.0.0.1:5353". `anchor` is None where nothing native could be built."""

    folder: Path
    port: int
    resolver: str
    roots: Path
    native: bool
    anchor: Path | None

    def name(self, kind: str, number: int) -> str:
        """The name of the `number`-th target at a server of this kind; "d" is dead."""
        return f"n{number}.{kind}{0 if kind == 'd' else number % ADDRESSES}.bench.test"

    def run_anchor(self, targets: int, concurrency: int, core: int) -> Mapping[str, Any]:
        """Handshakes with ordinary servers; what anchor.c prints."""
        assert self.anchor is not None, "ask first"
        words = [self.anchor, KINDS["h"], ADDRESSES, self.port, targets, concurrency]
        done = subprocess.run(
            list(map(str, words)), check=True, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
        )
        told: Mapping[str, Any] = json.loads(done.stdout)
        return told


@contextmanager
def standing(folder: Path, names: int, *, held: int = 0) -> Iterator[Stand]:
    """All of it, for targets 0 .. names - 1; handshakes at the waiting servers go on when `held` are there."""
    port = free_port()
    chain = write_chains(folder, names)
    native = all(build(name, folder) for name in ("server", "anchor"))
    zone = [f"*.{kind}{number} A {prefix}{number + 1}" for kind, prefix in KINDS.items() for number in range(ADDRESSES)]
    with ExitStack() as stack:
        for kind in KINDS:
            if native:
                stack.enter_context(native_server(folder, kind, port, held))
            elif kind != "w":
                stack.enter_context(python_server(chain, kind, port))
        stack.enter_context(dead_host(port))
        resolver = stack.enter_context(bind9({"bench.test": "\n".join([*zone, f"*.d0 A {DEAD}"])}))
        yield Stand(folder, port, resolver, folder / "root.pem", native, folder / "anchor" if native else None)


def write_chains(folder: Path, names: int) -> Chain:
    """leaves.pem: one certificate for each target, valid at a server of every kind; one key for all of them, as each costs a signature only."""
    key = make_key("p256")
    wildcards = [f"*.{kind}{number}.bench.test" for kind in KINDS for number in range(ADDRESSES)]
    chain = make_chain(wildcards, key=key)
    chain.write(folder)
    with (folder / "leaves.pem").open("wb") as leaves:
        for number in range(names):
            own = [f"n{number}.{kind}{number % ADDRESSES}.bench.test" for kind in KINDS]
            leaves.write(Forged.pem_of(make_leaf(own, chain.intermediates[0], key=key)))
    (folder / "chain.pem").write_bytes(Forged.pem_of(*chain.intermediates))
    return chain


def build(name: str, folder: Path) -> bool:
    """Whether this machine's compiler made a program of it."""
    compiler = shutil.which("cc")
    if compiler is None:
        return False
    words = [compiler, "-O2", "-o", str(folder / name), str(HERE / f"{name}.c"), "-lssl", "-lcrypto"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


@contextmanager
def native_server(folder: Path, kind: str, port: int, held: int) -> Iterator[None]:
    words: Sequence[object] = (
        folder / "server", KINDS[kind], ADDRESSES, port, folder / "leaves.pem", folder / "chain.pem", folder / "privkey.pem", MODES[kind], held,
    )  # fmt: skip
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit(f"the server for {MODES[kind]} did not start")
            yield
        finally:
            process.kill()


@contextmanager
def python_server(chain: Chain, kind: str, port: int) -> Iterator[None]:
    stop, ready = multiprocessing.Event(), multiprocessing.Event()
    process = multiprocessing.Process(target=serve, args=((chain.pem, chain.key_pem), kind, port, ready, stop))
    process.start()
    try:
        if not ready.wait(20):
            raise SystemExit("the Python servers did not start")
        yield
    finally:
        stop.set()
        process.join(20)


def serve(pems: tuple[bytes, bytes], kind: str, port: int, ready: Event, stop: Event) -> None:
    newest = SSL.TLS1_2_VERSION if kind == "o" else SSL.TLS1_3_VERSION
    with ExitStack() as stack:
        for number in range(1, ADDRESSES + 1):
            stack.enter_context(tls_server(*pems, address=f"{KINDS[kind]}{number}", port=port, maximum=newest))
        ready.set()
        stop.wait()


@contextmanager
def dead_host(port: int) -> Iterator[None]:
    """A listener that accepts nobody and whose queue is full: Linux drops every further SYN to it."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((DEAD, port))
        listener.listen(0)

        def is_full() -> bool:
            knock = stack.enter_context(socket.socket())
            knock.settimeout(0.3)
            try:
                knock.connect((DEAD, port))
            except TimeoutError:
                return True
            return False

        eventually(is_full)
        yield
