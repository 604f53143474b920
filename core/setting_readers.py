"""How settings are read: each reader takes what was written and gives the value, or raises ValueError with a right example."""

from __future__ import annotations

import ipaddress
from email.utils import parseaddr
from typing import Protocol
from urllib.parse import urlsplit

from core.backups.retention import Keep
from core.net.names import NameRefused, read_name
from core.net.optout import OptedOut
from core.net.provider import on_this_machine

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
SECRET_KEY_LEAST = 32
BUTTON_MOST = 40


def text(value: str) -> str:
    """Any words."""
    return value.strip()


def port(value: str) -> int:
    """A port."""
    if not _is_whole(value) or int(value) > 65535:
        raise ValueError("write a port from 0 to 65535 (0: any free one), for example 8000")
    return int(value)


def proxies(value: str) -> int:
    """A small whole number."""
    if not _is_whole(value):
        raise ValueError("write how many proxies there are, for example 1")
    return int(value)


def per_minute(value: str) -> int:
    """How often a minute; 0 would shut the door."""
    if not _is_whole(value) or not 1 <= int(value) <= 1_000_000:
        raise ValueError("write how often, from 1 to 1000000, for example 120")
    return int(value)


def minutes(value: str) -> int:
    """A length of time of a week at most."""
    if not _is_whole(value) or int(value) > 10_080:
        raise ValueError("write minutes, from 0 to 10080, for example 10")
    return int(value)


def origin(value: str) -> str:
    """The name of a log."""
    name = value.strip()
    if not name or "://" in name or "+" in name or name.endswith("/") or any(char.isspace() or char < " " for char in name):
        raise ValueError("write the address of the log without https:// and without a slash at the end, for example keychest.example/log")
    return name


def _is_whole(value: str) -> bool:
    return value.strip().isascii() and value.strip().isdecimal()


def seconds(value: str) -> float:
    """A length of time."""
    try:
        number = float(value)
    except ValueError:
        number = -1
    if not 0 < number < 1e9:
        raise ValueError("write a number of seconds above 0, for example 30")
    return number


def words(value: str) -> tuple[str, ...]:
    """Words separated by commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def switch(value: str) -> bool:
    """On or off."""
    if value.strip().lower() not in {"on", "off"}:
        raise ValueError("write on or off")
    return value.strip().lower() == "on"


def opted_out(value: str) -> OptedOut:
    """Names and networks, mixed."""
    names: list[str] = []
    ranges: list[Network] = []
    for part in words(value):
        try:
            ranges.append(ipaddress.ip_network(part))
        except ValueError:
            try:
                names.append(read_name(part).name)
            except NameRefused as refused:
                raise ValueError(f"{part}: {refused} Write names and networks like example.org,192.0.2.0/24") from None
    return OptedOut(frozenset(names), tuple(ranges))


def networks(value: str) -> tuple[Network, ...]:
    """Networks, of either family."""
    try:
        return tuple(ipaddress.ip_network(part) for part in words(value))
    except ValueError as error:
        raise ValueError(f"{error}; write networks like 10.0.0.0/8,fd00::/8") from None


def resolvers(value: str) -> tuple[str, ...]:
    """Addresses with ports."""
    for part in words(value):
        host, _, number = part.rpartition(":") if part.startswith("[") or part.count(":") == 1 else (part, "", "53")
        try:
            ipaddress.ip_address(host.strip("[]"))
            usable = port(number) > 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"{part!r} is not an address with a port; write 127.0.0.1:53 or [::1]:53")
    return words(value)


def environment(value: str) -> str:
    """One of two words."""
    if value not in {"development", "production"}:
        raise ValueError("write development or production")
    return value


def sign_up(value: str) -> str:
    """Who may come in."""
    if value not in {"open", "invitation", "closed"}:
        raise ValueError("write open, invitation or closed")
    return value


def url(value: str) -> str:
    """An http address, without a slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("write an address like https://keychest.example.org")
    return value.rstrip("/")


def issuer(value: str) -> str:
    """A provider's name for itself, kept as it is written: it is compared letter by letter."""
    parts = urlsplit(value)
    local = parts.scheme == "http" and on_this_machine(value)
    if not (parts.hostname and (parts.scheme == "https" or local)) or parts.query or parts.fragment or parts.username:
        raise ValueError("write the provider's issuer, like https://login.example.org/realms/people; http is for this machine alone")
    return value


def button(value: str) -> str:
    """A name that fits on a button."""
    name = " ".join(value.split())
    if len(name) > BUTTON_MOST or not name.isprintable():
        raise ValueError(f"write a name of at most {BUTTON_MOST} characters, for example Harbourlight SSO")
    return name


def smtp(value: str) -> str:
    """A mail server's address."""
    parts = urlsplit(value)
    if parts.scheme not in {"smtp", "smtp+starttls", "smtps"} or not parts.hostname:
        raise ValueError("write smtp://host:25, smtp+starttls://user:password@host:587 or smtps://user:password@host:465")
    return value


def database(value: str) -> str:
    """A database's address."""
    scheme, found, rest = value.partition("://")
    if not found or scheme not in {"postgres", "postgresql", "postgresql+psycopg", "sqlite"} or (scheme == "sqlite" and len(rest) < 2):
        raise ValueError("write postgresql://user:password@host/name or sqlite:////folder/keychest.db")
    return value


def redis(value: str) -> str:
    """A broker's address."""
    parts = urlsplit(value)
    if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError("write redis://127.0.0.1:6379/0, rediss://:password@host:6379/0 or unix:///run/valkey/valkey.sock")
    return value


def secret_key(value: str) -> str:
    """A key that nobody guesses."""
    if len(value) < SECRET_KEY_LEAST:
        raise ValueError(
            f"it is shorter than {SECRET_KEY_LEAST} characters; write what `openssl rand -hex 32` prints, or unset it to have one made"
        )
    return value


def mail_from(value: str) -> str:
    """A sender, with or without a name."""
    before, at, after = parseaddr(value)[1].rpartition("@")
    if not (before and at and after):
        raise ValueError("write an address like KeyChest <keychest@example.org>")
    return value


def targets(value: str) -> tuple[str, ...]:
    """Addresses of backup targets; `core.targets.open_target` reads each in full."""
    for url in words(value):
        if urlsplit(url).scheme not in {"file", "sftp", "s3"}:
            raise ValueError(
                "write addresses like file:///mnt/backups,sftp://user@host/folder?key=/path&known_hosts=/path,s3://bucket/prefix"
            )
    return words(value)


def recovery_key(value: str) -> str:
    """The public half of the recovery key."""
    if value.startswith("AGE-SECRET-KEY"):
        raise ValueError("this is the private half, which belongs offline; write the public one, which begins with age1")
    if not (value.startswith("age1") and value.isalnum()):
        raise ValueError("write the line that begins with age1, as `./keychest backup keygen` prints it")
    return value


def keep(value: str) -> str:
    """How many backups are kept."""
    Keep.read(value)
    return value


def written(value: object) -> str:
    """A setting as it would be written in the environment."""
    if isinstance(value, tuple):
        return ",".join(" ".join(part) if isinstance(part, tuple) else str(part) for part in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


class Together(Protocol):
    """Settings that are looked at together."""

    @property
    def demo(self) -> bool: ...  # noqa: D102 - as in config.py
    @property
    def production(self) -> bool: ...  # noqa: D102
    @property
    def oidc_issuer(self) -> str: ...  # noqa: D102
    @property
    def oidc_client_id(self) -> str: ...  # noqa: D102
    @property
    def oidc_client_secret(self) -> str: ...  # noqa: D102
    @property
    def log_witnesses(self) -> tuple[tuple[str, str], ...]: ...  # noqa: D102
    @property
    def log_quorum(self) -> int: ...  # noqa: D102


def contradiction(settings: Together) -> str:
    """What is wrong with settings taken together, in words; "" when nothing is."""
    if settings.demo and settings.production:
        return "KEYCHEST_DEMO is on, and this is a production installation. Nothing was started; unset one of the two."
    if len({bool(each) for each in (settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret)}) > 1:
        return "KEYCHEST_OIDC_ISSUER, KEYCHEST_OIDC_CLIENT_ID and KEYCHEST_OIDC_CLIENT_SECRET belong together. Set all three, or none."
    if settings.oidc_issuer.startswith("http://") and settings.production:
        return "KEYCHEST_OIDC_ISSUER is reached without TLS, and this is a production installation. Write its https address."
    if settings.oidc_issuer and settings.demo:
        return "KEYCHEST_OIDC_ISSUER is set, and KEYCHEST_DEMO is on. A demonstration knows no provider; unset one of the two."
    if settings.log_quorum > len(settings.log_witnesses):
        return f"KEYCHEST_LOG_QUORUM wants {settings.log_quorum} witnesses, and KEYCHEST_LOG_WITNESSES names {len(settings.log_witnesses)}."
    return ""
