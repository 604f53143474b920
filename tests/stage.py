"""A whole installation on loopback: `./keychest up` as a process of its own, with real servers, DNS and mail around it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from cli import broker
from core.store.db import Sessions, make_engine
from demo.pki import Forged, make_chain, make_root
from tests.dnsserver import bind9
from tests.postgres import free_port
from tests.processes import eventually
from tests.servers import tls_server

ROOT = Path(__file__).resolve().parents[1]
DAY = timedelta(days=1)
OWNER = "mira@example.org"


@dataclass(slots=True)
class Sink:
    """A real SMTP server that keeps what it takes."""

    url: str
    mails: list[tuple[str, EmailMessage]] = field(default_factory=list)

    def subjects(self) -> list[str]:
        return sorted(str(mail["Subject"]) for _, mail in self.mails)

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.extend((recipient, mail) for recipient in envelope.rcpt_tos)
        return "250 kept"


@contextlib.contextmanager
def smtp_sink(port: int = 0) -> Iterator[Sink]:
    port = port or free_port()
    sink = Sink(f"smtp://127.0.0.1:{port}")
    controller = Controller(sink, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield sink
    finally:
        controller.stop()


@dataclass(slots=True)
class Installation:
    """A running `./keychest up`."""

    process: subprocess.Popen[str]
    data: Path
    said: list[str]
    environment: Mapping[str, str]
    """What it was started with, and where its data is."""

    @property
    def url(self) -> str:
        return eventually(lambda: next(iter(re.findall(r"http://localhost:\d+", "".join(self.said))), ""), within_s=60)

    @property
    def setup_path(self) -> str:
        return eventually(lambda: next(iter(re.findall(r"/setup/[\w-]+", "".join(self.said))), ""), within_s=60)

    @property
    def broker_url(self) -> str:
        """Its own broker's, while it runs."""
        return broker.prepare(self.data).url

    def sessions(self) -> Sessions:
        return Sessions(make_engine(f"sqlite:///{self.data / 'keychest.db'}"))

    def health(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=10) as answer:
                told: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            told = json.load(error)
        except OSError as error:
            return {"status": f"no answer: {error}"}
        return told

    def await_health(self, *, within_s: float = 60) -> None:
        eventually(lambda: self.health().get("status") == "ok", within_s=within_s)

    def pid_of(self, *words: str) -> int:
        """The child whose title or command line holds all of these words; waits until there is one."""
        return eventually(
            lambda: next((pid for pid in children(self.process.pid) if all(w in command(pid) for w in words)), 0), within_s=30
        )


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


@contextlib.contextmanager
def installation(data: Path, settings: Mapping[str, str], *, port: int = 0, verb: str = "up") -> Iterator[Installation]:
    """`./keychest up` (or `demo`) on a data folder, stopped in order at the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEYCHEST_", "DATABASE_URL", "REDIS_URL"))}
    arguments = [sys.executable, "-P", "-m", "cli", verb, "--port", str(port), "--data", str(data)]
    environment = clean | {"PYTHONPATH": str(ROOT), "KEYCHEST_DATA": str(data)} | dict(settings)
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        yield Installation(process, data, said, environment)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        reader.join(10)
        if process.stdout:
            process.stdout.close()


@dataclass(frozen=True, slots=True)
class Street:
    """Real TLS servers and the DNS that names them: what a newcomer pastes."""

    root: Forged
    resolver: str
    ports: Mapping[str, int]

    @property
    def lines(self) -> list[str]:
        return [f"{name}.kc.test:{port}" for name, port in self.ports.items()]


@contextlib.contextmanager
def street(now: datetime | None = None) -> Iterator[Street]:
    """good, ending, expired, wrong (name), incomplete (chain), differ (two addresses, two certificates), refusing."""
    now = now or datetime.now(UTC)
    root = make_root(now=now)
    with contextlib.ExitStack() as stack:
        ports: dict[str, int] = {}
        plans: dict[str, dict[str, Any]] = {
            "good": {"not_before": now - 10 * DAY, "not_after": now + 80 * DAY},
            "ending": {"not_before": now - 70 * DAY, "not_after": now + 20 * DAY},
            "expired": {"not_before": now - 100 * DAY, "not_after": now - 3 * DAY},
            "wrong": {"not_before": now - 10 * DAY, "not_after": now + 80 * DAY},
            "incomplete": {"not_before": now - 10 * DAY, "not_after": now + 80 * DAY},
            "differ": {"not_before": now - 10 * DAY, "not_after": now + 80 * DAY},
        }
        for name, dates in plans.items():
            names = ["elsewhere.example"] if name == "wrong" else [f"{name}.kc.test"]
            chain = make_chain(names, root=root, now=now, **dates)
            pem = chain.leaf.pem if name == "incomplete" else chain.pem
            ports[name] = stack.enter_context(tls_server(pem, chain.key_pem)).port
        other = make_chain(["differ.kc.test"], root=root, now=now, not_before=now - 80 * DAY, not_after=now + 10 * DAY)
        stack.enter_context(tls_server(other.pem, other.key_pem, address="127.0.0.2", port=ports["differ"]))
        ports["refusing"] = free_port()
        zone = "differ A 127.0.0.1\ndiffer A 127.0.0.2\n* A 127.0.0.1\n"
        resolver = stack.enter_context(bind9({"kc.test": zone}))
        yield Street(root, resolver, ports)


def settings_for(street: Street, folder: Path, **more: str) -> dict[str, str]:
    """Settings under which an installation may dial the street."""
    roots = folder / "roots.pem"
    roots.write_bytes(street.root.pem)
    return {
        "KEYCHEST_RESOLVERS": street.resolver,
        "KEYCHEST_EXTRA_ROOTS": str(roots),
        "KEYCHEST_SCAN_ALLOW": "127.0.0.0/8,::1/128",
        "KEYCHEST_SCAN_ALLOW_ACCOUNTS": OWNER,
        **more,
    }
