"""Lists that people bring: any common shape is read, and what is not a name is refused by line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from core.exports.archive import BundleRefused
from core.exports.foreign import Foreign, kind_of, read_foreign
from core.exports.tables import cell, uncell
from tests.conftest import SHARED


def read(folder: Path, content: str | bytes) -> Foreign:
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_foreign(path)


def names(found: Foreign) -> list[tuple[str, int, str, str]]:
    return [each.listed.key for each in found.wanted]


@pytest.mark.parametrize(
    ("content", "form", "expected"),
    [
        ("a.example\nb.example:8443\n# no\n\nhttps://c.example/x\n", "list", [("a.example", 443), ("b.example", 8443), ("c.example", 443)]),
        ("mail.example:25 smtp\n", "list", [("mail.example", 25)]),
        ("name,port\na.example,443\nb.example,8443\n", "csv", [("a.example", 443), ("b.example", 8443)]),
        ("Port;Host name;Comment\n8443;a.example;x\n", "csv", [("a.example", 8443)]),
        ("a.example\t1\nb.example\t2\n", "csv", [("a.example", 443), ("b.example", 443)]),
        ("\ufeffdomain,notes\nbücher.example,Ä\n", "csv", [("xn--bcher-kva.example", 443)]),
        ('url,tags\nhttps://a.example:8443/p,"x, y"\n', "csv", [("a.example", 8443)]),
        ("name\na.example\n", "csv", [("a.example", 443)]),
        ("example\na.example\n", "list", [("example", 443), ("a.example", 443)]),
        ('name,port,starttls,fixed,note,tags,responsible\r\na.example,25,,192.0.2.1,"two\nlines",t,\r\n', "csv", [("a.example", 25)]),
    ],
)  # fmt: skip
def test_any_common_shape_is_read(tmp_path: Path, content: str, form: str, expected: list[tuple[str, int]]) -> None:
    found = read(tmp_path, content)
    assert (found.form, [(name, port) for name, port, _, _ in names(found)]) == (form, expected)


def test_columns_and_encodings(tmp_path: Path) -> None:
    found = read(tmp_path, 'note,owner,name,label\n"\'=1+1",Mira@example.org,a.example,"web, shop"\n,,10.0.0.1,\n')
    assert [(each.note, each.tags, each.responsible) for each in found.wanted] == [("=1+1", ("web", "shop"), "Mira@example.org")]
    assert [(each.number, each.text) for each in found.unread] == [(3, "10.0.0.1")]
    latin = read(tmp_path, "name,note\na.example,Größe\n".encode("cp1252"))
    assert (latin.wanted[0].note, latin.told[0][:13]) == ("Größe", "It is not UTF")
    wide = read(tmp_path, "name,note\r\na.example,Größe\r\n".encode("utf-16"))
    assert (wide.wanted[0].note, wide.told) == ("Größe", ("It is written in UTF-16.",))


KUMA = {
    "version": "1.23.16",
    "notificationList": [{"id": 1, "name": "Slack", "config": '{"slackwebhookURL":"https://hooks.example/CANARY-SECRET"}'}],
    "monitorList": [
        {"type": "http", "name": "Shop", "url": "https://shop.example/cart", "description": "Front", "active": True,
         "tags": [{"name": "prod", "value": ""}, {"name": "team", "value": "web"}], "basic_auth_pass": "CANARY"},
        {"type": "keyword", "name": "Login", "url": "https://login.example:8443/", "active": False},
        {"type": "http", "name": "Plain", "url": "http://plain.example/"},
        {"type": "port", "name": "Mail", "hostname": "mail.example", "port": 993},
        {"type": "ping", "name": "Ping", "hostname": "ping.example"},
        {"type": "grpc-keyword", "name": "G", "grpcUrl": "g.example:50051", "grpcEnableTls": True},
        {"type": "push", "name": "P"}, "nonsense", {"type": ["x"], "url": {}},
        {"type": "http", "name": "Door\ud800\0", "url": "https://mira:CANARY@door.example:444/?token=CANARY", "active": []},
        {"type": "port", "name": "Shell", "hostname": "shell.example", "port": 22, "timeout": 38.4},
        {"type": "smtp", "name": "MX", "hostname": "mx.example", "port": 2525},
    ],
}  # fmt: skip


def test_uptime_kuma_s_backup_without_its_secrets(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps(KUMA))
    assert found.form == "kuma"
    assert names(found) == [
        ("shop.example", 443, "", ""),
        ("login.example", 8443, "", ""),
        ("mail.example", 993, "", ""),
        ("g.example", 50051, "", ""),
        ("door.example", 444, "", ""),
        ("mx.example", 2525, "smtp", ""),
    ]
    assert (found.wanted[0].note, found.wanted[0].tags) == ("Shop\nFront", ("prod", "team:web"))
    assert [(each.number, each.text) for each in found.unread] == [(3, "Plain"), (5, "Ping"), (7, "P"), (8, ""), (9, ""), (11, "Shell")]
    assert found.told == (
        "1 of its monitors were paused there, and would be watched here.",
        "Notifications were left out: they hold secrets.",
    )
    assert "CANARY" not in repr(found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "begins like JSON"), (b'{"a":' + b"9" * 5_000 + b"}", "begins like JSON"),
        (b'{"a": 1}', "no backup of Uptime Kuma"), (b'{"monitorList": {}}', "no backup of Uptime Kuma"),
        (b"[" * 10 + b"{" * 10, "no backup|begins like JSON|is no text|^$"), (b"a.example\n\0", "is no text"),
        (b"a.example\n" * 200_001, "more than 200,000 lines"), (b'name,port\n"a.example,1\n', "cannot be read"),
        (b"age-encryption.org/v1\n", "sealed to a key of yours"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_told_so(tmp_path: Path, content: bytes, words: str) -> None:
    if content.startswith(b"["):
        assert read(tmp_path, content).wanted == ()
        return
    with pytest.raises(BundleRefused, match=words):
        read(tmp_path, content)


def test_a_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    for content, kind in {b"PK\x03\x04": "bundle", b"a.example": "list", b"a,b": "csv", b" {}": "kuma", b"": "list"}.items():
        (tmp_path / "export.zip").write_bytes(content)
        assert kind_of(tmp_path / "export.zip") == kind


def test_cells_are_no_formulas_and_come_back_as_they_were() -> None:
    texts = ["", "plain", "=1+1", "+1", "-1", "@x", "\t=1", "\r", "\n=1", "'", "''", "'=1", "＝1", "＋", "－", "＠", "a'b", '="a",\nb']  # noqa: RUF001 - full-width forms
    shared = SHARED / "vectors" / "text" / "csv_injection.txt"
    if shared.exists():
        texts += shared.read_text(errors="replace").splitlines()
    for text in texts:
        assert uncell(cell(text)) == text
        assert cell(text)[:1] not in set("=+-@\t\r\n＝＋－＠"), text  # noqa: RUF001 - as above
    written = io.StringIO()
    csv.writer(written).writerow([cell(text) for text in texts])
    assert [uncell(each) for each in next(csv.reader(io.StringIO(written.getvalue(), newline="")))] == texts
    assert uncell("'plain") == "'plain", "an apostrophe that other programs wrote stays"


def test_a_list_may_be_long(tmp_path: Path) -> None:
    """Longer than what may be pasted: three MB, of which two names are two."""
    found = read(tmp_path, ("# " + "x" * 1_000 + "\n") * 3_000 + "a.example\nb.example\n")
    assert [name for name, *_ in names(found)] == ["a.example", "b.example"]
