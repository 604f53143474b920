import hashlib
import re

from core.render import STATIC, asset
from tests.portal.conftest import Site

HTMX = "vendor/htmx-2.0.11.min.js"


def test_what_is_not_ours_is_what_was_taken_over() -> None:
    readme = (STATIC / "vendor" / "README.md").read_text()
    listed = dict(re.findall(r"\| `([\w.-]+)` \|.*`([0-9a-f]{64})` \|", readme))
    files = {path.name for path in (STATIC / "vendor").iterdir()} - {"README.md"}
    assert set(listed) == files
    for name, digest in listed.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest


def test_an_asset_is_kept_for_a_year_only_under_its_digest(site: Site) -> None:
    client = site.client()
    named = client.get(asset(HTMX), buffered=True)
    assert named.status_code == 200
    assert named.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert client.get(f"/static/{HTMX}", buffered=True).headers["Cache-Control"] == "no-cache"
    assert asset(HTMX).endswith(hashlib.sha256((STATIC / HTMX).read_bytes()).hexdigest()[:16])


def test_the_style_stays_within_its_budget_and_its_layers() -> None:
    sheets = {path.name: path.read_text() for path in (STATIC / "css").glob("*.css")}
    assert set(sheets) == {"tokens.css", "base.css", "ui.css", "pages.css"}
    assert sum(text.count("\n") for text in sheets.values()) <= 900
    for name in ("ui.css", "pages.css"):
        bare = [line for line in sheets[name].splitlines() if re.search(r"(?<!-)color: #|: oklch\(0\.[2-9]", line)]
        assert not bare, f"{name} writes colours out: {bare}"
