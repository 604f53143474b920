"""Single lists of an account: names and certificates as tables and JSON, certificates as PEM, and a calendar of their ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from icalendar import Calendar, Event
from sqlalchemy.orm import Session

from core.exports.lines import certificate_of, instant, or_none, pem_of
from core.exports.members import CERTIFICATE_COLUMNS
from core.exports.shapes import line_of
from core.exports.streams import table_line
from core.net.text import u_label
from core.store import exported
from core.store.exported import Reach
from core.store.exported_certificates import certificates_of
from core.store.served import served_now
from core.store.watches import NO_END

DOMAIN_COLUMNS: Final = ("name", "port", "starttls", "fixed", "state", "ends_at", "what", "note", "tags", "responsible")
MOST_IN_CALENDAR: Final = 2_000
Texts = Iterator[str]


def domains(session: Session, reach: Reach) -> Iterator[dict[str, Any]]:
    """What is watched, how it stands, and what stands on each name's card."""
    cards = exported.domains_of(session, reach)
    card = next(cards, None)
    for row in exported.standing_of(session, reach):
        while card and card.name != row.name:
            card = next(cards, None)
        yield {
            "name": row.name, "port": row.port, "starttls": row.starttls, "fixed": row.address, "state": row.state,
            "ends_at": instant(row.ends_at) if row.ends_at != NO_END else None, "what": row.sentence, "note": card.note if card else "",
            "tags": list(card.tags) if card else [], "responsible": card.responsible if card else "",
        }  # fmt: skip


def certificates(session: Session, reach: Reach) -> Iterator[dict[str, Any]]:
    """Every certificate in the chains that are served now."""
    for seen, _, _ in certificates_of(session, reach.account_id, exported.served_digests(session, reach)):
        yield certificate_of(seen)


def _domains_csv(session: Session, reach: Reach) -> Texts:
    return _table(DOMAIN_COLUMNS, domains(session, reach))


def _certificates_csv(session: Session, reach: Reach) -> Texts:
    return _table(CERTIFICATE_COLUMNS, certificates(session, reach))


def _table(columns: Sequence[str], rows: Iterator[dict[str, Any]]) -> Texts:
    yield table_line(columns)
    for row in rows:
        yield table_line([_cell(row[column]) for column in columns])


def _cell(value: Any) -> str:
    return "" if value is None else ", ".join(value) if isinstance(value, list) else str(value)


def _json(rows: Iterator[dict[str, Any]]) -> Texts:
    between = "["
    for row in rows:
        yield f"{between}\n{line_of(row)}"
        between = ","
    yield "\n]\n" if between == "," else "[]\n"


def _domains_json(session: Session, reach: Reach) -> Texts:
    return _json(domains(session, reach))


def _certificates_json(session: Session, reach: Reach) -> Texts:
    return _json(certificates(session, reach))


def _certificates_pem(session: Session, reach: Reach) -> Texts:
    served = exported.served_digests(session, reach)
    return (pem_of(seen.sha256, der) for seen, _, der in certificates_of(session, reach.account_id, served))


LISTS: Final[Mapping[str, tuple[str, Callable[[Session, Reach], Texts]]]] = {
    "domains.csv": ("text/csv; charset=utf-8", _domains_csv),
    "domains.json": ("application/json", _domains_json),
    "certificates.csv": ("text/csv; charset=utf-8", _certificates_csv),
    "certificates.json": ("application/json", _certificates_json),
    "certificates.pem": ("application/x-pem-file", _certificates_pem),
}
"""Each list by its name: what kind of file it is, and its content some at a time."""


def calendar(session: Session, account_id: int, *, account: str, host: str) -> bytes:
    """When served certificates end, as a calendar (RFC 5545): one event of a day for each, under an identifier that stays."""
    made = Calendar()
    made.add("prodid", "-//KeyChest//certificates//EN")
    made.add("version", "2.0")
    made.add("method", "PUBLISH")
    made.add("x-wr-calname", f"Certificates of {account}")
    made.add("refresh-interval;value=duration", "PT12H")
    for each in served_now(session, account_id, most=MOST_IN_CALENDAR):
        if each.not_after is None:
            continue
        ends_on = each.not_after.astimezone(UTC).date()
        event = Event()
        event.add("uid", f"{each.sha256}@{host}")
        event.add("dtstamp", each.not_before or datetime(2000, 1, 1, tzinfo=UTC))
        event.add("dtstart", ends_on)
        event.add("dtend", ends_on + timedelta(days=1))
        event.add("summary", f"{u_label(each.name)}: certificate ends")
        more = f" and {each.endpoints - 1:,} more" if each.endpoints > 1 else ""
        said = f"Served at {u_label(each.name)}{more}. It ends {or_none(each.not_after)}. Issued by {each.issuer or 'nobody knows whom'}."
        event.add("description", said)
        event.add("transp", "TRANSPARENT")
        made.add_component(event)
    content: bytes = made.to_ical()
    return content
