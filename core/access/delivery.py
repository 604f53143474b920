"""Reports on their way: signed by the host's own key, sent in order, and sent again until the portal says that it has them."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

NAMESPACE = "keychest-access"
MOST_AT_ONCE = 50
_WAITS_S = 10
_MOST_ANSWER = 65_536
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_TAKEN = 200


class NotTakenError(Exception):
    """The portal did not take it, or was not reached. The message is a sentence; everything is kept.

    `next` and `beat`: where the portal says so, the number that it wants next, and the newest heartbeat that it heard; else 0.
    """

    def __init__(self, sentence: str, next_: int = 0, beat: int = 0) -> None:
        super().__init__(sentence)
        self.next, self.beat = next_, beat


def checked_portal(url: str) -> SplitResult:
    """The portal's address in parts. Raises ValueError, with a sentence, for one to which nothing may be sent."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{url} is no address of a portal. Write it like https://keychest.example.org.")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError(f"{url} is no https address. Without TLS anybody between could keep reports back.")
    return parts


@dataclass(frozen=True)
class Courier:
    """Signs by the key in `folder`, and brings it to the portal."""

    folder: Path
    host: str
    portal: str

    def signed(self, text: str) -> dict[str, str]:
        """The text and its signature. Raises NotTakenError."""
        words = ("/usr/bin/ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(self.folder / "key"))
        only = {"PATH": "/usr/bin:/bin"}
        try:
            made = subprocess.run(words, input=text.encode(), capture_output=True, check=True, timeout=_WAITS_S, env=only)  # noqa: S603 - ours
        except (OSError, subprocess.SubprocessError) as error:
            raise NotTakenError(f"ssh-keygen could not sign ({error}). Nothing was sent, and all is kept.") from None
        return {"text": text, "signature": made.stdout.decode()}

    def deliver(self, beat: str, texts: Sequence[str]) -> int:
        """Bring a heartbeat and reports, at most MOST_AT_ONCE; the number that the portal wants next. Raises NotTakenError."""
        body = json.dumps({"host": self.host, "beat": self.signed(beat), "reports": [self.signed(text) for text in texts]})
        try:
            status, answer = self._posted(body.encode())
        except (OSError, http.client.HTTPException) as error:
            raise NotTakenError(f"{self.portal} was not reached ({str(error) or type(error).__name__}). All is kept.") from None
        told = _told(answer)
        wanted = _whole(told, "next")
        if status == _TAKEN and wanted:
            return wanted
        said = told.get("error") if isinstance(told.get("error"), str) else "no word of why"
        raise NotTakenError(f"{self.portal} answered {status}: {str(said)[:500]!r} All is kept.", wanted, _whole(told, "beat"))

    def _posted(self, body: bytes) -> tuple[int, bytes]:
        parts = checked_portal(self.portal)
        host, path = str(parts.hostname), f"{parts.path.rstrip('/')}/access/reports"
        if parts.scheme == "https":
            line: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=_WAITS_S, context=ssl.create_default_context()
            )
        else:
            line = http.client.HTTPConnection(host, parts.port, timeout=_WAITS_S)
        try:
            line.request("POST", path, body, {"Content-Type": "application/json", "User-Agent": "keychest-access"})
            answer = line.getresponse()
            return answer.status, answer.read(_MOST_ANSWER)
        finally:
            line.close()


def _told(answer: bytes) -> dict[str, Any]:
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _whole(told: dict[str, Any], name: str) -> int:
    value = told.get(name)
    return value if type(value) is int and 0 < value < 2**53 else 0
