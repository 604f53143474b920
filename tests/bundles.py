"""Bundles made by hand, good ones and bad ones."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.exports.form import MANIFEST, MEMBERS, SIGNATURE
from core.exports.keys import BundleKey
from tests.exporting import KEY, members

OTHER: Final = BundleKey("elsewhere.example", Ed25519PrivateKey.from_private_bytes(b"o" * 32))


def changed(
    good: Path, into: Path, parts: Mapping[str, bytes] | None = None, *, key: BundleKey = KEY, sign: bool = True,
    manifest: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """A bundle with other contents of some members, vouched for again by this key, or not signed at all."""
    found = members(good) | dict(parts or {})
    told = json.loads(found[MANIFEST]) | {"signer": key.vkey} | dict(manifest or {})
    for each in told["members"]:
        if isinstance(each, dict) and each.get("name") in found:
            each |= {"bytes": len(found[each["name"]]), "sha256": hashlib.sha256(found[each["name"]]).hexdigest()}
    for name in told["counts"] if isinstance(told.get("counts"), dict) else ():
        told["counts"][name] = found[f"{name}.jsonl"].count(b"\n")
    raw = json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    found |= {MANIFEST: raw}
    if sign:
        found[SIGNATURE] = key.sign(hashlib.sha256(raw).hexdigest())
    else:
        found.pop(SIGNATURE)
    return packed(into, found)


def packed(into: Path, found: Mapping[str, bytes]) -> Path:
    """A ZIP file of these members, in the bundle's order."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(found, key=lambda each: (MEMBERS.index(each) if each in MEMBERS else 99, each)):
            archive.writestr(zipfile.ZipInfo(name), found[name], zipfile.ZIP_DEFLATED)
    return into


def raw_zip(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """Any ZIP file, as hostile as its entries."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return written.getvalue()
