"""Passkeys as browsers know them: what a device is asked, and whether its answer holds (W3C Web Authentication).

Every passkey proves who holds the device as well as that it is there (user verification): it signs in without a password. No
attestation is asked for: which make of device somebody has decides nothing here.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from core.store.passkeys import Held

ASKED_S: Final = 300
"""So long may a device take."""
MOST_BYTES: Final = 16_384
"""No answer of a device is longer: its parts are a few hundred bytes, its key's identity 1,023 at most."""
_NAME: Final = "KeyChest"


class NotProvenError(Exception):
    """What came is not the answer of a device to what it was asked."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a passkey belongs to: a host name (RP ID), and the origin whose pages may ask for it."""

    host: str
    origin: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question for a device: `options` as JSON for the browser, `challenge` (base64url) for the answer to be held against."""

    challenge: str
    options: str


@dataclass(frozen=True, slots=True)
class NewKey:
    """A passkey that a device made. `public_key`: COSE, as base64url; `backed_up`: it lives in more places than one device."""

    credential_id: str
    public_key: str
    sign_count: int
    backed_up: bool
    transports: tuple[str, ...]


def site_of(public_url: str) -> Site | None:
    """The site that people reach at this URL; None where browsers have no passkeys: for bare addresses, and without TLS."""
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return None
    safe = parts.scheme == "https" or host == "localhost"
    return Site(host, f"{parts.scheme}://{parts.netloc}") if host and safe else None


def question_to_add(site: Site, *, user_ref: str, email: str, have: Sequence[Held]) -> Asked:
    """What a device is asked to make a passkey for this person; those that have one already are to refuse."""
    options = generate_registration_options(
        rp_id=site.host,
        rp_name=_NAME,
        user_id=user_ref.encode(),
        user_name=email,
        timeout=ASKED_S * 1000,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=_described(have),
    )
    return Asked(bytes_to_base64url(options.challenge), options_to_json(options))


def question_to_enter(site: Site, have: Sequence[Held] = ()) -> Asked:
    """What a device is asked to sign somebody in: one of `have`, or whoever holds a passkey of this site."""
    options = generate_authentication_options(
        rp_id=site.host,
        timeout=ASKED_S * 1000,
        allow_credentials=_described(have),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return Asked(bytes_to_base64url(options.challenge), options_to_json(options))


def new_key(site: Site, *, challenge: str, answer: str) -> NewKey:
    """The passkey that a device made when it was asked. Raises NotProvenError."""
    credential = _read(answer)
    try:
        made = verify_registration_response(
            credential=credential,
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=site.host,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, TypeError, KeyError) as error:
        raise NotProvenError(str(error)) from error
    transports = tuple(each for each in _listed(credential) if each in set(AuthenticatorTransport))
    return NewKey(
        bytes_to_base64url(made.credential_id),
        bytes_to_base64url(made.credential_public_key),
        made.sign_count,
        made.credential_backed_up,
        transports,
    )


def key_named(answer: str) -> tuple[str, str]:
    """Which key an answer says it is from (base64url), and whose (their reference, "" where it does not say). Raises NotProvenError."""
    credential = _read(answer)
    response = credential.get("response")
    whose = response.get("userHandle") if isinstance(response, dict) else None
    try:
        return str(credential.get("id", "")), base64url_to_bytes(whose).decode() if isinstance(whose, str) else ""
    except ValueError as error:
        raise NotProvenError("its user handle is none") from error


def count_proven(site: Site, *, challenge: str, answer: str, public_key: str, sign_count: int) -> int:
    """The key's new signature count, once it signed this challenge. Raises NotProvenError, also for a count that went back."""
    try:
        proven = verify_authentication_response(
            credential=_read(answer),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=site.host,
            expected_origin=site.origin,
            credential_public_key=base64url_to_bytes(public_key),
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, TypeError, KeyError) as error:
        raise NotProvenError(str(error)) from error
    return proven.new_sign_count


def _read(answer: str) -> dict[str, object]:
    if len(answer) > MOST_BYTES:
        raise NotProvenError("it is too long")
    try:
        credential = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise NotProvenError("it is no JSON") from error
    if not isinstance(credential, dict):
        raise NotProvenError("it is no object")
    return credential


def _listed(credential: dict[str, object]) -> list[str]:
    response = credential.get("response")
    listed = response.get("transports") if isinstance(response, dict) else None
    return [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []


def _described(have: Sequence[Held]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=base64url_to_bytes(each.credential_id), transports=[AuthenticatorTransport(way) for way in each.transports] or None
        )
        for each in have
    ]
