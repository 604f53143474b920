"""A host of production as the portal meets it: a key of its own, made and used by ssh-keygen, and texts that it signs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from core.reported import FORM, NAMESPACE


@dataclass
class TestHost:
    """`folder`: where its key is. Its texts are in their one spelling."""

    __test__ = False
    folder: Path
    name: str = "web-1"
    beats: int = 0
    boot: str = "boot-1"
    numbers: int = 0
    kept: list[dict[str, str]] = field(default_factory=list)

    @property
    def key(self) -> Path:
        path = self.folder / f"{self.name}.key"
        if not path.exists():
            subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)), check=True)
        return path

    @property
    def public_key(self) -> str:
        return Path(f"{self.key}.pub").read_text().strip()

    def signed(self, told: Mapping[str, Any], *, namespace: str = NAMESPACE) -> dict[str, str]:
        text = json.dumps(told, sort_keys=True, separators=(",", ":"))
        words = ("ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(self.key))
        made = subprocess.run(words, input=text.encode(), capture_output=True, check=True)
        return {"text": text, "signature": made.stdout.decode()}

    def report(self, what: str, at: datetime, **more: str) -> dict[str, str]:
        """The next numbered report."""
        self.numbers += 1
        told = {"form": FORM, "host": self.name, "number": self.numbers, "at": _at(at), "what": what, **more}
        self.kept.append(self.signed(told))
        return self.kept[-1]

    def opened(self, at: datetime, session: str, **more: str) -> dict[str, str]:
        said = {"kind": "ssh", "role": "administrator", "user": "root", "from": "192.0.2.7"} | more
        return self.report("opened", at, session=session, **said)

    def beat(self, at: datetime, *, still: Sequence[str] = (), last: int | None = None) -> dict[str, str]:
        self.beats += 1
        last = self.numbers if last is None else last
        told = {"form": FORM, "host": self.name, "beat": self.beats, "at": _at(at), "last": last, "boot": self.boot, "open": list(still)}
        return self.signed(told)

    def delivery(self, at: datetime, reports: Sequence[Mapping[str, str]], **beat: Any) -> dict[str, Any]:
        return {"host": self.name, "beat": self.beat(at, **beat), "reports": list(reports)}


def _at(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
