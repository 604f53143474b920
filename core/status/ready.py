"""Texts to begin with, for who has to write to the public at a bad moment. They are filled into the form, and changed before they leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Ready:
    """One of them. `planned`: it announces work."""

    key: str
    title: str
    impact: str
    components: tuple[str, ...]
    words: str
    planned: bool = False


READY: Final = (
    Ready(
        "mail",
        "E-mail is late",
        "major",
        ("notifications",),
        "Mails about certificates leave later than they should. None is lost: they wait, and are sent when this is over. Pages show what "
        "was found, and checks go on as always. We look for the cause, and write here within the hour.",
    ),
    Ready(
        "checks",
        "Checks are late",
        "minor",
        ("scanning",),
        "Certificates are looked at later than they should be. What is due is kept and made up for. Results that you see are true for the "
        "time that stands beside them. We look for the cause, and write here within the hour.",
    ),
    Ready(
        "site",
        "The site is down",
        "critical",
        ("portal",),
        "Pages and the API do not answer, or answer with errors. Checks and mails go on without them. What you had saved is kept. We look "
        "for the cause, and write here within the half hour.",
    ),
    Ready(
        "work",
        "Planned work",
        "none",
        ("portal",),
        "We bring a new version in. Pages and the API may not answer for some minutes; checks that fall due meanwhile are made up for. You "
        "need to do nothing.",
        planned=True,
    ),
)
