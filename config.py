"""Settings: one frozen value read from the environment, strictly, once, by the roots that start processes.

Every field stands in `docs/settings.md`, which is generated from here. A secret may come from a file: `NAME_FILE=/path`.
An unknown `KEYCHEST_*` variable is refused, since a misspelt setting that is silently ignored is the worst kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from core import setting_readers as readers
from core.net.optout import OptedOut
from core.setting_log import LogSettings
from core.setting_readers import Network, contradiction, written
from core.setting_sources import raw_value, setting
from core.setting_status import StatusSettings

Environment = Literal["development", "production"]
DatabaseRole = Literal["portal", "worker", "migrate", "purge", "audit"]
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class SettingError(ValueError):
    """A setting cannot be used. The message names it, says what is wrong, and gives a right example."""


@dataclass(frozen=True, slots=True)
class _Most:
    """All that can be set but what is about the log and the status feed."""

    environment: str = setting(
        "KEYCHEST_ENVIRONMENT",
        "`development` or `production`. Unset: production when the portal is bound to anything but loopback or the database is PostgreSQL.",
        default="development",
        read=readers.environment,
    )
    data: Path = setting(
        "KEYCHEST_DATA", "Folder for everything that KeyChest writes. Made with mode 0700.", default=Path("var"), read=Path
    )
    host: str = setting("KEYCHEST_HOST", "Address the portal listens on.", default="127.0.0.1")
    port: int = setting("KEYCHEST_PORT", "Port the portal listens on.", default=8000, read=readers.port)
    base_url: str = setting(
        "KEYCHEST_BASE_URL", "Address that links in mails begin with. Unset: `http://localhost:PORT`.", default="", read=readers.url
    )
    secret_key: str = setting(
        "KEYCHEST_SECRET_KEY",
        "Signs cookies. Unset: made at the first start and kept in the data folder as `secret-key`. At least 32 characters.",
        default="",
        read=readers.secret_key,
        secret=True,
    )
    database_url: str = setting(
        "DATABASE_URL",
        "`postgresql://…` or `sqlite:///…`. Unset: SQLite in the data folder.",
        default="",
        read=readers.database,
        secret=True,
    )
    database_url_portal: str = setting(
        "DATABASE_URL_PORTAL",
        "The portal's own login. In development it falls back to `DATABASE_URL`.",
        default="",
        read=readers.database,
        secret=True,
    )
    database_url_worker: str = setting(
        "DATABASE_URL_WORKER",
        "The workers' and the clock's own login. Falls back likewise.",
        default="",
        read=readers.database,
        secret=True,
    )
    database_url_migrate: str = setting(
        "DATABASE_URL_MIGRATE", "The login that may change the schema. Falls back likewise.", default="", read=readers.database, secret=True
    )
    database_url_purge: str = setting(
        "DATABASE_URL_PURGE",
        "The one login that may delete what has lain in the bin for 30 days. In development it falls back to `DATABASE_URL`; "
        "in production nothing leaves the bin for good without it.",
        default="",
        read=readers.database,
        secret=True,
    )
    database_url_audit: str = setting(
        "DATABASE_URL_AUDIT",
        "The sequencer's own login: it alone adds entries to the log. In development it falls back to `DATABASE_URL`.",
        default="",
        read=readers.database,
        secret=True,
    )
    redis_url: str = setting(
        "REDIS_URL",
        "A Redis or Valkey server. Unset: one of KeyChest's own on a private unix socket.",
        default="",
        read=readers.redis,
        secret=True,
    )
    trusted_proxies: int = setting(
        "KEYCHEST_TRUSTED_PROXIES",
        "How many reverse proxies stand before the portal and set X-Forwarded-For.",
        default=0,
        read=readers.proxies,
    )
    scan_allow: tuple[Network, ...] = setting(
        "KEYCHEST_SCAN_ALLOW",
        "Private ranges that may be dialled, for example `10.0.0.0/8,fd00::/8`. Unset: none.",
        default=(),
        read=readers.networks,
    )
    scan_allow_accounts: tuple[str, ...] = setting(
        "KEYCHEST_SCAN_ALLOW_ACCOUNTS",
        "Accounts that may use these ranges in the portal: their references, or their founders' e-mail addresses. Unset: none. "
        "`./keychest scan` needs no entry here.",
        default=(),
        read=readers.words,
    )
    extra_roots: str = setting("KEYCHEST_EXTRA_ROOTS", "A PEM file of roots to trust besides Mozilla's.", default="")
    resolvers: tuple[str, ...] = setting(
        "KEYCHEST_RESOLVERS",
        "DNS resolvers with ports, for example `127.0.0.1:53,[::1]:53`. Unset: the system's.",
        default=(),
        read=readers.resolvers,
    )
    never_scan: OptedOut = setting(
        "KEYCHEST_NEVER_SCAN",
        "Names (with everything under them) and networks that asked not to be scanned, for example `example.org,192.0.2.0/24`. "
        "Neither spot checks nor watches dial them.",
        default=OptedOut(),
        read=readers.opted_out,
    )
    spot_check: bool = setting(
        "KEYCHEST_SPOT_CHECK",
        "`on` or `off`: whether strangers may check one name at `/check`, without an account.",
        default=True,
        read=readers.switch,
    )
    sign_up: str = setting(
        "KEYCHEST_SIGN_UP",
        "Who may come in: `open` (everybody whose address can be mailed to), `invitation` (whom an account's owner invites) or `closed` "
        "(whom an operator makes at the terminal; owners invite people who are here already).",
        default="invitation",
        read=readers.sign_up,
    )
    api_per_minute: int = setting(
        "KEYCHEST_API_PER_MINUTE",
        "How often one token may ask the API in a minute; all that come from one address may ask five times as often together.",
        default=120,
        read=readers.per_minute,
    )
    oidc_issuer: str = setting(
        "KEYCHEST_OIDC_ISSUER",
        "The OpenID provider by which people may sign in, as it names itself; at most one. `docs/single-sign-on.md` says how. Unset: none.",
        default="",
        read=readers.issuer,
    )
    oidc_client_id: str = setting("KEYCHEST_OIDC_CLIENT_ID", "What that provider calls this installation.", default="")
    oidc_client_secret: str = setting(
        "KEYCHEST_OIDC_CLIENT_SECRET", "What this installation proves itself by to that provider.", default="", secret=True
    )
    oidc_name: str = setting(
        "KEYCHEST_OIDC_NAME", "What people know that provider by. Unset: its host name.", default="", read=readers.button
    )
    demo: bool = setting(
        "KEYCHEST_DEMO",
        "`on` or `off`: every page says that this is a demonstration. For the demonstration alone; refused in production.",
        default=False,
        read=readers.switch,
    )
    scan_interval_s: float = setting(
        "KEYCHEST_SCAN_INTERVAL_S", "Seconds between two scans of an endpoint that is well.", default=28_800.0, read=readers.seconds
    )
    scan_lease_s: float = setting(
        "KEYCHEST_SCAN_LEASE_S",
        "Seconds after which a scan that was handed out and not recorded is handed out again.",
        default=300.0,
        read=readers.seconds,
    )
    clock_tick_s: float = setting("KEYCHEST_CLOCK_TICK_S", "Seconds between two looks at what is due.", default=1.0, read=readers.seconds)
    smtp_url: str = setting(
        "KEYCHEST_SMTP_URL",
        "`smtp://host:25`, `smtp+starttls://user:password@host:587` or `smtps://user:password@host:465`. "
        "Unset: mails are kept in `outbox` under the data folder and shown in the portal.",
        default="",
        read=readers.smtp,
        secret=True,
    )
    mail_from: str = setting("KEYCHEST_MAIL_FROM", "The sender of mails.", default="KeyChest <keychest@localhost>", read=readers.mail_from)

    backup_targets: tuple[str, ...] = setting(
        "KEYCHEST_BACKUP_TARGETS",
        "Where backups are put, separated by commas: `file:///folder`, `sftp://user@host/folder?key=/path&known_hosts=/path`, "
        "`s3://bucket/prefix?region=eu-central-1`. Unset: `backups` under the data folder, which is lost with it. "
        "In production none may lie on the database's own filesystem, and two are better than one.",
        default=(),
        read=readers.targets,
        secret=True,
    )
    backup_recovery_key: str = setting(
        "KEYCHEST_BACKUP_RECOVERY_KEY",
        "The public half (`age1…`) of the offline key that opens every backup, recovery kit and escrow; `./keychest backup keygen` makes "
        "the pair. Unset: made under the data folder in development; in production no backup is made.",
        default="",
        read=readers.recovery_key,
    )
    backup_interval_s: float = setting("KEYCHEST_BACKUP_INTERVAL_S", "Seconds between two backups.", default=86_400.0, read=readers.seconds)
    backup_max_age_s: float = setting(
        "KEYCHEST_BACKUP_MAX_AGE_S",
        "The recovery-point goal: operators are told when the newest backup is older than so many seconds.",
        default=93_600.0,
        read=readers.seconds,
    )
    backup_keep: str = setting(
        "KEYCHEST_BACKUP_KEEP",
        "How many backups are kept: the newest of so many hours, days, weeks and months.",
        default="hourly=24,daily=14,weekly=8,monthly=12",
        read=readers.keep,
    )
    pgbackrest_config: str = setting(
        "KEYCHEST_PGBACKREST_CONFIG",
        "pgBackRest's configuration file, for backups of PostgreSQL; `deploy/pgbackrest.conf` is one to begin with. Unset: none are made.",
        default="",
    )
    pgbackrest_stanza: str = setting("KEYCHEST_PGBACKREST_STANZA", "The stanza in that file.", default="keychest")


@dataclass(frozen=True, slots=True)
class Settings(StatusSettings, LogSettings, _Most):
    """All that can be set. Made by `from_environment`; tests may make one by hand."""

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
            try:
                raw = raw_value(environ, name, secret=spec.metadata["secret"])
            except ValueError as error:
                raise SettingError(str(error)) from None
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
        settings = cls(**values)
        if wrong := contradiction(settings):
            raise SettingError(wrong)
        return settings

    def backups(self, role: DatabaseRole = "worker") -> dict[str, Any]:
        """What backups are made with, as core/backups/plan.py wants it. Raises SettingError as `database` does."""
        values = {spec.metadata["env"]: (getattr(self, spec.name), spec.default) for spec in fields(self)}
        raw = {name: written(value) for name, (value, default) in values.items() if value != default}
        return {
            "data": self.data,
            "production": self.production,
            "database_url": self.database(role),
            "target_urls": self.backup_targets,
            "recovery_key": self.backup_recovery_key,
            "interval_s": self.backup_interval_s,
            "max_age_s": self.backup_max_age_s,
            "keep": self.backup_keep,
            "pgbackrest_config": self.pgbackrest_config,
            "pgbackrest_stanza": self.pgbackrest_stanza,
            "settings": raw,
        }

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
