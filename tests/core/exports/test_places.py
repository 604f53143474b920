"""Exports handed to real places: a store that checks signatures, an SSH server, a web server. Accounts write the addresses: all guarded."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import ipaddress
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path

import asyncssh
import pytest
from dnslib import QTYPE, RR, A, DNSRecord

from core.exports.places import MOST_POSTED, Parcel, hand_over, require_place, signature
from core.net.provider import trusting
from core.net.web import Undelivered, Way, send
from demo.pki import Chain, make_chain
from tests.dnsserver import stub_dns
from tests.make import NOW
from tests.moto_s3 import running_moto
from tests.servers import raw_server
from tests.sshd import program, running_sshd

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
CONTENT = b"PK" + bytes(200_000)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain(["localhost"])


@pytest.fixture
def way(chain: Chain, tmp_path: Path) -> Way:
    (tmp_path / "root.pem").write_bytes(chain.root.pem)
    return Way((), LOOPBACK, trusting(str(tmp_path / "root.pem")))


@pytest.fixture
def parcel(tmp_path: Path) -> Parcel:
    (tmp_path / "x.zip").write_bytes(CONTENT)
    return Parcel("keychest-2026.zip", tmp_path / "x.zip", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "abcd", NOW)


@dataclass
class Taker:
    """A web server that keeps what it is sent."""

    port: int = 0
    status: int = 204
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextlib.contextmanager
def taker(chain: Chain, tmp_path: Path, status: int = 204) -> Iterator[Taker]:
    kept = Taker(status=status)

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.heard.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(kept.status)
            self.send_header("Location", "https://169.254.169.254/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*chain.write(tmp_path / "tls"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    kept.port = server.server_address[1]
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_webhook_gets_the_file_and_can_check_it(chain: Chain, way: Way, parcel: Parcel, tmp_path: Path) -> None:
    secret = {"secret": "whsec_" + "c2VjcmV0" * 4}
    with taker(chain, tmp_path) as web:
        hand_over("webhook", f"https://localhost:{web.port}/in?a=1", secret, parcel, way)
        ((path, headers, body),) = web.heard
        assert (path, body) == ("/in?a=1", CONTENT)
        signed = signature(secret["secret"], headers["webhook-id"], headers["webhook-timestamp"], hashlib.sha256(body).hexdigest())
        assert headers["webhook-signature"] == signed
        assert headers["webhook-signature"] != signature("whsec_b3RoZXI=", "abcd", headers["webhook-timestamp"], parcel.sha256)
        for status, words in ((500, "answered 500, and did not take"), (302, "redirects are not followed")):
            web.status = status
            with pytest.raises(Undelivered, match=words) as raised:
                hand_over("webhook", f"https://localhost:{web.port}/", secret, parcel, way)
            assert raised.value.again
        assert len(web.heard) == 3, "a redirect leads nowhere"
        stranger = Way((), LOOPBACK, trusting())
        with pytest.raises(Undelivered, match="certificate of localhost does not hold"):
            hand_over("webhook", f"https://localhost:{web.port}/", secret, parcel, stranger)
    large = Parcel("x", parcel.path, MOST_POSTED + 1, parcel.sha256, "abcd", NOW)
    with pytest.raises(Undelivered, match="at most"):
        hand_over("webhook", "https://localhost/", secret, large, way)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "localhost", "169.254.169.254", "10.0.0.8", "[::ffff:127.0.0.1]", "[fd00::1]", "0.0.0.0", "2130706433"],
)  # fmt: skip
def test_no_address_of_ours_is_dialled_for_an_account(chain: Chain, parcel: Parcel, tmp_path: Path, host: str) -> None:
    """Not by number, nor by name; a server that listens there hears nothing."""
    with taker(chain, tmp_path) as web:
        way = Way((), (), trusting())
        for kind, address in (("webhook", f"https://{host}:{web.port}/"), ("s3", f"https://{host}:{web.port}/bucket")):
            secret = {"secret": "whsec_c2VjcmV0", "access_key": "a", "secret_key": "b"}
            with pytest.raises(Undelivered) as raised:
                hand_over(kind, address, secret, parcel, way)
            assert not raised.value.again
        assert web.heard == []


def test_a_name_with_one_bad_address_is_not_dialled_and_none_is_asked_twice(parcel: Parcel, tmp_path: Path) -> None:
    """Rebinding: the address that was allowed is the one that is dialled, whatever the DNS would say a moment later."""
    own = make_chain(["rebind.example"])
    (tmp_path / "rebind.pem").write_bytes(own.root.pem)
    turns = {"rebind.example": ["127.0.0.1", "169.254.169.254"]}

    def answer(request: DNSRecord) -> DNSRecord:
        reply, name = request.reply(), str(request.q.qname).rstrip(".")
        if request.q.qtype == QTYPE.A:
            said = ["192.0.2.1", "127.0.0.1"] if name == "mixed.example" else [turns[name].pop(0)]
            for each in said:
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(each)))
        return reply

    with stub_dns(answer) as stub, taker(own, tmp_path) as web:
        way = Way((stub.resolver,), (ipaddress.ip_network("192.0.2.0/24"),), trusting(str(tmp_path / "rebind.pem")))
        with pytest.raises(Undelivered, match=r"127\.0\.0\.1 is not dialled"):
            hand_over("webhook", "https://mixed.example/", {"secret": "whsec_YQ=="}, parcel, way)
        here = Way(way.resolvers, LOOPBACK, way.tls)
        hand_over("webhook", f"https://rebind.example:{web.port}/", {"secret": "whsec_YQ=="}, parcel, here)
        assert len(web.heard) == 1
        with pytest.raises(Undelivered, match=r"169\.254\.169\.254 is not dialled"):
            hand_over("webhook", f"https://rebind.example:{web.port}/", {"secret": "whsec_YQ=="}, parcel, here)


def test_a_server_that_never_ends_is_left(chain: Chain, way: Way) -> None:
    def swallow(line: socket.socket, ended: threading.Event) -> None:
        ended.wait(20)

    with raw_server(swallow) as server, pytest.raises(Undelivered):
        send(f"https://localhost:{server.port}/", way, method="POST", headers={}, content=b"x", size=1, within_s=0.5)


@pytest.mark.slow
def test_a_real_store_takes_it_and_checks_who_asks(chain: Chain, way: Way, parcel: Parcel, tmp_path: Path) -> None:
    with running_moto(tmp_path) as moto, tls_before(moto.port, chain, tmp_path) as port:
        bucket = moto.bucket()
        access, secret = moto.login(["s3:PutObject"])
        keys = {"access_key": access, "secret_key": secret, "region": "eu-central-1"}
        hand_over("s3", f"https://localhost:{port}/{bucket}/keychest", keys, parcel, way)
        with moto.client("s3") as client:
            assert client.get_object(Bucket=bucket, Key="keychest/keychest-2026.zip")["Body"].read() == CONTENT
        with pytest.raises(Undelivered, match="answered 403"):
            hand_over("s3", f"https://localhost:{port}/{bucket}", keys | {"secret_key": "wrong"}, parcel, way)


@contextlib.contextmanager
def tls_before(target: int, chain: Chain, folder: Path) -> Iterator[int]:
    """TLS in front of a server that speaks none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*chain.write(folder / "tls"))

    def behave(line: socket.socket, _ended: threading.Event) -> None:
        with context.wrap_socket(line, server_side=True) as near, socket.create_connection(("127.0.0.1", target)) as far:
            back = threading.Thread(target=pump, args=(far, near))
            back.start()
            pump(near, far)
            back.join()

    def pump(source: socket.socket, into: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65_536):
                into.sendall(block)
            into.shutdown(socket.SHUT_WR)

    with raw_server(behave) as server:
        yield server.port


@pytest.mark.slow
@pytest.mark.skipif(program() is None, reason="sshd is not installed (apt-get install openssh-server)")
def test_a_real_ssh_server_gets_the_whole_file_or_none(way: Way, parcel: Parcel, tmp_path: Path) -> None:
    with running_sshd(tmp_path / "ssh") as sshd:
        (tmp_path / "in").mkdir()
        host_key = " ".join((sshd.folder / "host_key.pub").read_text().split()[:2])
        secret = {"key": (sshd.folder / "key").read_text(), "host_key": host_key}
        address = f"sftp://{getuser()}@localhost:{sshd.port}{tmp_path / 'in'}"
        require_place("sftp", address, secret)
        hand_over("sftp", address, secret, parcel, way)
        hand_over("sftp", address, secret, parcel, way)
        assert {each.name: each.read_bytes() for each in (tmp_path / "in").iterdir()} == {"keychest-2026.zip": CONTENT}
        other = " ".join((sshd.folder / "other_key.pub").read_text().split()[:2])
        with pytest.raises(Undelivered, match="another host key"):
            hand_over("sftp", address, secret | {"host_key": other}, parcel, way)
        with pytest.raises(Undelivered, match="did not take the file"):
            hand_over("sftp", address, secret | {"key": (sshd.folder / "other_key").read_text()}, parcel, way)
        with pytest.raises(Undelivered, match="not dialled"):
            hand_over("sftp", address, secret, parcel, Way((), (), way.tls))


def test_a_place_that_is_none_is_refused_before_anything_is_dialled(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "words", "-f", str(tmp_path / "locked")], check=True)
    good = {"key": (tmp_path / "k").read_text(), "host_key": (tmp_path / "k.pub").read_text()}
    assert asyncssh.import_private_key(good["key"])
    for kind, address, secret, words in (
        ("webhook", "http://x.example/", {}, "begins with https"),
        ("webhook", "https://user:pass@x.example/", {}, "holds no password"),
        ("s3", "https://s3.example/", {"access_key": "a", "secret_key": "b"}, "with the bucket in it"),
        ("s3", "https://s3.example/bucket", {"access_key": "a"}, "both keys"),
        ("sftp", "sftp://host.example/x", good, "sftp://user@host"),
        ("sftp", "sftp://u:p@host.example/x", good, "a field of its own"),
        ("sftp", "sftp://u@host.example:99999/x", good, "port"),
        ("sftp", "sftp://u@host.example/x", good | {"host_key": "nonsense"}, "host key"),
        ("sftp", "sftp://u@host.example/x", good | {"key": (tmp_path / "locked").read_text()}, "without a passphrase"),
        ("sftp", "sftp://u@host.example/x", good | {"key": good["host_key"]}, "private key"),
    ):
        with pytest.raises(ValueError, match=words):
            require_place(kind, address, secret)
    require_place("webhook", "https://x.example/in", {})
