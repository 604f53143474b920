"""What goes out: every member, in one order, the same on both databases, and nothing that is not the account's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from audit.note import Note, Verifier
from core.exports.form import MANIFEST, MEMBERS, SIGNATURE
from core.store.db import Sessions
from tests.exporting import HOUR, KEY, NAMES, NOTES, export, make_rich, members, values
from tests.make import NOW


def test_a_bundle_has_everything_in_order_and_signed(sessions: Sessions, tmp_path: Path) -> None:
    owner, chain = make_rich(sessions)
    made = export(sessions, owner, tmp_path / "a.zip", now=NOW + 10 * HOUR)
    content = (tmp_path / "a.zip").read_bytes()
    assert (made.bytes, made.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    found = members(tmp_path / "a.zip")
    assert tuple(found) == MEMBERS
    manifest = json.loads(found[MANIFEST])
    assert [each["name"] for each in manifest["members"]] == list(MEMBERS[:-2])
    for each in manifest["members"]:
        assert (each["bytes"], each["sha256"]) == (len(found[each["name"]]), hashlib.sha256(found[each["name"]]).hexdigest())
    note = Note.read(found[SIGNATURE])
    assert note.text == f"keychest-export/v1\n{hashlib.sha256(found[MANIFEST]).hexdigest()}\n"
    assert len(note.signed_by([Verifier.read(KEY.vkey)])) == 1
    assert manifest["signer"] == KEY.vkey

    domains = values(found["domains.jsonl"])
    assert [each["name"] for each in domains] == sorted({each.name for each in NAMES})
    www = next(each for each in domains if each["name"] == "www.harbour.example")
    assert (www["note"], www["tags"], www["responsible"]) == (NOTES[www["name"]], ["prod", "web"], "max.mira@example.org")
    watched = [(each["name"], each["port"], each["starttls"], each["fixed"]) for each in values(found["watches.jsonl"])]
    assert watched == sorted(each.key for each in NAMES)
    seen = values(found["observations.jsonl"])
    keys = ("name", "port", "starttls", "fixed", "perspective", "address", "seen_at", "content_sha256")
    order = [tuple(each[key] for key in keys) for each in seen]
    assert order == sorted(order)
    assert {each["failure"]["kind"] for each in seen if each["failure"]} == {"refused"}
    chains = {each["chain"]: each["certificates"] for each in values(found["chains.jsonl"])}
    assert {each["chain"] for each in seen if each["chain"]} == set(chains)
    digests = [each["sha256"] for each in values(found["certificates.jsonl"])]
    assert digests == sorted({digest for each in chains.values() for digest in each})
    assert [each.fingerprint(SHA256()).hex() for each in x509.load_pem_x509_certificates(found["certificates.pem"])] == digests
    assert chain.leaf.sha256 in digests
    assert values(found["incidents.jsonl"])
    assert manifest["counts"]["observations"] == len(seen)


def test_equal_data_is_equal_bytes(sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    first = export(sessions, owner, tmp_path / "a.zip")
    assert export(sessions, owner, tmp_path / "b.zip") == first
