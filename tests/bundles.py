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
from tests.exporting import KEY, members, values

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


def with_more(good: Path, into: Path) -> Path:
    """The bundle as somebody signed it who put more in: a role, another account's reference, entries of a log."""
    first, *others = values(members(good)["domains.jsonl"])
    seen, *rest = values(members(good)["observations.jsonl"])
    lines = [first | {"role": "owner", "account_ref": "abcdefghijkmnpqr"}, *others]
    content = {
        "domains.jsonl": b"".join(json.dumps(each).encode() + b"\n" for each in lines),
        "observations.jsonl": b"".join(json.dumps(each).encode() + b"\n" for each in (seen | {"endpoint_id": 1}, *rest)),
        "log.jsonl": b'{"kind": "account.removed.v1"}\n',
    }  # fmt: skip
    listed = [*json.loads(members(good)[MANIFEST])["members"], {"name": "log.jsonl", "bytes": 0, "sha256": ""}]
    return changed(good, into, content, manifest={"owner": "eve@example.org", "members": listed})


def raw_zip(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """Any ZIP file, as hostile as its entries."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return written.getvalue()
