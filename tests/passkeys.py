"""A device of the tests' own: it makes passkeys and signs by them as browsers hand it on (W3C Web Authentication)."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import bytes_to_base64url

from core.passkeys import Site, site_of

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def site(url: str = "http://localhost") -> Site:
    """The site of a portal's address, which must have one."""
    found = site_of(url)
    assert found is not None
    return found


@dataclass
class Device:
    """One key pair, made for one site. What it answers can be bent: its origin, its flags, its count."""

    origin: str = "http://localhost"
    flags: int = PRESENT | VERIFIED
    count: int = 0
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    user_handle: str = ""

    def make(self, options: str, **changed: Any) -> str:
        """The answer to a question to add a passkey."""
        asked = json.loads(options)
        self.user_handle = asked["user"]["id"]
        numbers = self.key.public_key().public_numbers()
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cose
        data = self._data(asked["rp"]["id"], ATTESTED) + attested
        response = {
            "clientDataJSON": bytes_to_base64url(self._client("webauthn.create", asked["challenge"])),
            "attestationObject": bytes_to_base64url(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
            "transports": ["internal", "hybrid", "made up"],
        }
        return self._credential(response | changed)

    def sign(self, options: str, **changed: Any) -> str:
        """The answer to a question to sign in."""
        asked = json.loads(options)
        data, client = self._data(asked["rpId"], 0), self._client("webauthn.get", asked["challenge"])
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        response = {
            "clientDataJSON": bytes_to_base64url(client),
            "authenticatorData": bytes_to_base64url(data),
            "signature": bytes_to_base64url(signature),
            "userHandle": self.user_handle,
        }
        return self._credential(response | changed)

    def _data(self, host: str, more: int) -> bytes:
        return hashlib.sha256(host.encode()).digest() + bytes([self.flags | more]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}).encode()

    def _credential(self, response: dict[str, Any]) -> str:
        identity = bytes_to_base64url(self.credential_id)
        return json.dumps({"id": identity, "rawId": identity, "type": "public-key", "response": response, "clientExtensionResults": {}})
