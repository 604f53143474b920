"""Pasted lists: what a line means, what is refused and how it is said, and that long ones are read in linear time."""

from __future__ import annotations

import time

import pytest

from core.net.lists import ListRefused, read_list, read_target
from core.net.names import Listed, NameRefused


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("www.example.org", Listed("www.example.org", 443)),
        ("mail.example.org:25", Listed("mail.example.org", 25, "smtp")),
        ("mail.example.org:25 smtp", Listed("mail.example.org", 25, "smtp")),
        ("mail.example.org smtp", Listed("mail.example.org", 25, "smtp")),
        ("mail.example.org  SMTP", Listed("mail.example.org", 25, "smtp")),
        ("smtp://mail.example.org", Listed("mail.example.org", 25, "smtp")),
        ("mail.example.org:2525 smtp", Listed("mail.example.org", 2525, "smtp")),
        ("mail.example.org:25 tls", Listed("mail.example.org", 25)),
        ("mail.example.org:993", Listed("mail.example.org", 993)),
        ("mail.example.org:143", Listed("mail.example.org", 143, "imap")),
        ("db.example.org postgres", Listed("db.example.org", 5432, "postgres")),
        ("chat.example.org xmpp-server", Listed("chat.example.org", 5269, "xmpp-server")),
        ("www.example.org 192.0.2.1", Listed("www.example.org", 443, "", "192.0.2.1")),
        ("www.example.org @192.0.2.1", Listed("www.example.org", 443, "", "192.0.2.1")),
        ("www.example.org:8443 [2001:DB8:0::1]", Listed("www.example.org", 8443, "", "2001:db8::1")),
        ("mail.example.org smtp 2001:db8::1", Listed("mail.example.org", 25, "smtp", "2001:db8::1")),
        ("mail.example.org 2001:db8::1 smtp", Listed("mail.example.org", 25, "smtp", "2001:db8::1")),
    ],
)
def test_what_a_line_means(line: str, listed: Listed) -> None:
    assert read_target(line) == listed
    assert [each.listed for each in read_list(f"# ours\n{line} # and a word about it")] == [listed]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("www example.org", "There is a space in this name"),
        ("mail.example.org:25 gopher", "smtp, imap"),
        ("mail.example.org smtp imap", "Two protocols"),
        ("mail.example.org 192.0.2.1 192.0.2.2", "Two addresses"),
        ("www.example.org fe80::1%eth0", "interface"),
        ("www.example.org 192.0.2", "There is a space"),
        ("mail.example.org\tsmtp", "a blank"),
        ("192.0.2.1 smtp", "IP address"),
    ],
)
def test_what_is_refused_and_how_it_is_said(line: str, says: str) -> None:
    with pytest.raises(NameRefused) as refused:
        read_target(line)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 260


def test_a_list_keeps_what_is_good() -> None:
    text = "# ours\r\na.example # main\n\n  https://b.example:8443/x  \nbad name\rA.example.\n*.example\na.example:444\n   # end"
    lines = read_list(text)
    assert [(line.number, line.text) for line in lines] == [
        (2, "a.example"),
        (4, "https://b.example:8443/x"),
        (5, "bad name"),
        (6, "A.example."),
        (7, "*.example"),
        (8, "a.example:444"),
    ]
    assert [line.listed for line in lines] == [
        Listed("a.example", 443),
        Listed("b.example", 8443),
        None,
        Listed("a.example", 443),
        None,
        Listed("a.example", 444),
    ]
    assert [line.first_seen_at_line for line in lines] == [None, None, None, 2, None, None]
    assert [bool(line.refusal) for line in lines] == [False, False, True, False, True, False]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", " \t\r\n"])
def test_an_empty_list_is_empty(text: str) -> None:
    assert read_list(text) == ()


@pytest.mark.slow
def test_ten_thousand_lines_are_read_and_one_more_is_not() -> None:
    lines = "\n".join(f"n{number}.example" for number in range(10_000))
    assert len(read_list(lines)) == 10_000
    assert len(read_list(lines + "\n")) == 10_000
    with pytest.raises(ListRefused, match="10,001 lines"):
        read_list(lines + "\nmore.example")
    with pytest.raises(ListRefused, match="2 lines"):
        read_list("a\nb", most=1)


@pytest.mark.parametrize("text", ["a\n" * 1_000_000, "a" * (2 * 1024 * 1024 + 1), "ü" * (1024 * 1024 + 1)])
def test_too_large_a_list_is_refused_before_it_is_parsed(text: str) -> None:
    began = time.thread_time()
    with pytest.raises(ListRefused, match=r"Nothing was read"):
        read_list(text)
    assert time.thread_time() - began < 0.25


@pytest.mark.parametrize(
    "line",
    [
        *("a" * 50_000, "a." * 25_000, "ü" * 50_000, "xn--" + "a" * 49_996, ":" * 50_000, "[" * 50_000, "\u202e" * 50_000, " " * 50_000),
        *("-." * 25_000, "/" * 50_000, "@" * 50_000, "1" * 50_000, "a://" * 12_500, "ü" * 2_000, "xn--" + "9" * 2_000, "a\u0301" * 1_000),
    ],
    ids=lambda line: ascii(line[:4]),
)
def test_long_lines_take_linear_time(line: str) -> None:
    began = time.thread_time()
    for line_read in read_list(line):
        assert line_read.refusal
    assert time.thread_time() - began < 0.05
