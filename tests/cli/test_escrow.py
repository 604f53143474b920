"""Telling people after a loss, as it is done: from a terminal, with a sealed file and a key, through kills and cut connections."""

import asyncio
import contextlib
import functools
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from cli import main
from core import seal
from core.backups.escrow import Contacts, Escrow, gather, seal_escrow
from core.backups.keys import development_recovery
from core.seal import Identity
from core.store.db import Sessions, make_engine
from tests.conftest import ROOT
from tests.make import NOW, make_actor
from tests.postgres import free_port
from tests.processes import eventually
from tests.stage import Sink, smtp_sink

REASON = "On 22 November a disk was lost."
VERB = ("cli.escrow", "escrow", "Tell people after a loss.")
COMMAND = f"import sys; from cli import main; main.VERBS['escrow'] = {VERB!r}; sys.exit(main.main(sys.argv[1:]))"
HERE = "abcdefgh23456789"


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main.VERBS, "escrow", VERB)
    for name in list(os.environ):
        if name.startswith(("KEYCHEST_", "DATABASE_URL", "REDIS_URL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()


@dataclass(frozen=True, slots=True)
class Box:
    """A sealed escrow in a file, and the file of the key that opens it."""

    file: Path
    key: Path
    addresses: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return (str(self.file), "--key", str(self.key))

    def notify(self, url: str, *more: str) -> tuple[str, ...]:
        return ("escrow", "notify", *self.words, "--reason", REASON, "--send", "--smtp", url, "--sender", "kc@example.org", *more)


def box_of(folder: Path, *accounts: tuple[str, Sequence[str]]) -> Box:
    identity: Identity = seal.make_identity()
    (folder / "key.txt").write_text(f"{identity}\n")
    kept = Escrow(HERE, NOW, tuple(Contacts(name, tuple(to)) for name, to in accounts))
    (folder / "escrow.age").write_bytes(seal_escrow(kept, seal.recipient_of(identity)))
    return Box(folder / "escrow.age", folder / "key.txt", tuple(sorted({address for _, to in accounts for address in to})))


def box_of_many(folder: Path, count: int) -> Box:
    return box_of(folder, *((f"Account {number}", [f"u{number:03}@example.org"]) for number in range(count)))


def told_by(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> str:
    assert main.main(list(words)) == code
    said = capsys.readouterr()
    return said.err if code == 2 else said.out + said.err


def as_json(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    return json.loads(told_by(capsys, *words, "--json", code=code))


def test_open_shows_the_accounts_of_a_real_database(tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    engine = make_engine(sqlite_url)
    with Sessions(engine).writing() as session:
        make_actor(session, "mira@example.org")
        make_actor(session, "ann@example.org")
        kept = gather(session, installation=HERE, at=NOW)
    engine.dispose()
    recovery, _ = development_recovery(tmp_path / "data")  # found without --key, in development
    (tmp_path / "escrow.age").write_bytes(seal_escrow(kept, seal.recipient_of(recovery)))
    said = told_by(capsys, "escrow", "open", str(tmp_path / "escrow.age"), code=0)
    assert said.startswith(f"2\u00a0accounts of the installation {HERE}, as of 2026-11-23 09:00 UTC:\n")
    assert ": mira@example.org\n" in said
    shown = as_json(capsys, "escrow", "open", str(tmp_path / "escrow.age"))
    assert [each["addresses"] for each in shown["accounts"]] == [["mira@example.org"], ["ann@example.org"]]


def test_open_lets_no_name_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = box_of(tmp_path, ("Harbour\x1b[2J\u202elight", ["mira@example.org"]), ("Empty", []))
    said = told_by(capsys, "escrow", "open", *box.words, code=0)
    assert "  Harbour<U+001B>[2J<U+202E>light: mira@example.org\n" in said
    assert "  Empty: nobody is left to tell\n" in said
    assert "\x1b" not in told_by(capsys, "escrow", "open", *box.words, "--json", code=0)


def test_what_cannot_be_opened_is_told_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = box_of_many(tmp_path, 1)
    other = tmp_path / "other.txt"
    other.write_text(f"{seal.make_identity()}\n")
    damaged = tmp_path / "damaged.age"
    damaged.write_bytes(box.file.read_bytes()[:-1] + bytes([box.file.read_bytes()[-1] ^ 1]))
    for file, key, words in (
        (box.file, other, "None of the keys given opens it"),
        (box.file, tmp_path / "no.txt", "no.txt cannot be read (No such file or directory)"),
        (tmp_path / "no.age", box.key, "no.age cannot be read (No such file or directory)"),
        (damaged, box.key, "damaged"),
        (box.key, box.key, "cannot be opened"),
    ):
        assert words in told_by(capsys, "escrow", "open", str(file), "--key", str(key), code=2)
        assert words in told_by(capsys, "escrow", "notify", str(file), "--key", str(key), "--reason", REASON, "--dry-run", code=2)
    assert "--key KEYFILE" in told_by(capsys, "escrow", "open", str(box.file), code=2)
    development_recovery(tmp_path / "data")
    assert "None of the keys" in told_by(capsys, "escrow", "open", str(box.file), code=2)
    monkeypatch.setenv("KEYCHEST_ENVIRONMENT", "production")
    assert "--key KEYFILE" in told_by(capsys, "escrow", "open", str(box.file), code=2)
    monkeypatch.setenv("KEYCHEST_ENVIRONMENT", "sometimes")
    assert "KEYCHEST_ENVIRONMENT" in told_by(capsys, "escrow", "open", *box.words, code=2)


def test_a_dry_run_sends_nothing_and_shows_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = box_of(tmp_path, ("One", ["b@example.org", "a@example.org"]), ("Two", ["a@example.org"]))
    words = ("escrow", "notify", *box.words, "--reason", REASON, "--dry-run")
    said = told_by(capsys, *words, "--sender", "KeyChest <kc@example.org>", code=0)
    assert said.startswith("2\u00a0mails would be sent from KeyChest <kc@example.org>. Nothing is sent by --dry-run.\n")
    assert "  a@example.org: One, Two\n  b@example.org: One\n" in said
    assert f"\nTo a@example.org:\n\n{REASON}\n\nWHAT THIS IS ABOUT\n" in said
    shown = as_json(capsys, *words)
    assert shown["would_send"] == [
        {"address": "a@example.org", "accounts": ["One", "Two"]},
        {"address": "b@example.org", "accounts": ["One"]},
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "escrow.age", "key.txt"]


@pytest.mark.slow
def test_send_tells_everybody_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    box = box_of_many(tmp_path, 3)
    with smtp_sink() as sink:
        monkeypatch.setenv("KEYCHEST_SMTP_URL", sink.url)
        monkeypatch.setenv("KEYCHEST_MAIL_FROM", "kc@example.org")
        words = ("escrow", "notify", *box.words, "--reason", REASON, "--send")
        said = told_by(capsys, *words, code=0)
        assert said.splitlines() == [*(f"sent: {address}" for address in box.addresses), "3 sent"]
        assert told_by(capsys, *words, code=0) == "3 sent before\n"
        shown = as_json(capsys, *words)
        assert {each["outcome"] for each in shown["told"]} == {"sent before"}
        assert shown["state"] == f"{box.file}.told"
        dry = told_by(capsys, *words[:-1], "--dry-run", code=0)
        assert "0\u00a0mails would be sent" in dry
        assert "u001@example.org was told before" in dry
        said = told_by(capsys, *words[:-2], "And another thing.", "--send", code=1)
        assert "belongs to another telling" in said
        assert len(sink.mails) == 3
        told_by(capsys, *words[:-2], "And another thing.", "--send", "--state", str(tmp_path / "second"), code=0)
    assert Counter(recipient for recipient, _ in sink.mails) == dict.fromkeys(box.addresses, 2)
    assert all(mail["From"] == "kc@example.org" for _, mail in sink.mails)


@pytest.mark.slow
def test_what_is_not_sent_is_told_with_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = box_of_many(tmp_path, 2)
    gone = f"smtp://127.0.0.1:{free_port()}"
    said = told_by(capsys, *box.notify(gone), code=1)
    assert "not sent: u000@example.org - The mail server 127.0.0.1" in said
    assert said.endswith(f"2 not sent\nRun the same command again to go on; {box.file}.told says who was told.\n")
    shown = as_json(capsys, *box.notify(gone), code=1)
    assert [each["outcome"] for each in shown["told"]] == ["not sent"] * 2


def test_it_is_refused_without_a_mail_server_or_a_word_of_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = box_of_many(tmp_path, 1)
    words = ("escrow", "notify", *box.words, "--reason", REASON)
    assert "No mail server is set" in told_by(capsys, *words, "--send", code=1)
    assert "Nobody was told" in told_by(capsys, *words, "--send", "--smtp", "smtp://h:99999999", code=2)
    assert "KEYCHEST_SMTP_URL: write smtp://host:25" in told_by(capsys, *words, "--send", "--smtp", "http://mail.example", code=2)
    assert "KEYCHEST_MAIL_FROM: write an address" in told_by(capsys, *words, "--dry-run", "--sender", "nobody", code=2)
    for more in ((), ("--dry-run", "--send")):
        assert "Write --dry-run to see" in told_by(capsys, *words, *more, code=64)
    assert "Say what happened" in told_by(capsys, "escrow", "notify", *box.words, "--reason", " ", "--dry-run", code=64)
    assert "--reason" in told_by(capsys, "escrow", "notify", *box.words, "--dry-run", code=64)
    assert not Path(f"{box.file}.told").exists()


@dataclass(slots=True)
class Holding(Sink):
    """A real SMTP server that stops at one word of the n-th mail until it is let go, and keeps what it took before that."""

    word: str = "DATA"
    holds_at: int = 1
    seen: int = 0
    held: threading.Event = field(default_factory=threading.Event)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def _hold(self, word: str) -> None:
        if word == self.word:
            self.seen += 1
            if self.seen == self.holds_at:
                self.held.set()
                await self.free.wait()

    async def handle_RCPT(self, _server: object, _session: object, envelope: Any, address: str, _options: object) -> str:  # noqa: N802 - aiosmtpd's name
        await self._hold("RCPT")
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 - as above
        said = await Sink.handle_DATA(self, server, session, envelope)
        await self._hold("DATA")
        return said


@contextlib.contextmanager
def holding(word: str, holds_at: int) -> Iterator[Holding]:
    port = free_port()
    sink = Holding(f"smtp://127.0.0.1:{port}", word=word, holds_at=holds_at)
    controller = Controller(sink, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield sink
    finally:
        controller.loop.call_soon_threadsafe(sink.free.set)
        controller.stop()


@contextlib.contextmanager
def terminal(words: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, which has ended when the block has."""
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-P", "-c", COMMAND, *words], env=environ, text=True, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "unsure"),
    [("RCPT", []), ("DATA", ["u003@example.org"])],
    ids=["before the content leaves", "after it left, before it is answered"],
)
def test_killed_in_the_middle_it_goes_on_and_tells_nobody_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, unsure: list[str]
) -> None:
    box = box_of_many(tmp_path, 8)
    with holding(word, 4) as first, terminal(box.notify(first.url)) as process:
        eventually(first.held.is_set)
        process.kill()
        process.wait(10)
    with smtp_sink() as second:
        shown = as_json(capsys, *box.notify(second.url), code=1 if unsure else 0)
        again = as_json(capsys, *box.notify(second.url), code=1 if unsure else 0)
    arrived = Counter(recipient for recipient, _ in [*first.mails, *second.mails])
    assert [recipient for recipient, _ in first.mails] == list(box.addresses[: 3 + len(unsure)])
    assert set(arrived.values()) == {1}, "at most once"
    assert arrived.keys() | set(unsure) == set(box.addresses), "everybody but the unsure one for certain"
    for told in (shown, again):
        assert [each["address"] for each in told["told"] if each["outcome"] == "unsure"] == unsure
    assert {each["outcome"] for each in again["told"]} == {"sent before"} | ({"unsure"} if unsure else set())


@pytest.mark.slow
def test_killed_again_and_again_it_still_tells_everybody_at_most_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed wherever it happens to be, as soon as one more mail was taken."""
    box = box_of_many(tmp_path, 12)
    with smtp_sink() as sink:
        for least in (2, 4, 6, 8, 10):
            with terminal(box.notify(sink.url)) as process:
                eventually(functools.partial(_took, sink, least))
                process.kill()
                process.wait(10)
        main.main(list(box.notify(sink.url, "--json")))
        shown = json.loads(capsys.readouterr().out)
    arrived = Counter(recipient for recipient, _ in sink.mails)
    assert set(arrived.values()) == {1}
    unsure = {each["address"] for each in shown["told"] if each["outcome"] == "unsure"}
    assert arrived.keys() | unsure == set(box.addresses)
    assert len(unsure) <= 5


def _took(sink: Sink, least: int) -> bool:
    return len(sink.mails) >= least
