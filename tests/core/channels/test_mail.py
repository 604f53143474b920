import dataclasses
import resource
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from core.channels import Delivery, Message, Topic
from core.channels.mail import MailChannel
from tests.postgres import free_port
from tests.servers import Behaviour, raw_server, send
from tests.stage import smtp_sink

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
NASTY = "issued by \u202eevil\x00\r\nBcc: eve@example.net <script>alert(1)</script>"


def message(*topics: Topic) -> Message:
    return Message("abcdefgh23456789", "mira@example.org", "Harbourlight", topics, "https://keychest.example", NOW)


def topic(
    kind: str = "expiring", name: str = "www.example.org", text: str = "This certificate ends on 28 Nov 2026.", port: int = 443
) -> Topic:
    at = ("www.example.org", "shop.example.org:8443")
    return Topic(kind, name, port, "", text, "Renew it.", "https://keychest.example/endpoints/x", at)


def deliver(channel: MailChannel, what: Message, *, hand: Callable[[], bool] = lambda: True) -> Delivery:
    return channel.deliver(what, hand)


def test_a_mail_says_what_is_and_what_to_do(tmp_path: Path) -> None:
    with smtp_sink() as sink:
        delivery = deliver(MailChannel(sink.url, "KeyChest <kc@example.org>", tmp_path), message(topic()))
    assert delivery.outcome == "sent"
    ((recipient, mail),) = sink.mails
    assert (recipient, mail["Subject"], mail["From"]) == (
        "mira@example.org",
        "www.example.org: its certificate ends soon",
        "KeyChest <kc@example.org>",
    )
    assert mail["Message-ID"] == "<abcdefgh23456789@keychest.example>"
    for part in ("plain", "html"):
        body = mail.get_body((part,))
        assert body is not None
        text = body.get_content()
        for words in (
            "This certificate ends on 28 Nov 2026.",
            "Renew it.",
            "shop.example.org:8443",
            "https://keychest.example/endpoints/x",
            "KeyChest watches this for the account Harbourlight. You get this mail as a member of it.",
        ):
            assert words in text, (part, words)
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert "-- " in plain.get_content().splitlines(), "the mark of a signature, its blank included"
    assert list(tmp_path.iterdir()) == []


def test_many_topics_are_one_mail(tmp_path: Path) -> None:
    topics = [topic("bad", f"h{number}.example.org") for number in range(40)]
    with smtp_sink() as sink:
        assert deliver(MailChannel(sink.url, "kc@example.org", tmp_path), message(*topics)).outcome == "sent"
    ((_, mail),) = sink.mails
    assert mail["Subject"] == "40 messages about your names"
    assert all(f"h{number}.example.org" in mail.get_body(("plain",)).get_content() for number in range(40))  # type: ignore[union-attr]


def test_what_strangers_wrote_ends_no_header_and_hides_nothing(tmp_path: Path) -> None:
    with smtp_sink() as sink:
        delivery = deliver(MailChannel(sink.url, "kc@example.org", tmp_path), message(topic("bad", "xn--bcher-kva.example", NASTY)))
    ((_, mail),) = sink.mails
    assert delivery.outcome == "sent"
    assert (mail["Bcc"], mail["Subject"]) == (None, "bücher.example needs you")
    html = mail.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert "<script>" not in html
    for body in (html, mail.get_body(("plain",)).get_content()):  # type: ignore[union-attr]
        assert "\u202e" not in body
        assert "\x00" not in body
        assert "xn--bcher-kva.example" in body


def test_without_a_server_a_mail_is_kept_once(tmp_path: Path) -> None:
    channel = MailChannel("", "kc@example.org", tmp_path / "outbox")
    for _ in range(2):
        assert deliver(channel, message(topic("well"))).outcome == "kept"
    (file,) = (tmp_path / "outbox").iterdir()
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert mail["Subject"] == "www.example.org is well again"
    assert file.stat().st_mode & 0o077 == 0 or (tmp_path / "outbox").stat().st_mode & 0o077 == 0


def test_what_another_worker_has_in_hand_is_not_sent(tmp_path: Path) -> None:
    with smtp_sink() as sink:
        assert deliver(MailChannel(sink.url, "kc@example.org", tmp_path), message(topic()), hand=lambda: False).outcome == "elsewhere"
    assert sink.mails == []
    assert deliver(MailChannel("", "kc@example.org", tmp_path), message(topic()), hand=lambda: False).outcome == "elsewhere"
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_or_talks_nonsense_may_be_tried_again(tmp_path: Path) -> None:
    handed: list[bool] = []

    def hand() -> bool:
        handed.append(True)
        return True

    def outcome(url: str) -> Delivery:
        return deliver(MailChannel(url, "kc@example.org", tmp_path), message(topic()), hand=hand)

    assert outcome(f"smtp://127.0.0.1:{free_port()}").outcome == "failed"
    for behaviour in (lambda _connection, _ended: None, send(b"554 go away\r\n")):  # one hangs up at once
        with raw_server(behaviour) as server:
            delivery = outcome(f"smtp://127.0.0.1:{server.port}")
        assert delivery.outcome == "failed"
        assert "127.0.0.1" in delivery.error
    assert handed == []


def smtp(*, recipient: bytes = b"250 ok", content: bytes = b"250 ok", farewell: bytes = b"221 bye") -> Behaviour:
    """A mail server that gives these answers; an empty one hangs up."""
    answers = {b"RCPT": recipient, b"DATA": b"354 go", b".": content, b"QUIT": farewell}

    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        connection.sendall(b"220 hello\r\n")
        stream = connection.makefile("rb")
        in_content = False
        for line in stream:
            word = line.split()[0].upper() if line.split() else b""
            if in_content and line != b".\r\n":
                continue
            in_content = word == b"DATA"
            said = answers.get(word, b"250 ok")
            if not said:
                return
            connection.sendall(said + b"\r\n")

    return behave


def told_by(behaviour: Behaviour, outbox: Path) -> Delivery:
    with raw_server(behaviour) as server:
        return deliver(MailChannel(f"smtp://127.0.0.1:{server.port}", "kc@example.org", outbox), message(topic()))


@pytest.mark.parametrize(("last", "expected"), [(b"554 spam", "failed"), (b"", "unsure"), (b"250 ok", "sent")])
def test_only_silence_after_the_content_is_unsure(tmp_path: Path, last: bytes, expected: str) -> None:
    assert told_by(smtp(content=last), tmp_path).outcome == expected


@pytest.mark.parametrize("farewell", [b"421 closing", b"500 what", b"nonsense", b""])
def test_no_farewell_changes_what_became_of_a_message(tmp_path: Path, farewell: bytes) -> None:
    sent = told_by(smtp(farewell=farewell), tmp_path)
    assert (sent.outcome, sent.error) == ("sent", "")
    failed = told_by(smtp(recipient=b"550 nobody of that name", farewell=farewell), tmp_path)
    assert failed.outcome == "failed"
    assert "550 nobody of that name" in failed.error


class Hands:
    """Counts how often the message was to be handed over."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return True


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_outbox_that_cannot_be_written_fails_before_anything_is_handed_over(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    hands = Hands()
    delivery = deliver(MailChannel("", "kc@example.org", tmp_path / place), message(topic()), hand=hands)
    assert (delivery.outcome, hands.asked) == ("failed", 0)
    assert "outbox" in delivery.error
    assert delivery.body


def test_a_disk_that_fills_fails_before_anything_is_handed_over_and_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    hands = Hands()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as on a full disk, the write itself is refused
    try:
        delivery = deliver(MailChannel("", "kc@example.org", tmp_path), message(topic()), hand=hands)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (delivery.outcome, hands.asked) == ("failed", 0)
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_whole_before_it_is_handed_over(tmp_path: Path) -> None:
    sizes: list[int] = []

    def hand() -> bool:
        sizes.extend(file.stat().st_size for file in tmp_path.iterdir())
        return True

    assert deliver(MailChannel("", "kc@example.org", tmp_path), message(topic()), hand=hand).outcome == "kept"
    (kept,) = tmp_path.iterdir()
    assert (kept.name, sizes) == ("abcdefgh23456789.eml", [kept.stat().st_size])


def test_a_kept_mail_that_cannot_get_its_name_may_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "abcdefgh23456789.eml").mkdir()
    assert deliver(MailChannel("", "kc@example.org", tmp_path), message(topic())).outcome == "failed"
    assert [file.name for file in tmp_path.iterdir()] == ["abcdefgh23456789.eml"]


REFUSED_ADDRESSES = [
    "",
    "mira",
    "a b@example.org",
    "mira@",
    "@example.org",
    "mira@exa\nmple.org",
    "m\u00fcra@example.org",
    "?@[..;@example.org",
]


@pytest.mark.parametrize("address", [*REFUSED_ADDRESSES, "mira@b\u00fccher.example", "\x00@example.org"])
def test_an_address_that_no_mail_can_bear_is_a_failure_and_nothing_is_handed_over(tmp_path: Path, address: str) -> None:
    hands = Hands()
    to_it = dataclasses.replace(message(topic()), recipient=address)
    with smtp_sink() as sink:
        delivery = deliver(MailChannel(sink.url, "kc@example.org", tmp_path), to_it, hand=hands)
    assert (delivery.outcome, hands.asked, sink.mails) == ("failed", 0, [])
    assert delivery.error


@pytest.mark.parametrize("address", ["", "mira", "mira@b\u00fccher.example"])
def test_nor_can_it_be_sent_from_there(tmp_path: Path, address: str) -> None:
    hands = Hands()
    with smtp_sink() as sink:
        delivery = deliver(MailChannel(sink.url, address, tmp_path), message(topic()), hand=hands)
    assert (delivery.outcome, hands.asked, sink.mails) == ("failed", 0, [])


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_nor_is_it_kept(tmp_path: Path, address: str) -> None:
    hands = Hands()
    delivery = deliver(MailChannel("", "kc@example.org", tmp_path), dataclasses.replace(message(topic()), recipient=address), hand=hands)
    assert (delivery.outcome, hands.asked, list(tmp_path.iterdir())) == ("failed", 0, [])


def test_how_a_name_is_reached_is_said(tmp_path: Path) -> None:
    reached = Topic("bad", "mail.example.org", 25, "smtp at 192.0.2.20", "It ended.", "Renew it.", "https://keychest.example/endpoints/x")
    kept = deliver(MailChannel("", "KeyChest <kc@example.org>", tmp_path), message(reached))
    assert kept.subject == "mail.example.org:25 (smtp at 192.0.2.20) needs you"
    assert kept.body.startswith("mail.example.org:25 (smtp at 192.0.2.20)\n")
