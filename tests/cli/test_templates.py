from pathlib import Path

import pytest

from cli.templates import complaints

BAD = {
    "<script>go()</script>": "an inline script",
    '<script type="module">go()</script>': "an inline script",
    "<style>a {}</style>": "an inline style sheet",
    '<p class="a"\n style="color: red">': "a style attribute",
    '<a href="/" onclick="go()">': "an event handler attribute",
    '<a href="JavaScript:go()">': "a javascript: address",
    "<p>{{ name | safe }}</p>": "the filter `safe`",
    "<p>{{ name | nothing_of_the_kind }}</p>": "No filter named 'nothing_of_the_kind'.",
    "<p>{% if %}</p>": "Expected an expression, got 'end of statement block'",
}


@pytest.mark.parametrize("text", BAD)
def test_what_the_policy_would_stop_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "page.html").write_text(f"<h1>Fine</h1>\n{text}\n")
    assert complaints(tmp_path) == [f"page.html:2: {BAD[text]}"]


def test_what_is_fine_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text('<script src="/static/js/a.js" defer></script><p class="styled on">{{ name }}</p>')
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail/notice.html").write_text('<p style="margin: 0">{{ name }}</p>')
    (tmp_path / "mail/notice.txt").write_text("{{ name }} <script> is plain text here")
    assert complaints(tmp_path) == []
