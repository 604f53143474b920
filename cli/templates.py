"""The template check of `./keychest test`: every template compiles, and none holds what the content security policy would stop."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2

from core.render import environment

# Mails are read by mail programs, which know no style sheets: there a style attribute is the only way. The page of a bundle travels alone.
STYLED = ("mail/", "exports/bundle.html")
_INLINE = (
    (re.compile(r"<script(?![^>]*\bsrc=)[^>]*>", re.IGNORECASE), "an inline script"),
    (re.compile(r"<style[\s>]", re.IGNORECASE), "an inline style sheet"),
    (re.compile(r"<[a-z][^>]*\sstyle\s*=", re.IGNORECASE), "a style attribute"),
    (re.compile(r"<[a-z][^>]*\son[a-z]+\s*=", re.IGNORECASE), "an event handler attribute"),
    (re.compile(r"javascript:", re.IGNORECASE), "a javascript: address"),
    (re.compile(r"\|\s*safe\b"), "the filter `safe`"),
)


def complaints(folder: Path) -> list[str]:
    """What is wrong with the templates under `folder`: one line each, with file and line."""
    env = environment()
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in {".html", ".txt", ".xml"}:
            continue
        name, text = path.relative_to(folder).as_posix(), path.read_text()
        try:
            env.compile(text, name)  # also tells an unknown filter
        except jinja2.TemplateSyntaxError as error:
            found.append(f"{name}:{error.lineno}: {error.message}")
        if path.suffix == ".html":
            found += [f"{name}:{line}: {what}" for line, what in _inline(text) if not (name.startswith(STYLED) and "style" in what)]
    return found


def _inline(text: str) -> list[tuple[int, str]]:
    return [(text.count("\n", 0, match.start()) + 1, what) for pattern, what in _INLINE for match in pattern.finditer(text)]
