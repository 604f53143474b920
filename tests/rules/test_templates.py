"""House rules of templates: they compile, carry nothing inline, protect every form, and link to what exists."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import jinja2
import pytest
from werkzeug.exceptions import MethodNotAllowed, NotFound

from core.render import STATIC, TEMPLATES, environment
from portal import Parts, create_app

PAGES = sorted(path for path in TEMPLATES.rglob("*.html") if path.parent.name != "mail")
ICONS = set(re.findall(r'<symbol id="([\w-]+)"', (STATIC / "img" / "icons.svg").read_text()))


def named(path: Path) -> str:
    return path.relative_to(TEMPLATES).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.*")), ids=named)
def test_it_compiles_and_what_it_includes_exists(path: Path) -> None:
    env = environment()
    env.get_template(named(path))
    source = re.sub(r"{#.*?#}", "", path.read_text(), flags=re.DOTALL)
    for other in re.findall(r'{%-? (?:include|extends|from|import) "([^"]+)"', source):
        assert (TEMPLATES / other).is_file(), other


ALONE = "exports/bundle.html"
"""A page that travels by itself, with nothing beside it: its style is in it, and its policy lets nothing else in."""


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_it_carries_nothing_inline(path: Path) -> None:
    source = path.read_text()
    forbidden = r"\sstyle=|\son[a-z]+=|hx-on|javascript:" + ("" if named(path) == ALONE else "|<style")
    assert not re.search(forbidden, source)
    assert not re.search(r"<script(?![^>]* src=)", source)
    assert "|safe" not in source.replace(" ", "")
    assert not re.search(r'(?:src|href)="(?:https?:)?//', source), "nothing comes from other hosts"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_form_that_posts_carries_the_token(path: Path) -> None:
    for form in re.findall(r'<form[^>]*method="post".*?</form>', path.read_text(), re.DOTALL):
        assert "{{ token(csrf) }}" in form, form[:120]


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_icon_exists(path: Path) -> None:
    source = path.read_text()
    for name in re.findall(r'(?:icon|mark|empty)\("([\w-]+)"', source):
        assert name in ICONS, name


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=named)
def test_fragments_are_part_of_something(path: Path) -> None:
    """A file `_name.html` is included by a page, or sent by a view."""
    if not path.name.startswith("_") or path.name == "_base.html":
        return
    elsewhere = [other.read_text() for other in TEMPLATES.rglob("*.html") if other != path]
    elsewhere += [other.read_text() for other in (TEMPLATES.parent / "portal").rglob("*.py")]
    assert any(f'"{named(path)}"' in text for text in elsewhere)


def test_links_lead_to_routes(tmp_path: Path) -> None:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    url = f"sqlite:///{tmp_path / 'none.db'}"
    app = create_app(Parts(url, "unix:///nowhere", "k" * 32, "http://localhost", False, 0, (), False, lambda: at))
    routes = app.url_map.bind("localhost")
    for path in PAGES:
        source = path.read_text()
        for kind, link in re.findall(r'\b(href|action|hx-get|hx-post|formaction)="(/[^"{]*)"(?! ~)', source):
            method = (
                "POST" if kind in {"hx-post", "formaction"} or (kind == "action" and f'method="post" action="{link}"' in source) else "GET"
            )
            try:
                routes.match(link.partition("?")[0].partition("#")[0], method=method)
            except (NotFound, MethodNotAllowed) as error:
                pytest.fail(f"{named(path)}: {method} {link}: {type(error).__name__}")


def test_a_template_that_is_broken_would_be_found() -> None:
    with pytest.raises(jinja2.TemplateSyntaxError):
        environment().from_string("{% if x %}")
