"""The verifier: what holds is told so, and whatever was changed in a log is found, n of n."""

from __future__ import annotations

import base64
import functools
import json
import random
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import audit.tiles
import audit.told
import audit.tree
from audit.entry import canonical
from audit.held import Head
from audit.kinds import STARTED
from audit.note import COSIGNATURE, Note, Signature, public_of, sign
from audit.reading import Lying, Unreadable
from audit.tiles import bundle
from audit.verify import Verified, verified
from audit.vouched import Asked
from tests.audit_logs import (
    KEY,
    NEXT_KEY,
    NOW,
    ORIGIN,
    WITNESS,
    WITNESS_KEY,
    Files,
    Lies,
    Served,
    bodies,
    changed,
    checkpoint_of,
    entry,
    log_of,
    started,
    tiles,
)
from tests.steps import EVERY

SIZE = 300
VKEY = public_of(KEY, ORIGIN)
WITNESS_VKEY = public_of(WITNESS_KEY, WITNESS, COSIGNATURE)
ENTRIES = bodies(SIZE)
WHOLE = log_of(ENTRIES)
SIGNATURES = Note.read(WHOLE["checkpoint"]).signatures
DICE = random.Random(6)


READ, HASHED = functools.cache(audit.told.entry_of), functools.cache(audit.tree.node_hash)


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes say the same each time, and have the same hash: thousands of logs of the same entries are checked in seconds."""
    monkeypatch.setattr(audit.told, "entry_of", READ)
    monkeypatch.setattr(audit.tree, "node_hash", HASHED)
    monkeypatch.setattr(audit.tiles, "node_hash", HASHED)


def checked(files: Files, **asked: object) -> Verified:
    return verified(files if isinstance(files, Lies) else Lies(files), Asked(**{"keys": (VKEY,)} | asked))  # type: ignore[arg-type]


def faults(files: Files, **asked: object) -> str:
    return "\n".join(checked(files, **asked).report.faults)


def heads(files: Files) -> dict[str, Head]:
    found = checked(files, keys=())
    assert found.report.faults == []
    return found.heads


SEEN = heads(WHOLE)


def mutations(at: int) -> Iterator[tuple[str, list[bytes]]]:
    """Every way to change the entries at one place."""
    own = ENTRIES[at]
    flipped = bytearray(own)
    flipped[DICE.randrange(len(own))] ^= 1 << DICE.randrange(8)
    swapped = list(ENTRIES)
    swapped[at], swapped[at - 1] = swapped[at - 1], swapped[at]
    new = entry("domains.added.v1", 10_000 + at, at=NOW + timedelta(seconds=30 * at))
    yield "edit", [*ENTRIES[:at], changed(own, by="terminal"), *ENTRIES[at + 1 :]]
    yield "back-date", [*ENTRIES[:at], changed(own, at="2026-11-27T12:00Z"), *ENTRIES[at + 1 :]]
    yield "flip", [*ENTRIES[:at], bytes(flipped), *ENTRIES[at + 1 :]]
    yield "extend", [*ENTRIES[:at], own + b" ", *ENTRIES[at + 1 :]]
    yield "drop", [*ENTRIES[:at], *ENTRIES[at + 1 :]]
    yield "swap", swapped
    yield "insert", [*ENTRIES[:at], new, *ENTRIES[at:]]
    yield "truncate", ENTRIES[:at]


def in_bundles(entries: list[bytes]) -> Files:
    """The entries changed, and nothing else."""
    return Lies(WHOLE | {"tile/entries/000": bundle(entries[:256]), "tile/entries/001.p/44": bundle(entries[256:SIZE])})


@pytest.mark.slow
def test_a_log_that_holds_is_told_so_in_words() -> None:
    for files in (WHOLE, Served(WHOLE), log_of(ENTRIES, before=280), log_of(ENTRIES[:256]), log_of(ENTRIES[:1])):
        found = checked(files)
        assert found.report.faults == [], files.keys()
        assert found.report.notes == []
        assert (found.logs[0].told.count, found.report.unreadable) == (found.logs[0].checkpoint.size, "")
    assert "300 entries, each hashed and read, in 5 files" in checked(WHOLE).report.checked[0]
    assert "trusted on first use" in checked(WHOLE, keys=()).report.notes[0]
    assert [note for note in checked(WHOLE, keys=(), heads=SEEN).report.notes if "first use" in note] == []
    assert "are those that you saw last" in "".join(checked(log_of(bodies(600)), heads=SEEN).report.checked)


def all_fitted(entries: list[bytes]) -> Files:
    """Every tile made anew to fit them; the checkpoint left as it was, or where the size is another one, its signature."""
    same = len(entries) == SIZE
    return Lies(tiles(entries) | {"checkpoint": WHOLE["checkpoint"] if same else checkpoint_of(entries, None, signatures=SIGNATURES)})


def tried() -> Iterator[tuple[int, list[bytes]]]:
    """Which mutation in which of three ways. Six kinds at each place, two more at some, each in one way; EVERY_STEP=1: all."""
    for at in range(SIZE):
        for number, (kind, entries) in enumerate(mutations(at)):
            if EVERY:
                yield from ((way, entries) for way in range(3))
            elif at % 3 == 0 or kind not in {"back-date", "flip"}:
                yield (at + number) % 3 if at % 3 else at // 3 % 3, entries


@pytest.mark.slow
def test_every_mutation_is_found() -> None:
    """In the bundles alone; with all files made to fit it; signed anew by the log's own key, where what was seen before finds it."""
    ways = (in_bundles, all_fitted, log_of)
    seen = [bool(faults(ways[way](entries), heads=SEEN if way == 2 else {})) for way, entries in tried()]
    assert (sum(seen), len(seen)) == ((7_200, 7_200) if EVERY else (2_000, 2_000))


def test_who_has_the_key_and_is_met_by_nobody_who_saw_the_log_before_can_rewrite_it() -> None:
    """What is not promised. The same logs are found by --since, and where a witness cosigned the old one and not this."""
    for kind, entries in mutations(200):
        if kind != "flip":
            assert bool(faults(log_of(entries))) == (kind in {"extend", "swap"}), kind
            assert faults(log_of(entries), heads=SEEN)
            assert "you want 1" in faults(log_of(entries), witnesses=(WITNESS_VKEY,), quorum=1)


@pytest.mark.slow
def test_every_byte_of_the_checkpoint_counts() -> None:
    note = checkpoint_of(ENTRIES, witnesses={WITNESS: WITNESS_KEY})
    asked = {"witnesses": (WITNESS_VKEY,), "quorum": 1}
    told = checked(Lies(WHOLE | {"checkpoint": note}), **asked).report.checked
    assert f"{WITNESS} has seen this checkpoint at 2026-09-21 14:13:20 UTC." in told
    assert "has seen this checkpoint at 2026-09-21 14:13:20 UTC" in "".join(
        checked(Lies(WHOLE | {"checkpoint": note}), **asked).report.checked
    )
    flips = [flipped(note, at, bit) for at in range(len(note)) for bit in (range(8) if EVERY else (at % 8,))]
    seen = [bool(faults(Lies(WHOLE | {"checkpoint": each}), **asked)) for each in flips]
    assert (sum(seen), len(seen)) == (len(note) * (8 if EVERY else 1),) * 2


@pytest.mark.slow
@pytest.mark.timeout(1_800 if EVERY else 120)
def test_every_byte_of_every_tile_and_bundle_counts() -> None:
    files = log_of(ENTRIES, before=280)
    assert sorted(files) == ["checkpoint", "tile/0/000", "tile/0/001.p/24", "tile/0/001.p/44", "tile/1/000.p/1"] + [
        f"tile/entries/{each}" for each in ("000", "001.p/24", "001.p/44")
    ]
    seen = []
    for path in sorted(files.keys() - {"checkpoint"}):
        raw = files[path]
        places = range(len(raw)) if EVERY else {0, 1, len(raw) - 1, *DICE.sample(range(len(raw)), 25)}
        seen += [bool(faults(Lies(files | {path: flipped(raw, at, at % 8)}))) for at in places]
        seen += [bool(faults(Lies(files | {path: each}))) for each in (raw[:-1], raw[1:], raw + b"\0", raw + raw, b"")]
    assert (sum(seen), len(seen)) == (len(seen),) * 2
    assert len(seen) >= 7 * 30


def test_every_file_is_there_and_no_other_is() -> None:
    for path in sorted(WHOLE.keys() - {"checkpoint"}):
        for place in (Lies, Served):
            assert "missing" in faults(place({name: raw for name, raw in WHOLE.items() if name != path})), path
    assert "checkpoint is missing" in faults(Lies({name: raw for name, raw in WHOLE.items() if name != "checkpoint"}))
    with pytest.raises(Unreadable, match="There is no log"):
        checked(Lies())
    narrow = WHOLE["tile/0/001.p/44"]
    odd = {
        "README": b"", "tile/README": b"", "tile/0/001": narrow, "tile/0/001.p/45": narrow + bytes(32), "tile/0/002.p/1": bytes(32),
        "tile/entries/001.p/043": b"", "tile/0/001.p/43": narrow[32 * 1 :], "tile/0/001.p/256": b"", "tile/2/000.p/1": bytes(32),
        "tile/1/001.p/1": bytes(32), "tile/entries/002": b"", "tile/entries/003.p/1": b"\0\0", "tile/0/1": b"",
        "Checkpoint": WHOLE["checkpoint"],
        "2": b"", "2/checkpoint": WHOLE["checkpoint"], "3/tile/0/000.p/1": b"", "1/checkpoint": b"", "continued": b"2",
        "tile/entries/001": WHOLE["tile/entries/001.p/44"], "tile/0/000.p/": b"", "tile/\udcff": b"", "tile/1/000": bytes(32 * 256),
    }  # fmt: skip
    for path, raw in odd.items():
        found = faults(Lies(WHOLE | {path: raw}))
        assert found, path
    assert faults(Lies(WHOLE, others=[Lying("tile/0/000.p", "other")])) == "tile/0/000.p is no plain file."
    assert faults(Lies(WHOLE, others=[Lying("tile/junk", "folder")])) == "tile/junk is a folder that no log has."
    assert faults(Lies(WHOLE, others=[Lying("tile/0/000.p", "folder"), Lying("2", "folder"), Lying("2/tile", "folder")])) == ""


def test_partial_tiles_of_before_are_their_beginnings_or_they_are_found() -> None:
    for older in (1, 100, 256, 299):
        assert faults(Lies(tiles(ENTRIES[:older]) | WHOLE)) == "", "a partial tile beside its full one may be left over"
    elder = tiles([*ENTRIES[:99], ENTRIES[0]])
    for path in elder:
        assert faults(Lies(elder | WHOLE)), path
        assert bool(faults(Lies({path: elder[path]} | WHOLE))) == (path != "tile/1/000.p/1"), path


@pytest.mark.slow
def test_a_log_that_grew_while_it_was_copied_holds_and_so_does_one_whose_partial_tiles_are_gone_since() -> None:
    for size in (301, 511, 512, 700):
        more = bodies(size)
        found = checked(Lies(tiles(more) | WHOLE))
        assert found.report.faults == [], size
        assert found.report.notes == [f"{size - 300} newer entries lie there already, which the checkpoint does not promise yet."]
        gone = Lies(tiles(more) | {path: WHOLE[path] for path in ("checkpoint", "tile/1/000.p/1")})
        assert bool(faults(gone)) == (size < 512), "without the partial tiles, the full ones must be there"
    assert faults(Lies(tiles([*ENTRIES[:280], *bodies(400)[281:]]) | WHOLE))
    assert "does not begin with" in faults(Lies(WHOLE | {"tile/entries/001": bundle(bodies(513)[257:])}))


def test_another_spelling_of_the_same_checkpoint_is_found() -> None:
    said = WHOLE["checkpoint"].decode()
    text, _, lines = said.partition("\n\n")
    name, _, root = text.split("\n")
    own = [sign(more, ORIGIN, KEY).line for more in (f"{text}\nmore\n", f"{name}\n0300\n{root}\n", f"{name}\n300\n{root[:-1]}\n")]
    for other in (
        f"{text}\nmore\n\n{own[0]}", f"{name}\n0300\n{root}\n\n{own[1]}", f"{name}\n300\n{root[:-1]}\n\n{own[2]}", said + said, f"{said}\n",
        said.replace("\n", "\r\n"), f" {said}", said[:-1], f"{text}\n\n{lines.replace(' ', '  ')}", f"{text}\n\n{lines[:-2]}\n",
        f"{text}\n\n{_last_bit_set(lines)}", "", f"{text}\n\n",
    ):  # fmt: skip
        assert faults(Lies(WHOLE | {"checkpoint": other.encode()})), other
    assert faults(Lies(WHOLE | {"checkpoint": f"{text}\n\n{lines}{lines}".encode()})) == "", "the same signature twice says nothing else"


def test_entries_are_canonical_and_of_their_form_though_they_are_signed() -> None:
    own = json.loads(ENTRIES[5])
    others: tuple[dict[str, object], ...] = (
        {"v": 2}, {"v": True}, {"more": 1}, {"at": "2026-11-28"}, {"at": "2026-13-28T12:00Z"}, {"at": 5}, {"c": {"a": "00"}}, {"kind": 7},
        {"c": {"a": "0" * 63 + "g"}}, {"c": {"a": 1}}, {"said": {"a": 1.5}}, {"said": {"a": None}}, {"said": {"a": {}}}, {"back_s": 0},
        {"back_s": -1}, {"back_s": True}, {"back_s": "1"}, {"logged": "2026-11-28T12:00Z "},
    )  # fmt: skip
    wrong = [
        b"", b"{}", b"[]", b"nonsense", b"\xff", ENTRIES[5].replace(b'","by', b'", "by'), b"[" * 60_000, json.dumps(own).encode(),
        *(canonical(own | other) for other in others),
        canonical({name: each for name, each in own.items() if name != "by"}),
        ENTRIES[5].replace(b'"v":1', b'"v":1,"v":1'), ENTRIES[5].replace(b'"said":{', b'"said":{"a":"\\ud800",'),
    ]  # fmt: skip
    for body in wrong:
        assert "Entry 5 of keychest.example/log is no entry" in faults(log_of([*ENTRIES[:5], body, *ENTRIES[6:9]])), body


def test_time_goes_back_only_where_the_log_says_so_and_what_was_late_is_told() -> None:
    back = entry("domains.added.v1", at=NOW - timedelta(hours=3))
    assert "it does not say why" in faults(log_of([*ENTRIES[:9], back]))
    told = entry("domains.added.v1", at=NOW - timedelta(hours=3), back_s=10_800)
    late = entry("domains.added.v1", at=NOW, late=timedelta(hours=5, minutes=7))
    early = entry("domains.added.v1", at=NOW, late=-timedelta(minutes=10))
    new = entry("something.new.v1", at=NOW)
    found = checked(log_of([*ENTRIES[:1], told, late, early, new, new]))
    assert found.report.faults == []
    notes = " ".join(found.report.notes)
    for words in ("set back once, at entry 1", "Entry 2 is logged more than 15 minutes after", "5 h 7 min at most", "Entry 3 is dated",
                  "2 entries, the first of them 4, are of a kind"):  # fmt: skip
        assert words in notes


def test_a_log_begins_with_its_name_and_key() -> None:
    named = entry(STARTED, public={"origin": "other.example/log", "vkey": VKEY.vkey})
    for entries, words in (
        (ENTRIES[1:9], "a log begins with"), ([named, *ENTRIES[1:9]], "says that the log is"),
        ([ENTRIES[0], ENTRIES[0]], "and there alone"),
        ([started(NEXT_KEY), *ENTRIES[1:9]], "is not signed by"), ([started(vkey=public_of(KEY, "other").vkey)], "names no key"),
        ([started(vkey=public_of(KEY, ORIGIN, COSIGNATURE).vkey)], "names no key"), ([started(vkey="")], "names no key"),
    ):  # fmt: skip
        assert words in faults(log_of(entries), keys=()), entries[0]
    whole = log_of(bodies(9, origin="other.example/log"), origin="other.example/log")
    assert faults(whole, keys=()) == ""
    assert "is the key that you gave" in faults(whole)
    assert "is the key that you gave" in faults(log_of(bodies(9, key=NEXT_KEY), NEXT_KEY))
    assert "is of" not in faults(WHOLE)


def test_cosignatures_count_by_their_keys() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes([5]) * 32)
    names = {WITNESS: WITNESS_KEY, "witness.example/w2": other}
    asked = {"witnesses": tuple(public_of(key, name, COSIGNATURE) for name, key in names.items()), "quorum": 2}
    assert faults(Lies(WHOLE | {"checkpoint": checkpoint_of(ENTRIES, witnesses=names)}), **asked) == ""
    note = checkpoint_of(ENTRIES, witnesses={WITNESS: WITNESS_KEY})
    assert "1 of the witnesses that you named" in faults(Lies(WHOLE | {"checkpoint": note}), **asked)
    assert "in the name of witness.example/w1, which was not checked" in checked(Lies(WHOLE | {"checkpoint": note})).report.notes[0]
    forged = Note.read(note).signatures
    moved = checkpoint_of(ENTRIES[:299], witnesses={WITNESS: WITNESS_KEY})
    for line in (Note.read(moved).signatures[1], Signature(WITNESS, forged[1].key_id, b"\0" * 8 + forged[1].bytes[8:])):
        raw = Note(Note.read(note).text, (forged[0], line)).raw
        assert "A witness's cosignature" in faults(Lies(WHOLE | {"checkpoint": raw}), witnesses=(WITNESS_VKEY,))
    twice = {"witnesses": tuple(public_of(WITNESS_KEY, name, COSIGNATURE) for name in ("a", "b")), "quorum": 2}
    by_one = checkpoint_of(ENTRIES, witnesses={"a": WITNESS_KEY, "b": WITNESS_KEY})
    assert "1 of the witnesses" in faults(Lies(WHOLE | {"checkpoint": by_one}), **twice), "one key under two names is one witness"


def flipped(raw: bytes, at: int, bit: int) -> bytes:
    found = bytearray(raw)
    found[at] ^= 1 << bit
    return bytes(found)


def _last_bit_set(lines: str) -> str:
    """The same signature, by base64 that a lenient reader takes: bits that stand for nothing are not zero."""
    coded = lines.removesuffix("=\n").removesuffix("=")
    pads = len(lines) - 1 - len(coded)
    assert pads
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    found = coded[:-1] + letters[letters.index(coded[-1]) | 1] + "=" * pads + "\n"
    assert base64.b64decode(found.split(" ")[2]) == base64.b64decode(lines.split(" ")[2])
    return found
