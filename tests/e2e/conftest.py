"""A look at every page for what an assistive technology would stumble over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations']}"
SERIOUS = ("serious", "critical")


@pytest.fixture
def look(tmp_path: Path) -> Callable[[Page, str], None]:
    """Look at a page at 360 and 1280 pixels, light and dark: nothing wider than the window, and nothing serious for axe.

    axe looks at each width and each scheme once: it costs more than all else here, and finds nothing in the other two.

    Pictures are written to the folder that KEYCHEST_TEST_SHOTS names, when it does.
    """
    shots = os.environ.get("KEYCHEST_TEST_SHOTS")

    def look_at(page: Page, name: str) -> None:
        size = page.viewport_size
        for width, scheme in ((360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]  # a str literal
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than {width} px"
            if (width, scheme) in {(360, "light"), (1280, "dark")}:
                if not page.evaluate("'axe' in window"):
                    page.evaluate(AXE.read_text())
                found = page.evaluate(f"axe.run(document, {RULES})")["violations"]
                bad = [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS]
                assert bad == [], f"{name} at {width} px, {scheme}"
            if shots:
                Path(shots).mkdir(parents=True, exist_ok=True)
                page.screenshot(path=f"{shots}/{name}-{width}-{scheme}.png", full_page=True)
        if size:
            page.set_viewport_size(size)

    return look_at
