"""What goes out: every member, in one order, the same on both databases, and nothing that is not the account's."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from audit.note import Note, Verifier
from core.actions.import_history import chain_name
from core.exports import chains as chains_of
from core.exports.chains import Chains
from core.exports.form import MANIFEST, MEMBERS, SIGNATURE
from core.exports.lines import observation_lines
from core.exports.streams import Aside, blocks, table_line
from core.exports.tables import cell
from core.store import exported_seen
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


@pytest.mark.parametrize("at_once", [1, 3])
def test_however_few_are_held_at_once_nothing_is_left_out(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    owner, _ = make_rich(sessions)
    whole = export(sessions, owner, tmp_path / "a.zip")
    monkeypatch.setattr(exported_seen, "_AT_ONCE", at_once)
    assert export(sessions, owner, tmp_path / "b.zip") == whole


WATCHED = exported_seen.Watched("a.example", 443, "", "", "2026-03-01T00:00:00.000000Z", 1)


def seen(address: str, at: str, content: str, until: str | None = None) -> tuple[object, ...]:
    """A row of core.store.exported_seen."""
    began = f"2026-{until}T00:00:00.000000Z" if until else None
    failure = ("refused", "connect", "No.")
    return 1, "local", address, f"2026-{at}T00:00:00.000000Z", content * 64, "", *failure, *([None] * 4), "[]", None, None, began


def test_what_held_when_a_watch_began_comes_as_of_then_in_the_order_of_lines() -> None:
    rows = (
        seen("192.0.2.1", "01-01", "c"), seen("192.0.2.1", "01-02", "b", "02-28"), seen("192.0.2.1", "02-01", "e", "03-01"),
        seen("192.0.2.1", "02-02", "d", "04-01"), seen("192.0.2.1", "03-01", "a"), seen("192.0.2.1", "03-02", "0"),
        seen("192.0.2.2", "02-01", "f", "03-05"), seen("192.0.2.2", "03-02", "1"),
    )  # fmt: skip
    with Chains() as chains:
        lines = [json.loads(line) for *_, line in observation_lines(chains, WATCHED, rows)]
    assert [(each["address"], each["seen_at"][5:10], each["content_sha256"][0]) for each in lines] == [
        ("192.0.2.1", "03-01", "a"), ("192.0.2.1", "03-01", "d"), ("192.0.2.1", "03-01", "e"), ("192.0.2.1", "03-02", "0"),
        ("192.0.2.2", "03-01", "f"), ("192.0.2.2", "03-02", "1"),
    ]  # fmt: skip


def test_chains_are_told_once_each_and_only_those_that_a_line_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains_of, "_REMEMBERED", 1)
    one, two, three = (letter * 64 for letter in "abc")
    with Chains() as chains:
        for joined in (one, two, f"{one},{three}"):
            chains.bring(joined)
        names = [json.loads(chains.add(json.dumps(each))) for each in ([one], [one, two], [one], [one, two])]
        chains.name(chain_name([one, three]))
        chains.name(chain_name([three]))
        chains.name(None)
        assert chains.add("[]") == "null"
        told = {each["chain"]: each["certificates"] for each in map(json.loads, chains.lines())}
        assert list(chains.certificates()) == [one, two, three]
    assert names == [chain_name([one]), chain_name([one, two])] * 2
    assert told == {chain_name(each): each for each in ([one], [one, two], [one, three])}
    assert list(told) == sorted(told)


def test_a_full_disk_is_told_as_one() -> None:
    with pytest.raises(OSError, match=r"put aside meanwhile cannot be kept \(database or disk is full\)"):
        _many_chains(most_pages=10)
    _many_chains(most_pages=10_000)


def _many_chains(most_pages: int) -> None:
    with Chains() as chains:
        chains._file.execute(f"PRAGMA max_page_count = {most_pages}")
        for number in range(5_000):
            chains.add(json.dumps([f"{number:064x}"]))
        assert sum(1 for _ in chains.lines()) == 5_000


def test_what_waits_to_be_written_is_never_more_than_a_mib() -> None:
    """Many lines, however long each is; what is put aside as well."""
    texts = [f"{number:x}" * (1 + number % 3 * 100_000) for number in range(300)]
    with closing(Aside()) as aside:
        for text in texts:
            aside.add(text)
            assert sum(map(len, aside._held)) < 1 << 20
        assert b"".join(aside.blocks()).decode() == "".join(texts)
        assert aside.count == len(texts)
    found = list(blocks(texts))
    assert b"".join(found).decode() == "".join(texts)
    assert max(map(len, found)) < (1 << 20) + max(map(len, texts))


@pytest.mark.parametrize("row", [["a", "b"], ["", ""], ['say "x", y', "two\r\nlines", "=1+1"], ["a,b", ""]])
def test_a_line_of_a_table_is_what_csv_writes(row: list[str]) -> None:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow([cell(each) for each in row])
    assert table_line(row) == written.getvalue()
    assert next(csv.reader(io.StringIO(table_line(row), newline=""))) == [cell(each) for each in row]
