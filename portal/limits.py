"""How often doors may be tried, counted in the broker: over all processes that serve people.

While the broker is away each process counts for itself, and more strictly: people still get in, and nobody gets more tries by it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from collections.abc import Callable
from typing import Final

from flask import Flask, request
from flask_limiter import Limiter
from limits.storage import MemoryStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from portal.parts import parts

PER_ADDRESS, PER_ADDRESS_ALONE = "10 per minute", "5 per minute"
PER_PERSON_AND_NETWORK, PER_PERSON_AND_NETWORK_ALONE = (
    "5 per minute; 10 per 10 minutes; 30 per hour",
    "5 per minute; 8 per 10 minutes; 15 per hour",
)
PER_PERSON, PER_PERSON_ALONE = "300 per hour", "100 per hour"
"""The second of each holds while the broker is away. Who goes on guessing one person's password waits a minute, then ten, then an hour."""
API_ADDRESS_TIMES: Final = 5
"""How many times as often as one token all that come from one address may ask the API."""
_PATIENCE_S: Final = 0.5
_LONGEST_TOKEN: Final = 200


def _address() -> str:
    return request.remote_addr or "unknown"


def network() -> str:
    """The network the caller is in: a person has many IPv6 addresses, and few /64 of them."""
    try:
        address = ipaddress.ip_address(_address())
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network(f"{address}/{24 if address.version == 4 else 64}", strict=False))  # noqa: PLR2004 - IPv4


def _person() -> str:
    email = request.form.get("email", "").strip().lower()
    return hashlib.sha256(email.encode("utf-8", "replace")).hexdigest()


def _person_and_network() -> str:
    return f"{_person()} {network()}"


def token_sent() -> str | None:
    """The token in the Authorization header; None for what cannot be one."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    shaped = kind.lower() == "bearer" and token.startswith("kc_") and len(token) <= _LONGEST_TOKEN and token.isascii()
    return token if shaped else None


def _token() -> str:
    return hashlib.sha256((token_sent() or "").encode()).hexdigest()


def _place() -> str:
    """The address of the caller; of IPv6 the network, since a program may have as many addresses in it as it likes."""
    return network() if ":" in _address() else _address()


def _asked(times: int) -> Callable[[], str]:
    """So many times what one token may ask of the API in a minute."""
    return lambda: f"{max(1, parts().api_per_minute * times // (2 if _is_alone() else 1))} per minute"


def _is_alone() -> bool:
    return isinstance(limiter.limiter.storage, MemoryStorage)


def _either(usual: str, alone: str) -> Callable[[], str]:
    """The limit that holds now."""
    return lambda: alone if _is_alone() else usual


limiter = Limiter(key_func=_address, headers_enabled=False)
by_address = limiter.shared_limit(_either(PER_ADDRESS, PER_ADDRESS_ALONE), scope="doors", key_func=_address)
by_proof = limiter.shared_limit(
    _either(PER_ADDRESS, PER_ADDRESS_ALONE), scope="doors", key_func=_address, exempt_when=lambda: "proof" not in request.form
)
"""As `by_address`, of what asks for a password at times."""
by_person_and_network = limiter.limit(_either(PER_PERSON_AND_NETWORK, PER_PERSON_AND_NETWORK_ALONE), key_func=_person_and_network)
by_person = limiter.limit(_either(PER_PERSON, PER_PERSON_ALONE), key_func=_person)
"""Tight for one person from one network, wide for one person from everywhere: a stranger elsewhere must not lock them out."""

api_by_address = limiter.shared_limit(_asked(API_ADDRESS_TIMES), scope="api", key_func=_place)
by_host = limiter.limit("240 per minute", key_func=_place)
"""A host catches up by fifty reports at once."""
api_by_token = limiter.shared_limit(_asked(1), scope="api.token", key_func=_token, exempt_when=lambda: token_sent() is None)
"""Put on in this order, the address nearest to the function: it counts first, and what it refuses costs no token anything."""


def wait_s() -> int:
    """How many seconds whoever was refused just now waits until they may try again; a minute where that is not known."""
    refused = limiter.current_limit
    return max(1, math.ceil(refused.reset_at - time.time())) if refused is not None else 60


def install(app: Flask, redis_url: str) -> None:
    """Count from now on. The broker is not asked before the first door is tried."""
    app.config.update(
        RATELIMIT_STORAGE_URI=redis_url.replace("unix://", "redis+unix://", 1) if redis_url else "memory://",
        RATELIMIT_STORAGE_OPTIONS={
            "retry": Retry(NoBackoff(), 0), "socket_timeout": _PATIENCE_S, "socket_connect_timeout": _PATIENCE_S,
        } if redis_url else {},
        RATELIMIT_IN_MEMORY_FALLBACK_ENABLED=True,
        RATELIMIT_KEY_PREFIX="doors",
    )  # fmt: skip
    limiter.init_app(app)
