from datetime import UTC, datetime, timedelta

import jinja2
import pytest

from core.render import ago, breakable, date, days_left, display_name, environment, moment, plural, visible_markup

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def test_what_strangers_wrote_is_escaped_and_made_visible() -> None:
    assert visible_markup("<b>\u202e\x00") == '&lt;b&gt;<span class="esc">U+202E</span><span class="esc">U+0000</span>'
    assert breakable('a.b@c/"') == "a.<wbr>b@<wbr>c/<wbr>&#34;"
    assert breakable("<.\u202e") == '&lt;.<wbr><span class="esc">U+202E</span>'


def test_dates_are_set_in_utc() -> None:
    there = datetime(2026, 11, 28, 0, 30, tzinfo=UTC).astimezone(tz=None)
    assert date(there) == '<time datetime="2026-11-28">28 Nov 2026</time>'
    assert moment(there) == '<time datetime="2026-11-28T00:30:00Z">28 Nov 2026, 00:30</time>'


@pytest.mark.parametrize(
    ("back", "words"),
    [(timedelta(seconds=38), "38 s ago"), (timedelta(minutes=4), "4 min ago"), (timedelta(hours=3), "3 h ago"), (timedelta(-1), "0 s ago")],
)
def test_what_is_near_is_told_by_its_distance(back: timedelta, words: str) -> None:
    assert f">{words}<" in ago(NOW - back, NOW)
    assert "20 Nov 2026" in ago(NOW - timedelta(days=3), NOW)


def test_lengths_of_time() -> None:
    assert days_left(NOW + timedelta(days=12, hours=3), NOW) == "12\u00a0days"
    assert days_left(NOW + timedelta(hours=47), NOW) == "47\u00a0hours"
    assert days_left(NOW - timedelta(days=3), NOW) == "ended 3\u00a0days ago"
    assert (plural(1, "name"), plural(1912, "name"), plural(2, "is", "are")) == ("1\u00a0name", "1,912\u00a0names", "2\u00a0are")


def test_a_long_name_keeps_its_registered_domain() -> None:
    long = display_name("replica-eu-central-1-customer-statements-archive-read-only-7.hl-pay.example")
    assert long["tail"] == ".hl-pay.example"
    assert long["head"] + long["tail"] == long["shown"]
    assert display_name("www.example.org")["head"] == ""
    assert display_name("a" * 63 + "." + "b" * 63 + ".example")["head"] == "", "what cannot be cut in the middle breaks anywhere instead"


def test_a_name_in_another_script_is_shown_in_both_forms() -> None:
    idn = display_name("xn--bcher-kva.example")
    assert (idn["shown"], idn["ace"], idn["mixed"]) == ("bücher.example", "xn--bcher-kva.example", False)
    assert display_name("xn--pypal-4ve.example")["mixed"] is True


def test_a_missing_value_is_an_error_and_text_is_escaped() -> None:
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ nobody_gave_this }}").render()
    assert environment().from_string("{{ x }}").render(x="<script>") == "&lt;script&gt;"
