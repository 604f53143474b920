"""The page of a bundle: what is in it, to be read by people, without KeyChest and without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from markupsafe import Markup
from sqlalchemy.orm import Session

from core.exports.form import MEMBERS
from core.net.names import Listed
from core.render import STATIC, plural, render
from core.store import exported
from core.store.exported import Reach
from core.store.watches import NO_END

MOST_ROWS: Final = 500
WHAT: Final[Mapping[str, str]] = {
    "account.json": "The account's name and age.",
    "settings.json": "Rules of the account, and plans of exports without their secrets.",
    "domains.jsonl": "Each name with its note, tags and responsible person.",
    "watches.jsonl": "What is watched: name, port, and how it is reached.",
    "members.jsonl": "Who belongs to the account, and their roles.",
    "channels.jsonl": "Where messages go.",
    "observations.jsonl": "What was seen at each address, and when it changed.",
    "incidents.jsonl": "What was wrong, from when to when.",
    "chains.jsonl": "Chains of certificates, as they were sent.",
    "certificates.jsonl": "Each certificate: whose, by whom, from when to when.",
    "certificates.csv": "The same as a table.",
    "certificates.pem": "The certificates themselves.",
    "domains.csv": "What is watched as a table, which KeyChest and others import.",
    "index.html": "This page.",
    "manifest.json": "What is in this file, with digests.",
    "manifest.sig": "The signature, which shows that nothing was changed.",
}
"""What each member is, in a sentence."""


@dataclass(frozen=True, slots=True)
class Page:
    """Whose bundle it is, and its manifest."""

    account: str
    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A watch as it stood. `ends_at` is None where no end is known."""

    name: str
    port: int
    how: str
    state: str
    ends_at: datetime | None
    sentence: str


def page_of(session: Session, reach: Reach, page: Page) -> str:
    """The page as HTML. What ends first comes first."""
    found = islice(exported.soonest(session, reach), MOST_ROWS)
    rows = [
        Row(row.name, row.port, Listed(*row[:4]).how, row.state, row.ends_at if row.ends_at != NO_END else None, row.sentence)
        for row in found
    ]  # fmt: skip
    sizes = {each["name"]: each["bytes"] for each in page.manifest["members"]}
    files = [(name, WHAT[name], sizes.get(name)) for name in MEMBERS]
    watches = page.manifest["counts"].get("watches", 0)
    made_at = datetime.fromisoformat(page.manifest["made_at"])
    more = watches - len(rows)
    return render(
        "exports/bundle.html", account=page.account, manifest=page.manifest, made_at=made_at, rows=rows, more=more, files=files, css=_css(),
        plural=plural,
    )  # fmt: skip


def _css() -> Markup:
    """Our own style sheets: the page has nothing beside it."""
    return Markup("".join((STATIC / "css" / name).read_text() for name in ("tokens.css", "base.css", "ui.css", "pages.css")))  # noqa: S704 - ours
