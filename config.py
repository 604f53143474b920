"""Settings: one frozen value read from the environment, strictly, once, by the roots that start processes.

Every field stands in `docs/settings.md`, which is generated from here. A secret may come from a file: `NAME_FILE=/path`.
An unknown `KEYCHEST_*` variable is refused, since a misspelt setting that is silently ignored is the worst kind.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from email.utils import parseaddr
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Environment = Literal["development", "production"]
DatabaseRole = Literal["portal", "worker", "migrate"]
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SECRET_KEY_LEAST = 32


class SettingError(ValueError):
    """A setting cannot be used. The message names it, says what is wrong, and gives a right example."""


def _text(value: str) -> str:
    return value.strip()


def _port(value: str) -> int:
    if not _is_whole(value) or int(value) > 65535:
        raise ValueError("write a port from 0 to 65535 (0: any free one), for example 8000")
    return int(value)


def _proxies(value: str) -> int:
    if not _is_whole(value):
        raise ValueError("write how many proxies there are, for example 1")
    return int(value)


def _is_whole(value: str) -> bool:
    return value.strip().isascii() and value.strip().isdecimal()


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1
    if not 0 < number < 1e9:
        raise ValueError("write a number of seconds above 0, for example 30")
    return number


def _list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part) for part in _list(value))
    except ValueError as error:
        raise ValueError(f"{error}; write networks like 10.0.0.0/8,fd00::/8") from None


def _resolvers(value: str) -> tuple[str, ...]:
    for part in _list(value):
        host, _, port = part.rpartition(":") if part.startswith("[") or part.count(":") == 1 else (part, "", "53")
        try:
            ipaddress.ip_address(host.strip("[]"))
            usable = _port(port) > 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"{part!r} is not an address with a port; write 127.0.0.1:53 or [::1]:53")
    return _list(value)


def _environment(value: str) -> str:
    if value not in {"development", "production"}:
        raise ValueError("write development or production")
    return value


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("write an address like https://keychest.example.org")
    return value.rstrip("/")


def _smtp(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"smtp", "smtp+starttls", "smtps"} or not parts.hostname:
        raise ValueError("write smtp://host:25, smtp+starttls://user:password@host:587 or smtps://user:password@host:465")
    return value


def _database(value: str) -> str:
    scheme, found, rest = value.partition("://")
    if not found or scheme not in {"postgres", "postgresql", "postgresql+psycopg", "sqlite"} or (scheme == "sqlite" and len(rest) < 2):
        raise ValueError("write postgresql://user:password@host/name or sqlite:////folder/keychest.db")
    return value


def _redis(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError("write redis://127.0.0.1:6379/0, rediss://:password@host:6379/0 or unix:///run/valkey/valkey.sock")
    return value


def _secret_key(value: str) -> str:
    if len(value) < _SECRET_KEY_LEAST:
        raise ValueError(
            f"it is shorter than {_SECRET_KEY_LEAST} characters; write what `openssl rand -hex 32` prints, or unset it to have one made"
        )
    return value


def _mail_from(value: str) -> str:
    before, at, after = parseaddr(value)[1].rpartition("@")
    if not (before and at and after):
        raise ValueError("write an address like KeyChest <keychest@example.org>")
    return value


def _setting(env: str, says: str, *, default: Any, read: Callable[[str], Any] = _text, secret: bool = False) -> Any:
    return field(default=default, metadata={"env": env, "says": says, "read": read, "secret": secret})


@dataclass(frozen=True, slots=True)
class Settings:
    """All that can be set. Made by `from_environment`; tests may make one by hand."""

    environment: str = _setting(
        "KEYCHEST_ENVIRONMENT",
        "`development` or `production`. Unset: production when the portal is bound to anything but loopback or the database is PostgreSQL.",
        default="development",
        read=_environment,
    )
    data: Path = _setting(
        "KEYCHEST_DATA", "Folder for everything that KeyChest writes. Made with mode 0700.", default=Path("var"), read=Path
    )
    host: str = _setting("KEYCHEST_HOST", "Address the portal listens on.", default="127.0.0.1")
    port: int = _setting("KEYCHEST_PORT", "Port the portal listens on.", default=8000, read=_port)
    base_url: str = _setting(
        "KEYCHEST_BASE_URL", "Address that links in mails begin with. Unset: `http://localhost:PORT`.", default="", read=_url
    )
    secret_key: str = _setting(
        "KEYCHEST_SECRET_KEY",
        "Signs cookies. Unset: made at the first start and kept in the data folder as `secret-key`. At least 32 characters.",
        default="",
        read=_secret_key,
        secret=True,
    )
    database_url: str = _setting(
        "DATABASE_URL", "`postgresql://…` or `sqlite:///…`. Unset: SQLite in the data folder.", default="", read=_database, secret=True
    )
    database_url_portal: str = _setting(
        "DATABASE_URL_PORTAL",
        "The portal's own login. In development it falls back to `DATABASE_URL`.",
        default="",
        read=_database,
        secret=True,
    )
    database_url_worker: str = _setting(
        "DATABASE_URL_WORKER", "The workers' and the clock's own login. Falls back likewise.", default="", read=_database, secret=True
    )
    database_url_migrate: str = _setting(
        "DATABASE_URL_MIGRATE", "The login that may change the schema. Falls back likewise.", default="", read=_database, secret=True
    )
    redis_url: str = _setting(
        "REDIS_URL",
        "A Redis or Valkey server. Unset: one of KeyChest's own on a private unix socket.",
        default="",
        read=_redis,
        secret=True,
    )
    trusted_proxies: int = _setting(
        "KEYCHEST_TRUSTED_PROXIES", "How many reverse proxies stand before the portal and set X-Forwarded-For.", default=0, read=_proxies
    )
    scan_allow: tuple[Network, ...] = _setting(
        "KEYCHEST_SCAN_ALLOW",
        "Private ranges that may be dialled, for example `10.0.0.0/8,fd00::/8`. Unset: none.",
        default=(),
        read=_networks,
    )
    scan_allow_accounts: tuple[str, ...] = _setting(
        "KEYCHEST_SCAN_ALLOW_ACCOUNTS",
        "Accounts that may use these ranges in the portal: their references, or their owners' e-mail addresses. Unset: none. "
        "`./keychest scan` needs no entry here.",
        default=(),
        read=_list,
    )
    extra_roots: str = _setting("KEYCHEST_EXTRA_ROOTS", "A PEM file of roots to trust besides Mozilla's.", default="")
    resolvers: tuple[str, ...] = _setting(
        "KEYCHEST_RESOLVERS",
        "DNS resolvers with ports, for example `127.0.0.1:53,[::1]:53`. Unset: the system's.",
        default=(),
        read=_resolvers,
    )
    scan_interval_s: float = _setting(
        "KEYCHEST_SCAN_INTERVAL_S", "Seconds between two scans of an endpoint that is well.", default=28_800.0, read=_seconds
    )
    scan_lease_s: float = _setting(
        "KEYCHEST_SCAN_LEASE_S",
        "Seconds after which a scan that was handed out and not recorded is handed out again.",
        default=300.0,
        read=_seconds,
    )
    clock_tick_s: float = _setting("KEYCHEST_CLOCK_TICK_S", "Seconds between two looks at what is due.", default=1.0, read=_seconds)
    smtp_url: str = _setting(
        "KEYCHEST_SMTP_URL",
        "`smtp://host:25`, `smtp+starttls://user:password@host:587` or `smtps://user:password@host:465`. "
        "Unset: mails are kept in `outbox` under the data folder and shown in the portal.",
        default="",
        read=_smtp,
        secret=True,
    )
    mail_from: str = _setting("KEYCHEST_MAIL_FROM", "The sender of mails.", default="KeyChest <keychest@localhost>", read=_mail_from)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **given: Any) -> Settings:
        """Settings from variables, with `given` (from the command line) winning. Raises SettingError in plain words."""
        known = {spec.metadata["env"]: spec for spec in fields(cls)}
        names = set(known) | {f"{name}_FILE" for name, spec in known.items() if spec.metadata["secret"]}
        for name in environ:
            if name.startswith("KEYCHEST_") and name not in names:
                raise SettingError(f"{name} is not a setting. `./keychest settings` lists them all.")
        values: dict[str, Any] = {}
        for name, spec in known.items():
            raw = _raw(environ, name, secret=spec.metadata["secret"])
            if raw:
                try:
                    values[spec.name] = spec.metadata["read"](raw)
                except ValueError as error:
                    raise SettingError(f"{name}: {error}.") from None
        values |= {name: value for name, value in given.items() if value is not None}
        if "environment" not in values:
            public = values.get("host", "127.0.0.1") not in LOOPBACK
            postgresql = any(str(values.get(name, "")).startswith("postgres") for name in values if name.startswith("database_url"))
            values["environment"] = "production" if public or postgresql else "development"
        return cls(**values)

    @property
    def production(self) -> bool:
        """Whether people rely on this installation."""
        return self.environment == "production"

    @property
    def public_url(self) -> str:
        """What links begin with, without a slash at the end. Built from settings, never from a request."""
        return self.base_url or f"http://localhost:{self.port}"

    def database(self, role: DatabaseRole) -> str:
        """The SQLAlchemy URL for a role. Raises SettingError where production lacks the role's own login."""
        own: str = getattr(self, f"database_url_{role}")
        if not own and self.production and self.database_url.startswith("postgres"):
            raise SettingError(
                f"DATABASE_URL_{role.upper()} is not set. In production each process has a login of its own; "
                f"set it, or KEYCHEST_ENVIRONMENT=development to use DATABASE_URL for all."
            )
        url = own or self.database_url or f"sqlite:///{self.data.resolve() / 'keychest.db'}"
        scheme, _, rest = url.partition("://")
        return f"postgresql+psycopg://{rest}" if scheme in {"postgres", "postgresql"} else url


def _raw(environ: Mapping[str, str], name: str, *, secret: bool) -> str:
    path = environ.get(f"{name}_FILE", "") if secret else ""
    if not path:
        return environ.get(name, "").strip()
    if environ.get(name):
        raise SettingError(f"{name} and {name}_FILE are both set. Keep one of them.")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingError(f"{name}_FILE: {path} cannot be read ({error.strerror}).") from None
