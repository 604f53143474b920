"""Dates, spans and names as people read them, in the sentences of findings. Dates are UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from core.scanner.certificate import Certificate

COMMON_NAME = re.compile(r"(?:^|,)CN=((?:\\.|[^,+\\])+)")
SHOWN_MAX = 80


def day(moment: datetime) -> str:
    """E.g. "20 Nov 2026"."""
    return f"{moment.day} {moment:%b %Y}"


def span(length: timedelta) -> str:
    """A length in its largest whole unit: "3 days", "1 hour", "5 minutes", "less than a minute"."""
    seconds = int(abs(length).total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return "less than a minute"


def short(name: str | None) -> str:
    """The CN of a distinguished name, or the whole of it, cut to a line's length."""
    if not name:
        return "an unnamed authority"
    found = COMMON_NAME.search(name)
    text = found.group(1) if found else name
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def subject_of(cert: Certificate, leaf: Certificate) -> str:
    """How a sentence begins that is about `cert`."""
    return "This certificate" if cert == leaf else f"The authority's certificate “{short(cert.subject)}”"


def key_word(cert: Certificate) -> str:
    """The kind of key as people call a certificate by it: "RSA", "ECDSA", "Ed25519"."""
    return "ECDSA" if cert.key_kind == "EC" else cert.key_kind or "other"


def listed(names: tuple[str, ...], most: int = 3) -> str:
    """E.g. "a.example, b.example and 7 more"."""
    if len(names) <= most:
        return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + "".join(names[-1:])
    return f"{', '.join(names[:most])} and {len(names) - most} more"
