"""The form of a bundle, as docs/export-format.md writes it down: its members, how far back it goes, and what its signature is worth."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

FORMAT: Final = "keychest-export"
VERSION: Final = 1
MANIFEST, SIGNATURE, PAGE = "manifest.json", "manifest.sig", "index.html"
ACCOUNT, SETTINGS, DOMAINS, WATCHES, MEMBERS_OF, CHANNELS = (
    "account.json",
    "settings.json",
    "domains.jsonl",
    "watches.jsonl",
    "members.jsonl",
    "channels.jsonl",
)
OBSERVATIONS, INCIDENTS, CHAINS, CERTIFICATES = "observations.jsonl", "incidents.jsonl", "chains.jsonl", "certificates.jsonl"
CERTIFICATES_CSV, CERTIFICATES_PEM, DOMAINS_CSV = "certificates.csv", "certificates.pem", "domains.csv"
MEMBERS: Final = (
    ACCOUNT, SETTINGS, DOMAINS, WATCHES, MEMBERS_OF, CHANNELS, OBSERVATIONS, INCIDENTS, CHAINS, CERTIFICATES_PEM,
    CERTIFICATES, CERTIFICATES_CSV, DOMAINS_CSV, PAGE, MANIFEST, SIGNATURE,
)  # fmt: skip
"""Every member of a bundle, in the order in which they are written. The manifest vouches for those before it, the signature for it."""

MAY_DIFFER: Final[dict[str, tuple[str, ...]]] = {
    ACCOUNT: ("created_at",),
    SETTINGS: ("plans",),
    DOMAINS: ("created_at",),
    WATCHES: ("since_at",),
    MEMBERS_OF: (),
    CHANNELS: (),
    PAGE: (),
    MANIFEST: (),
    SIGNATURE: (),
}
"""What is not the same after an export was imported elsewhere and exported there: these fields, or the whole member where none is named.

Times are those of the new place; people are invited anew, and are no part of an import; places of plans need their secrets again; page,
manifest and signature tell of the file itself.
"""

History = Literal["none", "month", "year", "all"]
HISTORIES: Final[dict[str, timedelta | None]] = {
    "none": timedelta(0),
    "month": timedelta(days=31),
    "year": timedelta(days=366),
    "all": None,
}
"""How far back observations and incidents go. What still holds is in each but "none", however long ago it began."""

Trust = Literal["own", "foreign", "unsigned", "broken"]
"""What a bundle's signature is worth here: by a key of this installation; genuine, by a key that it does not know; there is none; does not
hold, or what it signs is not what is there."""


def since(history: str, now: datetime) -> datetime | None:
    """From when on observations and incidents are in an export; None for all there are."""
    reach = HISTORIES[history]
    return None if reach is None else now - reach
