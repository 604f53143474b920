"""How often doors may be tried. Kept in the portal's own memory: one process serves people, and a restart forgives."""

from __future__ import annotations

import hashlib
import ipaddress

from flask import Flask, request
from flask_limiter import Limiter

PER_ADDRESS = "10 per minute"
PER_PERSON_AND_NETWORK = "30 per hour"
PER_PERSON = "300 per hour"


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


limiter = Limiter(key_func=_address, storage_uri="memory://", headers_enabled=False)
by_address = limiter.shared_limit(PER_ADDRESS, scope="doors", key_func=_address)
by_person_and_network = limiter.limit(PER_PERSON_AND_NETWORK, key_func=_person_and_network)
by_person = limiter.limit(PER_PERSON, key_func=_person)
"""Tight for one person from one network, wide for one person from everywhere: a stranger elsewhere must not lock them out."""


def install(app: Flask) -> None:
    """Count from now on."""
    limiter.init_app(app)
