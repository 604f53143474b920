"""Addresses of targets: what is understood, what is refused and in which words, and that no secret is shown."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from core.targets import TargetError, open_target
from core.targets.directory import DirectoryTarget
from core.targets.s3 import S3Target
from core.targets.sftp import SftpTarget

SFTP = "sftp://keychest@backup.example.org"
KEYS = "key=/etc/k&known_hosts=/etc/h"


def test_a_folder() -> None:
    assert open_target("file:///backups/key%20chest") == DirectoryTarget(Path("/backups/key chest"))
    assert open_target("file:///backups/key%20chest").shown == "file:///backups/key%20chest"


@pytest.mark.parametrize(
    ("url", "port", "folder", "shown"),
    [
        (f"{SFTP}/backups?{KEYS}", 22, "/backups", "sftp://keychest@backup.example.org/backups"),
        (f"{SFTP}:2222/a/b/?{KEYS}", 2222, "/a/b", "sftp://keychest@backup.example.org:2222/a/b"),
        (f"{SFTP}/~/backups?{KEYS}", 22, "backups", "sftp://keychest@backup.example.org/~/backups"),
        (f"{SFTP}/~?{KEYS}", 22, "", "sftp://keychest@backup.example.org/~"),
        (f"{SFTP}/~other/x?{KEYS}", 22, "/~other/x", "sftp://keychest@backup.example.org/~other/x"),
    ],
)
def test_a_server_by_sftp(url: str, port: int, folder: str, shown: str) -> None:
    target = open_target(url)
    assert target == SftpTarget("keychest", "backup.example.org", port, folder, Path("/etc/h"), Path("/etc/k"))
    assert target.shown == shown


def test_a_server_by_sftp_on_an_ipv6_address() -> None:
    assert open_target(f"sftp://u@[2001:db8::1]:2222/x?{KEYS}").shown == "sftp://u@[2001:db8::1]:2222/x"


def test_a_bucket() -> None:
    target = open_target("s3://AKIA:a%2Fb%3Ac@kc-backups/prod/a?region=eu-central-1&endpoint=https://minio.example.org:9000/")
    assert target == S3Target("kc-backups", "prod/a", "eu-central-1", "https://minio.example.org:9000", "AKIA", "a/b:c")
    assert target.shown == "s3://kc-backups/prod/a?region=eu-central-1&endpoint=https://minio.example.org:9000"
    assert open_target("s3://kc-backups") == S3Target("kc-backups")
    assert open_target("s3://kc-backups/").shown == "s3://kc-backups"


@pytest.mark.parametrize(
    "url",
    [
        "sftp://keychest:hunter%2F2@backup.example.org/backups?known_hosts=/etc/h",
        "s3://AKIA:hunter%2F2@kc-backups/prod",
    ],
)
def test_no_secret_is_shown(url: str) -> None:
    target = open_target(url)
    for text in (target.shown, repr(target), str(target)):
        assert "hunter" not in text
        assert "AKIA" not in text


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "begins with file://, sftp:// or s3://"),
        ("/backups", "begins with file://"),
        ("ftp://u:hunter2@host/x", "begins with file://"),
        ("file://backups/keychest", "three slashes"),
        ("file:///", "three slashes"),
        ("file:///backups?x=1", "three slashes"),
        ("file:///back%00ups", "three slashes"),
        (f"{SFTP}/backups", "needs known_hosts=/path.*ssh-keyscan backup.example.org > known_hosts"),
        (f"{SFTP}:2222/backups?key=/etc/k", "ssh-keyscan -p 2222 backup.example.org"),
        (f"{SFTP}/backups?known_hosts=/etc/h", "either key=/path of a private key or a password"),
        (f"sftp://u:hunter2@host/backups?{KEYS}", "either key=/path of a private key or a password"),
        (f"{SFTP}/backups?key=k&known_hosts=/etc/h", "paths from the root"),
        (f"{SFTP}/backups?{KEYS}&strict=no", "no options but key and known_hosts"),
        (f"{SFTP}?{KEYS}", "a user, a host and a folder"),
        (f"sftp://backup.example.org/backups?{KEYS}", "a user, a host and a folder"),
        (f"{SFTP}:no/backups?{KEYS}", "cannot be read"),
        (f"{SFTP}:99999/backups?{KEYS}", "cannot be read"),
        ("sftp://u:hunter/2@host/backups?known_hosts=/etc/h", "%2F for /"),
        ("sftp://u:hunter#2@host/backups?known_hosts=/etc/h", "%23 for #"),
        ("s3://AKIA:hunter/2@kc-backups/prod", "%2F for /"),
        ("s3://AKIA:hunter?2@kc-backups/prod", "%3F for ?"),
        ("s3://AKIA:12/hunter@kc-backups/prod", "%2F for /"),
        ("s3://AKIA@kc-backups", "both a key and a secret"),
        ("s3://:hunter2@kc-backups", "both a key and a secret"),
        ("s3:///prod", "has a bucket"),
        ("s3://KC_Backups", "has a bucket"),
        ("s3://kc-backups:9000/x", "has a bucket"),
        ("s3://kc-backups/../x", "has a bucket"),
        ("s3://kc-backups/.x", "has a bucket"),
        ("s3://kc-backups?acl=public", "no options but region and endpoint"),
        ("s3://kc-backups?region=eu central", "no options but region and endpoint"),
        ("s3://kc-backups?endpoint=minio.example.org", "looks like https://minio.example.org"),
        ("s3://kc-backups?endpoint=https://u:hunter2@minio.example.org", "cannot be read|looks like https://minio.example.org"),
        ("s3://AKIA:abc@kc-backups?endpoint=https://u:hunter2@minio.example.org", "looks like https://minio.example.org"),
        ("s3://kc-backups?endpoint=https://minio.example.org/x", "looks like https://minio.example.org"),
    ],
)
def test_what_cannot_be_read_is_told_with_a_right_example(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        open_target(url)
    assert "hunter" not in str(error.value)
    assert error.value.__cause__ is None, "what Python says of it may quote a password"
    assert error.value.__context__ is None, "what Python says of it may quote a password"


def test_opening_dials_nothing() -> None:
    for url in (f"sftp://u@127.0.0.1:1/x?{KEYS}", "s3://kc-backups?endpoint=http://127.0.0.1:1", "file:///nowhere/at/all"):
        open_target(url)
    assert not Path("/nowhere").exists()


class _OneUser(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("keychest", "p/w:%")


@pytest.fixture
def password_server(tmp_path: Path) -> Iterator[int]:
    """An SFTP server that asks for a password, its port (OpenSSH's would ask the machine's own users)."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "known_hosts").write_bytes(b"[127.0.0.1]:* " + key.export_public_key())
    loop = asyncio.new_event_loop()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=_OneUser,
            server_host_keys=[key],
            sftp_factory=lambda of: asyncssh.SFTPServer(of, chroot=bytes(tmp_path)),
        )

    async def end() -> None:
        acceptor.close()
        await acceptor.wait_closed()

    acceptor = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield acceptor.get_port()
    asyncio.run_coroutine_threadsafe(end(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.mark.slow
def test_a_password_is_handed_over_and_never_told(password_server: int, tmp_path: Path) -> None:
    options = f"?known_hosts={tmp_path / 'known_hosts'}"
    target = open_target(f"sftp://keychest:p%2Fw%3A%25@127.0.0.1:{password_server}/~/backups{options}")
    assert target.put("dump", io.BytesIO(b"content")).bytes == 7
    assert (tmp_path / "backups" / "dump").read_bytes() == b"content"
    with pytest.raises(TargetError, match="does not accept the password") as error:
        open_target(f"sftp://keychest:hunter2@127.0.0.1:{password_server}/~/backups{options}").names()
    assert error.value.kind == "refused"
    assert "hunter" not in str(error.value)
