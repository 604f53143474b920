"""Places of accounts' own that exports are handed to: an S3 bucket, an SFTP server, a webhook. One function each, behind one door.

All of them are dialled through core.net.web: accounts write these addresses, so they may lead anywhere.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, unquote, urlsplit

import asyncssh
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from core.net.web import Undelivered, Way, dial, send

PlaceKind = Literal["mail", "s3", "sftp", "webhook"]
PLACES: Final[tuple[PlaceKind, ...]] = ("mail", "s3", "sftp", "webhook")
MOST_POSTED: Final = 100 << 20
MOST_PUT: Final = 5 << 30
"""What S3 takes in one piece."""
SLOWEST_BYTES_S: Final = 100_000
"""A line that is slower is given up."""
_LEAST_S: Final = 60.0
_SSH_PORT: Final = 22


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file on its way: what it is called there, where it lies here."""

    name: str
    path: Path
    size: int
    sha256: str
    ref: str
    at: datetime

    @property
    def kind(self) -> str:
        """What it is called among kinds of files."""
        return "application/zip" if self.name.endswith(".zip") else "application/octet-stream"

    @property
    def within_s(self) -> float:
        """So long it may take."""
        return _LEAST_S + self.size / SLOWEST_BYTES_S


def require_place(kind: str, address: str, secret: Mapping[str, str]) -> None:
    """Raises ValueError, with a sentence, for a place that no export could be handed to. Nothing is dialled."""
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("The port in this address is none.") from None
    if kind in {"s3", "webhook"} and (parts.scheme != "https" or not parts.hostname or parts.username is not None):
        raise ValueError("Write an address that begins with https:// and holds no password.")
    if kind == "s3" and (not parts.path.strip("/") or not secret.get("access_key") or not secret.get("secret_key")):
        raise ValueError("Write the store's address with the bucket in it, such as https://s3.example/my-bucket, and both keys.")
    if kind == "sftp":
        if parts.scheme != "sftp" or not parts.hostname or not parts.username or parts.password is not None or port == 0:
            raise ValueError("Write an address such as sftp://user@host.example/folder; the password or key has a field of its own.")
        try:
            asyncssh.import_public_key(secret.get("host_key", ""))
        except (asyncssh.KeyImportError, ValueError):
            raise ValueError("Write the server's public host key, one line as ssh-keyscan prints it after the name.") from None
        try:
            asyncssh.import_private_key(secret.get("key", ""))
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
            raise ValueError("Write a private key without a passphrase, in OpenSSH's form. Make one for this alone.") from None


def hand_over(kind: str, address: str, secret: Mapping[str, str], parcel: Parcel, way: Way) -> None:
    """Hand the file to its place, whole. Raises Undelivered, and OSError where the file cannot be read here."""
    _WAYS[kind](address, secret, parcel, way)


def _webhook(address: str, secret: Mapping[str, str], parcel: Parcel, way: Way) -> None:
    """POST the file itself, signed as Standard Webhooks has it: HMAC-SHA256 over `id.timestamp.` and the SHA-256 of the body in hex."""
    if parcel.size > MOST_POSTED:
        raise Undelivered(f"The file has {parcel.size:,} bytes, and a webhook is sent {MOST_POSTED:,} at most.", again=False)
    stamp = str(int(parcel.at.timestamp()))
    mark = signature(secret["secret"], parcel.ref, stamp, parcel.sha256)
    headers = {
        "Content-Type": parcel.kind, "webhook-id": parcel.ref, "webhook-timestamp": stamp, "webhook-signature": mark,
        "x-content-sha256": parcel.sha256, "Content-Disposition": f'attachment; filename="{parcel.name}"',
    }  # fmt: skip
    with parcel.path.open("rb") as file:
        answer = send(address, way, method="POST", headers=headers, content=file, size=parcel.size, within_s=parcel.within_s)
    _require_taken(answer.status, urlsplit(address).hostname or "")


def signature(secret: str, ref: str, stamp: str, sha256: str) -> str:
    """What `webhook-signature` says. `secret` is whsec_ and base64, as it was shown once."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, f"{ref}.{stamp}.{sha256}".encode(), hashlib.sha256).digest()).decode()


def _require_taken(status: int, host: str) -> None:
    if not 200 <= status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3
        words = "and redirects are not followed" if 300 <= status < 400 else "and did not take the file"  # noqa: PLR2004 - section 15.4
        raise Undelivered(f"{host} answered {status}, {words}.")


def _s3(address: str, secret: Mapping[str, str], parcel: Parcel, way: Way) -> None:
    """PUT it as one object under the address, signed by AWS Signature Version 4; TLS protects the content on its way."""
    if parcel.size > MOST_PUT:
        raise Undelivered(f"The file has {parcel.size:,} bytes, and a store takes {MOST_PUT:,} in one piece.", again=False)
    url = f"{address.rstrip('/')}/{quote(parcel.name)}"
    headers = {"Content-Type": parcel.kind, "x-amz-meta-sha256": parcel.sha256, "Host": urlsplit(url).netloc}
    request = AWSRequest(method="PUT", url=url, headers=headers)
    request.context["payload_signing_enabled"] = False
    region = secret.get("region") or "us-east-1"
    S3SigV4Auth(Credentials(secret["access_key"], secret["secret_key"]), "s3", region).add_auth(request)
    with parcel.path.open("rb") as file:
        signed = {str(key): str(value) for key, value in request.headers.items()}
        answer = send(url, way, method="PUT", headers=signed, content=file, size=parcel.size, within_s=parcel.within_s)
    _require_taken(answer.status, urlsplit(address).hostname or "")


def _sftp(address: str, secret: Mapping[str, str], parcel: Parcel, way: Way) -> None:
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or _SSH_PORT
    line = dial(host, port, way)
    try:
        asyncio.run(_put(host, unquote(parts.username or ""), unquote(parts.path), secret, parcel=parcel, line=line))
    except (asyncssh.Error, OSError, TimeoutError) as error:
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            raise Undelivered(f"{host} has another host key than the one that was given: it may be another server.", again=False) from error
        raise Undelivered(f"{host} did not take the file ({type(error).__name__}).") from error
    finally:
        line.close()


async def _put(host: str, user: str, folder: str, secret: Mapping[str, str], *, parcel: Parcel, line: object) -> None:
    """Under a name of its own until it is whole, then under its own."""
    async with (
        asyncio.timeout(parcel.within_s),
        asyncssh.connect(
            host,
            sock=line,
            username=user,
            client_keys=[asyncssh.import_private_key(secret["key"])],
            known_hosts=([asyncssh.import_public_key(secret["host_key"])], [], []),
            config=None,
            agent_path=None,
        ) as connection,
        connection.start_sftp_client() as files,
    ):
        at = posixpath.join(folder.removeprefix("/~/") or ".", parcel.name)
        await files.put(str(parcel.path), f"{at}.part")
        await files.posix_rename(f"{at}.part", at)


_WAYS: Final[Mapping[str, Callable[[str, Mapping[str, str], Parcel, Way], None]]] = {"s3": _s3, "sftp": _sftp, "webhook": _webhook}


def read_secret(sealed: bytes) -> dict[str, str]:
    """A place's secret, as it is kept."""
    found: dict[str, str] = json.loads(sealed)
    return found
