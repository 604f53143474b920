"""Real servers of every protocol that upgrades and that Debian has in a small package, each on free loopback ports in a folder of its own.

with SERVERS["dovecot"].running(folder, chain) as ports: ports["imap"] …     # chain None: the same server without TLS
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiosmtpd.controller import Controller

from demo.pki import Chain
from tests.postgres import free_port, programs, running_postgres
from tests.processes import eventually

Ports = Mapping[str, int]
_BEYOND: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))


@dataclass(frozen=True, slots=True)
class RealServer:
    """A program and the protocols that it speaks. `missing`: why it cannot be started here, "" if it can."""

    program: str
    protocols: tuple[str, ...]
    running: Callable[[Path, Chain | None], AbstractContextManager[Ports]]
    root_only: bool = True

    @property
    def missing(self) -> str:
        if self.program == "postgres":
            return "" if programs() else "PostgreSQL is not installed (apt-get install postgresql)"
        if self.program and not shutil.which(self.program, path=_BEYOND):
            return f"{self.program} is not installed; ./keychest test installs it as root"
        return f"only root may start {self.program}" if self.root_only and os.geteuid() else ""


def _files(folder: Path, chain: Chain) -> tuple[Path, Path]:
    """The chain and its key, where the server reads them."""
    fullchain, key = chain.write(folder / "tls")
    key.chmod(0o600)
    return fullchain, key


@contextlib.contextmanager
def _started(words: Sequence[str | Path], folder: Path, ports: Ports) -> Iterator[Ports]:
    """The program in the foreground, from when it answers on all its ports."""
    program = shutil.which(words[0], path=_BEYOND)
    assert program is not None
    log = (folder / "said.log").open("ab")
    process = subprocess.Popen([program, *map(str, words[1:])], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for port in ports.values():
            eventually(lambda port=port: process.poll() is not None or _listens(port))  # type: ignore[misc]  # a lambda has no annotations
        assert process.poll() is None, (folder / "said.log").read_text()
        yield ports
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            log.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def _dovecot(folder: Path, chain: Chain | None) -> Iterator[Ports]:
    ports = {"imap": free_port(), "pop3": free_port(), "sieve": free_port()}
    tls = "ssl = no"
    if chain:
        fullchain, key = _files(folder, chain)
        tls = f"ssl = yes\nssl_cert = <{fullchain}\nssl_key = <{key}"
    (folder / "dovecot.conf").write_text(f"""
protocols = imap pop3 sieve
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/said.log
passdb {{
  driver = static
  args = nopassword=y
}}
service imap-login {{
  inet_listener imap {{
    port = {ports["imap"]}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {ports["pop3"]}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service managesieve-login {{
  inet_listener sieve {{
    port = {ports["sieve"]}
  }}
}}
{tls}
""")
    with _started(("dovecot", "-F", "-c", folder / "dovecot.conf"), folder, ports):
        yield ports


@contextlib.contextmanager
def _prosody(folder: Path, chain: Chain | None) -> Iterator[Ports]:
    ports = {"xmpp": free_port(), "xmpp-server": free_port()}
    tls = 'modules_enabled = { "dialback", "saslauth" }'
    if chain:
        fullchain, key = _files(folder, chain)
        tls = f'modules_enabled = {{ "tls", "saslauth" }}\nssl = {{ certificate = "{fullchain}", key = "{key}" }}'
    (folder / "prosody.cfg.lua").write_text(f"""
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
log = {{ info = "{folder}/said.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {ports["xmpp"]} }}
s2s_ports = {{ {ports["xmpp-server"]} }}
c2s_direct_tls_ports = {{ }}
s2s_direct_tls_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
c2s_require_encryption = {"true" if chain else "false"}
s2s_require_encryption = {"true" if chain else "false"}
allow_unencrypted_plain_auth = true
{tls}
VirtualHost "mail.kc.test"
""")
    with _started(("prosody", "--config", folder / "prosody.cfg.lua", "-F"), folder, ports):
        yield ports


@contextlib.contextmanager
def _slapd(folder: Path, chain: Chain | None) -> Iterator[Ports]:
    ports = {"ldap": free_port()}
    tls = ""
    if chain:
        fullchain, key = _files(folder, chain)
        tls = f"TLSCACertificateFile {folder}/tls/root.pem\nTLSCertificateFile {fullchain}\nTLSCertificateKeyFile {key}\n"
    (folder / "slapd.conf").write_text(f"pidfile {folder}/slapd.pid\n{tls}")
    words = ("slapd", "-f", folder / "slapd.conf", "-h", f"ldap://127.0.0.1:{ports['ldap']}", "-d", "0")
    with _started(words, folder, ports):
        yield ports


@contextlib.contextmanager
def _vsftpd(folder: Path, chain: Chain | None) -> Iterator[Ports]:
    ports = {"ftp": free_port()}
    (folder / "empty").mkdir()
    tls = "ssl_enable=NO\n"
    if chain:
        fullchain, key = _files(folder, chain)
        tls = f"ssl_enable=YES\nallow_anon_ssl=YES\nssl_ciphers=HIGH\nrsa_cert_file={fullchain}\nrsa_private_key_file={key}\n"
    (folder / "vsftpd.conf").write_text(
        f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={ports['ftp']}\nbackground=NO\nanonymous_enable=YES\nnopriv_user=nobody\n"
        f"anon_root={folder}/empty\nsecure_chroot_dir={folder}/empty\nseccomp_sandbox=NO\n{tls}"
    )
    (folder / "vsftpd.conf").chmod(0o600)
    with _started(("vsftpd", folder / "vsftpd.conf"), folder, ports):
        yield ports


@contextlib.contextmanager
def _mariadb(folder: Path, chain: Chain | None) -> Iterator[Ports]:
    ports = {"mysql": free_port()}
    (folder / "data").mkdir()
    tls: tuple[str, ...] = ("--skip-ssl",)
    if chain:
        fullchain, key = _files(folder, chain)
        tls = (f"--ssl-cert={fullchain}", f"--ssl-key={key}")
    words = (
        "mariadbd", "--no-defaults", "--user=root", "--skip-grant-tables", "--innodb=OFF", "--default-storage-engine=Aria",
        f"--datadir={folder}/data", f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--bind-address=127.0.0.1",
        f"--port={ports['mysql']}", *tls,
    )  # fmt: skip
    with _started(words, folder, ports):
        yield ports


@contextlib.contextmanager
def _postgres(folder: Path, chain: Chain | None) -> Iterator[Ports]:
    place = folder / "server"
    with running_postgres(place) as server:
        port = server.port
    if chain:
        fullchain, key = _files(folder, chain)
        for path in (folder / "tls", fullchain, key):
            shutil.chown(path, "postgres" if os.geteuid() == 0 else os.getuid())
        with (place / "data" / "postgresql.conf").open("a") as file:
            file.write(f"\nssl = on\nssl_cert_file = '{fullchain}'\nssl_key_file = '{key}'\n")
    with running_postgres(place, port=port):
        yield {"postgres": port}


@contextlib.contextmanager
def _aiosmtpd(folder: Path, chain: Chain | None) -> Iterator[Ports]:
    context = None
    if chain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*_files(folder, chain))
    controller = Controller(object(), hostname="127.0.0.1", port=free_port(), tls_context=context)
    controller.start()
    try:
        yield {"smtp": controller.port}
    finally:
        controller.stop()


SERVERS: Final[Mapping[str, RealServer]] = {
    "dovecot": RealServer("dovecot", ("imap", "pop3", "sieve"), _dovecot),
    "prosody": RealServer("prosody", ("xmpp", "xmpp-server"), _prosody),
    "slapd": RealServer("slapd", ("ldap",), _slapd, root_only=False),
    "vsftpd": RealServer("vsftpd", ("ftp",), _vsftpd),
    "mariadb": RealServer("mariadbd", ("mysql",), _mariadb),
    "postgresql": RealServer("postgres", ("postgres",), _postgres, root_only=False),
    "aiosmtpd": RealServer("", ("smtp",), _aiosmtpd, root_only=False),
}
