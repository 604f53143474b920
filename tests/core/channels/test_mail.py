from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from core.channels import Delivery, Message, Topic
from core.channels.mail import MailChannel
from tests.postgres import free_port
from tests.servers import raw_server, send
from tests.stage import smtp_sink

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
NASTY = "issued by \u202eevil\x00\r\nBcc: eve@example.net <script>alert(1)</script>"


def message(*topics: Topic) -> Message:
    return Message("abcdefgh23456789", "mira@example.org", "Harbourlight", topics, "https://keychest.example", NOW)


def topic(
    kind: str = "expiring", name: str = "www.example.org", text: str = "This certificate ends on 28 Nov 2026.", port: int = 443
) -> Topic:
    at = ("www.example.org", "shop.example.org:8443")
    return Topic(kind, name, port, text, "Renew it.", "https://keychest.example/endpoints/x", at)


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
            "Harbourlight",
        ):
            assert words in text, (part, words)
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


@pytest.mark.parametrize(("last", "expected"), [(b"554 spam\r\n", "failed"), (b"", "unsure"), (b"250 ok\r\n", "sent")])
def test_only_silence_after_the_content_is_unsure(tmp_path: Path, last: bytes, expected: str) -> None:
    def behave(connection, _ended) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        connection.sendall(b"220 hello\r\n")
        stream = connection.makefile("rb")
        for line in stream:
            word = line.split()[0].upper() if line.split() else b""
            if word == b"DATA":
                connection.sendall(b"354 go\r\n")
                while stream.readline() not in {b".\r\n", b""}:
                    continue
                connection.sendall(last)
                if not last:
                    connection.close()
                    return
            else:
                connection.sendall(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")

    with raw_server(behave) as server:
        delivery = deliver(MailChannel(f"smtp://127.0.0.1:{server.port}", "kc@example.org", tmp_path), message(topic()))
    assert delivery.outcome == expected
