"""Lists that people bring from elsewhere: names one a line, tables, Uptime Kuma's backup. What is in them is read, or refused by name."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from core.exports.archive import BundleRefused, refused
from core.exports.tables import uncell
from core.net.lists import ListRefused, read_list, read_target
from core.net.names import Listed, NameRefused
from core.net.upgrades import PORT_PROTOCOL

Form = Literal["bundle", "list", "csv", "kuma"]
MOST_BYTES: Final = 20 << 20
MOST_LINES: Final = 200_000
_MOST_CELL: Final = 100_000
_SHOWN: Final = 200
_ZIP, _AGE = b"PK", b"age-encryption.org/"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    "name": frozenset({"name", "host", "hostname", "host name", "domain", "domain name", "url", "fqdn", "server", "site", "target"}),
    "port": frozenset({"port"}),
    "starttls": frozenset({"starttls", "protocol", "upgrade"}),
    "fixed": frozenset({"fixed", "address", "ip", "ip address"}),
    "note": frozenset({"note", "notes", "description", "comment", "comments", "remark"}),
    "tags": frozenset({"tags", "tag", "labels", "label", "groups", "group"}),
    "responsible": frozenset({"responsible", "owner", "contact", "e-mail", "email", "responsible person"}),
}
"""Which headings mean which column."""
_HEADINGS: Final = frozenset(heading for headings in _COLUMNS.values() for heading in headings)
_WEB: Final = frozenset({"http", "keyword", "json-query", "real-browser", "websocket-upgrade"})
_TLS_PORTS: Final = (443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 5061, 5223, 6514, 6697, 8443, 8883, 9443, *PORT_PROTOCOL)
"""Where TLS is spoken by custom, at once or after an upgrade."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A name to watch, and what is to stand on its card. `responsible` is an address; `kind` as of a domain."""

    listed: Listed
    note: str = ""
    tags: tuple[str, ...] = ()
    responsible: str = ""
    kind: str = "exact"


@dataclass(frozen=True, slots=True)
class Unread:
    """A line, from 1 on, that names nothing that can be watched."""

    number: int
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a list says. `told`: what its person should know of it as a whole."""

    form: Form
    wanted: tuple[Wanted, ...]
    unread: tuple[Unread, ...] = ()
    told: tuple[str, ...] = ()


def kind_of(path: Path) -> Form:
    """What a file is by its content, whatever its name says. Raises BundleRefused for what is sealed, and OSError."""
    with path.open("rb") as file:
        head = file.read(4_096)
    if head.startswith(_AGE):
        raise refused("This file is sealed to a key of yours.", "Open it first: age --decrypt -i KEY FILE > export.zip")
    if head.startswith(_ZIP):
        return "bundle"
    text = head.decode("utf-16" if head[:2] in _UTF16 else "utf-8-sig", "replace").lstrip()
    if text.startswith("{"):
        return "kuma"
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    return "csv" if _heads(first) or (_separator(first) and not _is_list(first)) else "list"


def read_foreign(path: Path) -> Foreign:
    """A list of any of these forms. Raises BundleRefused with a sentence, and OSError."""
    if path.stat().st_size > MOST_BYTES:
        raise refused(f"This list has {path.stat().st_size:,} bytes, and {MOST_BYTES:,} can be read.", "Bring it in parts.")
    form = kind_of(path)
    text, told = _text(path.read_bytes())
    if "\0" in text:
        raise refused("This file is no text.", "Choose a list of names, a table, or an export.")
    if text.count("\n") > MOST_LINES:
        raise refused(f"This list has more than {MOST_LINES:,} lines.", "Bring it in parts.")
    found = _kuma(text) if form == "kuma" else _table(text) if form == "csv" else _list(text)
    return replace(found, told=(*told, *found.told))


def _text(raw: bytes) -> tuple[str, tuple[str, ...]]:
    """The text, and what had to be guessed."""
    if raw[:2] in _UTF16:
        return raw.decode("utf-16", "replace"), ("It is written in UTF-16.",)
    try:
        return raw.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace"), ("It is not UTF-8, and was read as Windows-1252: look at letters with accents.",)


def _list(text: str) -> Foreign:
    try:
        lines = read_list(text, MOST_LINES, MOST_BYTES)
    except ListRefused as error:
        raise BundleRefused(str(error)) from None
    wanted = tuple(Wanted(line.listed) for line in lines if line.listed is not None and line.first_seen_at_line is None)
    return Foreign("list", wanted, tuple(Unread(line.number, line.text[:_SHOWN], line.refusal) for line in lines if line.refusal))


def _separator(line: str) -> str:
    counts = {each: line.count(each) for each in (",", ";", "\t")}
    best = max(counts, key=lambda each: counts[each])
    return best if counts[best] else ""


def _heads(line: str) -> bool:
    """Whether the line is the heading of a table with one column."""
    return line.strip().strip('"').lower() in _HEADINGS


def _is_list(line: str) -> bool:
    try:
        read_target(line.partition("#")[0].strip())
    except NameRefused:
        return False
    return True


def _table(text: str) -> Foreign:
    """A table with headings in any order, or without: then the first column has the names."""
    separator = _separator(next((line for line in text.splitlines() if line.strip()), ""))
    csv.field_size_limit(_MOST_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator or ",", strict=True)
    wanted: dict[Listed, Wanted] = {}
    unread: list[Unread] = []
    columns: dict[str, int] = {}
    try:
        for cells in rows:
            if not any(each.strip() for each in cells):
                continue
            if not columns:
                columns = _headings(cells)
                if columns != {"name": 0} or _heads(cells[0]):
                    continue
            _take(cells, columns, rows.line_num, wanted, unread)
    except csv.Error as error:
        raise refused(f"Line {rows.line_num:,} of this table cannot be read ({error}).", "Save it as CSV again.") from None
    return Foreign("csv", tuple(wanted.values()), tuple(unread))


def _headings(cells: list[str]) -> dict[str, int]:
    """Which column is which, by what its heading says; the first one has the names where no heading says so."""
    said = {cell.strip().lower(): at for at, cell in reversed(list(enumerate(cells)))}
    found = {column: min(said[each] for each in words & said.keys()) for column, words in _COLUMNS.items() if words & said.keys()}
    return found if "name" in found else {"name": 0}


def _take(cells: list[str], columns: Mapping[str, int], number: int, wanted: dict[Listed, Wanted], unread: list[Unread]) -> None:
    said = {column: uncell(cells[at]) for column, at in columns.items() if at < len(cells)}
    name, number_of_it = said.get("name", "").strip(), said.get("port", "").strip()
    try:
        starttls = said.get("starttls", "").strip().lower()
        place = f"{name}:{number_of_it}" if number_of_it else name
        line = " ".join(filter(None, (place, starttls or ("tls" if "starttls" in said else ""))))
        listed = read_target(line, address=said.get("fixed", "").strip())
    except NameRefused as error:
        unread.append(Unread(number, name[:_SHOWN], str(error)))
        return
    tags = tuple(filter(None, (each.strip() for each in re.split(r"[,;\n]", said.get("tags", "")))))
    wanted.setdefault(listed, Wanted(listed, said.get("note", ""), tags, said.get("responsible", "").strip()))


def _kuma(text: str) -> Foreign:
    """Uptime Kuma's backup. Its `notificationList` holds secrets: nothing of that is kept, told or looked at."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # a number of thousands of digits is no JSONDecodeError
        raise refused("This file begins like JSON and is none.") from None
    monitors = value.get("monitorList") if isinstance(value, dict) else None
    if not isinstance(monitors, list) or len(monitors) > MOST_LINES:
        raise refused("This JSON file is no backup of Uptime Kuma: it has no list of monitors.", "Choose a list, a table or an export.")
    wanted: dict[Listed, Wanted] = {}
    unread: list[Unread] = []
    paused = 0
    for number, monitor in enumerate(monitors, 1):
        if not isinstance(monitor, dict):
            unread.append(Unread(number, "", "This is no monitor."))
            continue
        try:
            listed = _monitored(monitor)
        except NameRefused as error:
            unread.append(Unread(number, _said(monitor, "name")[:_SHOWN], str(error)))
            continue
        paused += monitor.get("active") in (False, "false")
        wanted.setdefault(listed, Wanted(listed, _note(monitor), tuple(_tags(monitor))))
    told = (f"{paused:,} of its monitors were paused there, and would be watched here.",) if paused else ()
    return Foreign("kuma", tuple(wanted.values()), tuple(unread), (*told, "Notifications were left out: they hold secrets."))


def _said(monitor: Mapping[str, Any], key: str) -> str:
    """A monitor's text, without what no text may have."""
    found = monitor.get(key)
    return found.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(found, str) else ""


def _monitored(monitor: Mapping[str, Any]) -> Listed:
    """What a monitor looks at. Raises NameRefused for what has no certificate."""
    kind = _said(monitor, "type")
    if kind in _WEB:
        url = _said(monitor, "url")
        if not url.lower().startswith(("https://", "wss://")):
            raise NameRefused("This monitor looks at a page without TLS.")
        return _at_url(url)
    if kind == "grpc-keyword":
        if not monitor.get("grpcEnableTls"):
            raise NameRefused("This monitor speaks gRPC without TLS.")
        return _at_url(_said(monitor, "grpcUrl"))
    if kind in {"port", "smtp"}:
        port = monitor.get("port")
        if kind == "port" and port not in _TLS_PORTS:
            raise NameRefused("Whether TLS is spoken at this port cannot be known. Add the name with the port by hand, if it is.")
        protocol = ("tls" if _said(monitor, "smtpSecurity") == "secure" else "smtp") if kind == "smtp" else ""
        return read_target(f"{_said(monitor, 'hostname')}:{port}" if type(port) is int else _said(monitor, "hostname"), starttls=protocol)
    raise NameRefused("This kind of monitor has no certificate to watch.")


def _at_url(url: str) -> Listed:
    """The host of a URL. A name and password before it, and what comes after it, are secrets, and nobody's name."""
    scheme, slashes, rest = url.partition("://") if "://" in url else ("", "", url)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return read_target(f"{scheme}{slashes}{authority.rpartition('@')[2]}")


def _note(monitor: Mapping[str, Any]) -> str:
    return "\n".join(filter(None, (_said(monitor, "name"), _said(monitor, "description"))))


def _tags(monitor: Mapping[str, Any]) -> Iterator[str]:
    found = monitor.get("tags")
    for each in found if isinstance(found, list) else ():
        if isinstance(each, dict) and (name := _said(each, "name")):
            yield f"{name}:{value}" if (value := _said(each, "value")) else name
