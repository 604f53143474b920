"""Serves the portal by waitress: `python wsgi.py [FD]`, on the listening socket FD when one is handed over, else on host and port."""

import dataclasses
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import waitress  # type: ignore[import-untyped]

from audit.keeper import Keeper
from config import SettingError, Settings
from core.backups.plan import Plan
from core.envelope import FILE, KeyFile, kept_key
from core.net.provider import trusting
from core.oidc import Provider
from core.setting_readers import written
from portal import Parts, create_app
from portal.identity import CALLBACK
from portal.parts import Setting

# Far above what the portal takes: its own page answers a list that is too long, and it does so by Content-Length, before it reads any.
REQUEST_BYTES = 64_000_000
MISCONFIGURED = 78


def parts(settings: Settings) -> Parts:
    """What the portal is handed. Raises SettingError."""
    keys = KeyFile(settings.data / FILE)
    keys.make()
    return Parts(
        database_url=settings.database("portal"),
        redis_url=settings.redis_url,
        secret_key=settings.secret_key or kept_key(settings.data / "secret-key"),
        public_url=settings.public_url,
        production=settings.production,
        trusted_proxies=settings.trusted_proxies,
        scan_allow_accounts=settings.scan_allow_accounts if settings.scan_allow else (),
        mail_is_kept=not settings.smtp_url,
        now=lambda: datetime.now(UTC),
        opted_out=settings.never_scan,
        spot_check=settings.spot_check,
        sign_up=settings.sign_up,
        api_per_minute=settings.api_per_minute,
        demo=_demo() if settings.demo else None,
        provider=_provider(settings) if settings.oidc_issuer else None,
        keys=keys,
        plan=Plan(**settings.backups("portal")),
        settings=shown(settings),
        log_folder=Keeper(settings.log_at(settings.data)).public,
        log_witnesses=settings.log_witnesses,
        status_folder=settings.status_at(settings.data) / "public",
    )


def shown(settings: Settings) -> tuple[Setting, ...]:
    """Every setting in words. Of a secret it is told whether it is set, and nothing else."""
    return tuple(_shown(spec, getattr(settings, spec.name)) for spec in dataclasses.fields(settings))


def _shown(spec: dataclasses.Field[Any], value: object) -> Setting:
    words = spec.metadata
    return Setting(words["env"], words["says"], "" if words["secret"] else written(value), value != spec.default, words["secret"])


def _provider(settings: Settings) -> Provider:
    """Raises SettingError where the operator's own roots cannot be read."""
    try:
        tls = trusting(settings.extra_roots)
    except OSError as error:
        raise SettingError(f"KEYCHEST_EXTRA_ROOTS: {settings.extra_roots} cannot be used ({error.strerror or 'no certificate'}).") from None
    return Provider(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        name=settings.oidc_name or urlsplit(settings.oidc_issuer).hostname or "",
        callback=f"{settings.public_url}{CALLBACK}",
        tls=tls,
    )


def _demo() -> tuple[str, str]:
    from demo.cast import EMAIL, PASSWORD

    return EMAIL, PASSWORD


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; requests at hand are finished first."""
    try:
        settings = Settings.from_environment(os.environ)
        app = create_app(parts(settings))
    except SettingError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is nobody else to tell
        return MISCONFIGURED
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    waitress.serve(
        app,
        threads=8,
        ident="",
        max_request_body_size=REQUEST_BYTES,
        clear_untrusted_proxy_headers=not settings.trusted_proxies,
        **({"sockets": [socket.socket(fileno=int(arguments[0]))]} if arguments else {"host": settings.host, "port": settings.port}),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
