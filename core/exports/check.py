"""Whether a bundle is genuine and whole, for anybody who has it, offline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audit.note import NoteError, Verifier
from core.exports.archive import BundleRefused
from core.exports.form import CERTIFICATES, MANIFEST
from core.exports.read import Bundle, open_bundle
from core.exports.shapes import SHAPES

Verdict = Literal["genuine", "not", "unreadable"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, in sentences."""

    verdict: Verdict
    sentences: tuple[str, ...]


def check(path: Path, vkey: str | None = None) -> Checked:
    """Look at every line. Without `vkey` the key that the bundle names is believed. Raises OSError where the file cannot be read."""
    if vkey is not None:
        try:
            Verifier.read(vkey)
        except NoteError as error:
            return Checked("unreadable", (f"This is no public key: {error}",))
    try:
        with open_bundle(path, own_vkeys=(vkey,) if vkey is not None else ()) as bundle:
            return _checked(bundle, vkey)
    except BundleRefused as error:
        return Checked("unreadable", (str(error),))


def _checked(bundle: Bundle, vkey: str | None) -> Checked:
    wrong = tuple(_odd(bundle))
    made = f"An export of {bundle.account_name!r}, made at {bundle.manifest['installation']} on {bundle.manifest['made_at'][:19]}Z."
    if bundle.trust in {"broken", "unsigned"} or (bundle.trust == "foreign" and vkey is not None):
        return Checked("not", (made, *bundle.told, *wrong))
    if wrong:
        return Checked("not", (made, *wrong))
    by = f"Signed by {bundle.signer}."
    whole = ("Every member is as it was signed.", *bundle.odd, *bundle.told_of(*SHAPES))
    if vkey is None:
        trusted = "No key was given, so the one in the file was trusted on first use: compare it with the installation's log."
        return Checked("genuine", (made, *whole, by, trusted))
    return Checked("genuine", (made, *whole, f"Signed by {vkey}."))


def _odd(bundle: Bundle) -> Iterator[str]:
    """What does not agree within it, though each member may be as it was signed."""
    for member in SHAPES:
        if member in {MANIFEST, CERTIFICATES}:
            continue
        found = sum(1 for _ in bundle.lines(member))
        if member.endswith(".jsonl") and found != bundle.count(member):
            yield f"{member} has {found:,} lines, and the manifest says {bundle.count(member):,}."
    found = sum(1 for _ in bundle.certificates())
    if found != bundle.count(CERTIFICATES):
        yield f"{CERTIFICATES} has {found:,} lines, and the manifest says {bundle.count(CERTIFICATES):,}."
