"""What a storm on the status page does to everybody else: a portal page's median with it, beside the same without. Prints ratios.

    ./keychest bench status [seconds] [connections]

An installation as `up` runs it, a person who is signed in and asks for Domains one after the other, and wrk, which asks for /status from 200
connections as fast as it is answered, on the same two cores. Once the portal answers both; once nginx stands in front and serves the feed's
files itself, by deploy/nginx-status.conf. wrk alone takes a core: the third row is the portal's page while wrk storms a page of nginx that has
nothing to do with KeyChest, which is what the machine costs by itself.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.account import PASSWORD
from bench.pages import EMPTY, Client
from core.actions.passwords import hash_password
from core.store.accounts import User
from tests.conftest import ROOT
from tests.make import make_actor, make_watches
from tests.postgres import free_port
from tests.processes import eventually
from tests.stage import Installation, installation

EMAIL = "mira@example.org"
NAMES = 50
INCLUDES = ("keychest-feed.inc", "keychest-proxy.inc")


def main(arguments: list[str]) -> None:
    seconds = int(arguments[0]) if arguments else 10
    connections = int(arguments[1]) if len(arguments) > 1 else 200
    for program in ("wrk", "nginx"):
        if shutil.which(program) is None:
            print(f"{program} is not installed (apt-get install wrk nginx-light). Nothing was measured.")
            return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        settings = {"KEYCHEST_STATUS_PUBLISH": (folder / "feed").as_uri(), "KEYCHEST_TRUSTED_PROXIES": "1"}
        with installation(folder / "data", settings) as running:
            running.await_health()
            seed(running)
            portal = int(running.url.rpartition(":")[2])
            eventually((folder / "feed" / "index.html").exists, within_s=90)
            with nginx(folder, portal) as front:
                measured("by the portal itself", portal, f"http://localhost:{portal}/status", seconds, connections)
                measured("with nginx in front", front, f"http://localhost:{front}/status", seconds, connections)
                measured("a storm elsewhere", front, f"http://localhost:{front}/static-nothing", seconds, connections)


def seed(running: Installation) -> None:
    sessions = running.sessions()
    with sessions.writing() as session:
        actor = make_actor(session, EMAIL, now=datetime.now(UTC))
        session.get_one(User, actor.user_id).password_hash = hash_password(PASSWORD)
        make_watches(session, actor, *(f"n{number}.invalid" for number in range(NAMES)), now=datetime.now(UTC))
    sessions.engine.dispose()


def measured(what: str, port: int, stormed: str, seconds: int, connections: int) -> None:
    client = Client(port, EMAIL)
    before = asked(client, seconds)
    wrk = subprocess.Popen(
        ("wrk", "-t", "2", "-c", str(connections), "-d", f"{seconds + 3}s", stormed), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )  # fmt: skip
    time.sleep(1)
    during = asked(client, seconds)
    said, _ = wrk.communicate()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    errors = re.search(r"Non-2xx.*", said)
    ratio = statistics.median(during) / statistics.median(before)
    print(
        f"{what}: a page {statistics.median(before) * 1000:.1f} ms alone, {statistics.median(during) * 1000:.1f} ms in the storm, ratio "
        f"{ratio:.2f}; {rate[1] if rate else '?'} answers/s{f' ({errors[0]})' if errors else ''}"
    )


def asked(client: Client, seconds: int) -> list[float]:
    end, taken = time.monotonic() + seconds, []
    while time.monotonic() < end:
        taken.append(client.get(EMPTY)[0])
    return taken


@contextmanager
def nginx(folder: Path, portal: int) -> Iterator[int]:
    """deploy/nginx-status.conf as it is, but for certificates, ports and folders; with one page more that is another's."""
    port = free_port()
    site = (ROOT / "deploy" / "nginx-status.conf").read_text()
    site = re.sub(r"server \{\s+listen 443 ssl;\s+server_name status\..*", "", site, flags=re.DOTALL)
    site = re.sub(r"ssl_certificate.*\n", "\n", site).replace("listen 443 ssl", f"listen {port}").replace("keychest.example", "localhost")
    site = site.replace("127.0.0.1:8000", f"127.0.0.1:{portal}").replace("/var/www/keychest-status", str(folder / "feed"))
    site = site.replace("/etc/nginx/", f"{folder}/").replace(
        "    location / {", '    location = /static-nothing { return 200 "x"; }\n    location / {'
    )
    for name in INCLUDES:
        shutil.copy(ROOT / "deploy" / name, folder / name)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;\nevents {{ worker_connections 2048; }}\n"
        f"http {{ access_log off; {''.join(f'{each}_temp_path {folder}/{each}; ' for each in ('client_body', 'proxy'))}\n{site}\n}}\n"
    )
    process = subprocess.Popen(("nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")))
    try:
        eventually(lambda: Path(f"/proc/{process.pid}").exists() and (folder / "nginx.pid").exists())
        yield port
    finally:
        os.kill(process.pid, signal.SIGQUIT)
        process.wait(20)


if __name__ == "__main__":
    main(sys.argv[1:])
