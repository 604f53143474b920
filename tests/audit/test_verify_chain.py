"""Keys that hand over, logs that go on after one another, and what was seen before."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.held import Head, keep_heads, read_heads
from audit.note import public_of
from audit.reading import Lying, Unreadable
from audit.verify import Verified, verified
from audit.vouched import Asked
from tests.audit_logs import KEY, NEXT_KEY, ORIGIN, Files, Lies, Served, after, bodies, log_of, put, rotated, tiles

VKEY, NEXT_VKEY = public_of(KEY, ORIGIN), public_of(NEXT_KEY, ORIGIN)
THIRD = Ed25519PrivateKey.from_private_bytes(bytes([3]) * 32)
ENTRIES = bodies(40)
TURNED = [*ENTRIES[:20], rotated(KEY, NEXT_KEY, 20), *ENTRIES[20:]]
FIRST = log_of(ENTRIES)


def checked(files: Files, **asked: object) -> Verified:
    return verified(files if isinstance(files, Lies) else Lies(files), Asked(**{"keys": (VKEY,)} | asked))  # type: ignore[arg-type]


def faults(files: Files, **asked: object) -> str:
    return "\n".join(checked(files, **asked).report.faults)


def chained(first: Files, second: Files, number: int = 2) -> Lies:
    """The second log goes on after the first one."""
    before = "" if number == 2 else f"{number - 1}/"
    return Lies(first | {f"{before}continued": f"{number}\n".encode()} | {f"{number}/{path}": raw for path, raw in second.items()})


def second_of(first: Files = FIRST, key: Ed25519PrivateKey = KEY, **said: object) -> Lies:
    entries = [after(first, key=key, **said), *bodies(9)[1:]]  # type: ignore[arg-type]
    return log_of(entries, key, f"{ORIGIN}/2")


TWO = chained(FIRST, second_of())


def test_a_key_that_was_handed_over_by_both_is_followed_and_any_of_them_is_enough() -> None:
    whole = log_of(TURNED, NEXT_KEY)
    for keys in ((VKEY,), (NEXT_VKEY,), ()):
        found = checked(whole, keys=keys)
        assert found.report.faults == []
        assert "after 1 rotation signed by both keys" in found.report.checked[1]
        assert NEXT_VKEY.vkey in found.report.checked[1]
    assert checked(whole).heads[ORIGIN].keys == (VKEY.vkey, NEXT_VKEY.vkey)
    seen = checked(FIRST).heads
    grown = log_of([*ENTRIES, rotated(KEY, NEXT_KEY, 40)], NEXT_KEY)
    assert faults(grown, keys=(), heads=seen) == ""
    twice = log_of([*TURNED, rotated(NEXT_KEY, THIRD, 40)], THIRD)
    assert "after 2 rotations" in checked(twice).report.checked[1]
    assert "is the key that you gave" in faults(whole, keys=(public_of(THIRD, ORIGIN),))
    assert "not signed by" in faults(log_of(TURNED, KEY)), "the key that handed over signs nothing any more"
    assert "not signed by" in faults(log_of(ENTRIES, NEXT_KEY))


def test_a_key_that_the_one_before_did_not_sign_takes_over_nothing() -> None:
    zero = base64.b64encode(bytes(64)).decode()
    by_third = base64.b64encode(THIRD.sign(b"anything")).decode()
    third = public_of(THIRD, ORIGIN).vkey
    said: tuple[dict[str, str | int], ...] = (
        {"by_old": zero}, {"by_new": zero}, {"by_old": by_third}, {"new": third}, {"new": ""}, {"origin_": "other"},
        {"old": NEXT_VKEY.vkey}, {"old": 1}, {"by_old": "AB"}, {"by_new": 7}, {"new": public_of(NEXT_KEY, "other").vkey},
        {"by_old": by_third, "old": third},
    )  # fmt: skip
    made = [rotated(KEY, NEXT_KEY, 40, ORIGIN, **each) for each in said]
    for entry in (rotated(THIRD, NEXT_KEY, 40), rotated(KEY, NEXT_KEY, 40, "other"), *made):
        assert "does not prove it" in faults(log_of([*ENTRIES, entry], NEXT_KEY)), entry
        assert faults(log_of([*ENTRIES, entry], KEY)), entry


def test_a_log_that_goes_on_after_another_is_followed() -> None:
    for files in (TWO, Served(TWO)):
        found = checked(files)
        assert found.report.faults == []
        assert [log.origin for log in found.logs] == [ORIGIN, f"{ORIGIN}/2"]
        assert "could not go on. The reason given: 'a backup was restored'. Its database held 30 entries then." in found.report.notes[0]
    three = chained(TWO, log_of([after(second_of(), number=3)], origin=f"{ORIGIN}/3"), 3)
    assert faults(three) == ""
    assert set(checked(three).heads) == {ORIGIN, f"{ORIGIN}/2", f"{ORIGIN}/3"}
    assert faults(Lies(FIRST | {path: raw for path, raw in TWO.items() if path.startswith("2/tile")})) == "", "it is about to begin"


def test_a_forged_continuation_is_found() -> None:
    foreign = second_of(key=THIRD)
    assert "a key that nobody vouches for" in faults(chained(FIRST, foreign))
    assert "a key that nobody vouches for" in faults(chained(FIRST, foreign), keys=())
    assert faults(chained(FIRST, foreign), keys=(VKEY, public_of(THIRD, f"{ORIGIN}/2"))) == "", "who was told the new key may name it"
    assert faults(TWO, keys=(public_of(KEY, f"{ORIGIN}/2"),)) == "", "a log names the one before it with its root"
    assert "is the key that you gave" in faults(TWO, keys=(public_of(THIRD, f"{ORIGIN}/2"),))
    assert "is the key that you gave" in faults(TWO, keys=(VKEY, public_of(THIRD, f"{ORIGIN}/2")))
    turned = log_of(TURNED, NEXT_KEY)
    assert faults(chained(turned, second_of(turned, NEXT_KEY))) == ""
    assert "nobody vouches for" in faults(chained(turned, second_of(turned, KEY))), "a key that was turned away begins no log"
    wrong: tuple[tuple[dict[str, object], str], ...] = (
        ({"previous_root": base64.b64encode(bytes(32)).decode()}, "another root"), ({"previous_root": "AB"}, "another root"),
        ({"previous_root": 1}, "another root"), ({"previous_size": 39}, "which promises 40"),
        ({"previous_size": 41}, "Of 41 entries that keychest.example/log promised, 40 are here"),
        ({"previous_size": 10**18}, "40 are here"), ({"previous_size": True}, "which promises 40"),
        ({"previous_size": "40"}, "which promises 40"), ({"previous_origin": "other"}, "goes on after 'other'"),
    )  # fmt: skip
    for said, words in wrong:
        assert words in faults(chained(FIRST, second_of(FIRST, KEY, **said))), said
    other = log_of([after(FIRST, origin="other.example/log"), *bodies(4)[1:]], origin="other.example/log/2")
    assert "and not keychest.example/log/2" in faults(chained(FIRST, other))
    for raw in (b"3\n", b"2", b"2\n\n", b"", b"02\n", b"1\n", b"two\n"):
        assert "continued is not 2" in faults(Lies(TWO | {"continued": raw})), raw
    without = {path: raw for path, raw in TWO.items() if path != "continued"}
    assert "belongs to no log" in faults(Lies(without))
    assert faults(Served(without)) == "", "from a web address nobody sees what is not led to"
    assert "2/checkpoint is missing" in faults(Lies({path: raw for path, raw in TWO.items() if path != "2/checkpoint"}))
    assert "2/README" in faults(Lies(TWO | {"2/README": b""}))
    assert "2/continued" in faults(Lies(TWO | {"2/continued": b"2\n"}))
    assert "3/tile/0/000.p/1 belongs" not in faults(Lies(TWO | {"3/tile/0/000.p/1": b""}))
    assert "4/tile/0/000.p/1 belongs" in faults(Lies(TWO | {"4/tile/0/000.p/1": b""}))
    assert "5 belongs" in faults(Lies(TWO, others=[Lying("5", "folder")]))
    assert "2 belongs" in faults(Lies(FIRST, others=[Lying("2", "other")]))


def test_every_change_in_either_of_two_logs_is_found() -> None:
    seen = []
    for path in sorted(TWO):
        raw = bytearray(TWO[path])
        for at in {0, len(raw) // 2, len(raw) - 1}:
            raw[at] ^= 2
            seen.append(bool(faults(Lies(TWO | {path: bytes(raw)}))))
            raw[at] ^= 2
    assert (sum(seen), len(seen)) == (len(seen), len(seen))
    assert len(seen) >= 2 * 3 * 3


def test_entries_that_were_promised_and_never_published_are_missed_unless_they_lie_there() -> None:
    """The last checkpoint outside is of 40, the published one of 35: what entry 0 names must be readable all the same."""
    second = second_of()
    published = log_of(ENTRIES[:35])
    assert "Of 40 entries that keychest.example/log promised, 35 are here" in faults(chained(published, second))
    for place in (Lies, Served):
        found = checked(place(chained(Lies(tiles(ENTRIES) | published), second)))
        assert found.report.faults == [], place
        assert "it names its 40 entries" in "".join(found.report.checked)
    forged = [*ENTRIES[:36], *bodies(60)[56:]]
    assert "another root" in faults(chained(Lies(tiles(forged) | published), second))
    seen = checked(FIRST).heads
    assert faults(chained(Lies(tiles(ENTRIES) | published), second), heads=seen) == ""
    assert "You have seen 40" in faults(chained(published, second_of(published)), heads=seen)


@pytest.mark.slow
def test_what_was_seen_is_the_beginning_of_what_is_there() -> None:
    seen = checked(FIRST).heads
    grown = bodies(600)
    assert faults(log_of(grown), heads=seen) == ""
    assert "an old checkpoint was put back" in faults(log_of(ENTRIES[:30]), heads=seen)
    assert "an old checkpoint was put back" in faults(Lies(FIRST | log_of(ENTRIES[:30])), heads=seen)
    fork = [*ENTRIES[:20], *grown[21:41]]
    assert "together they prove that the log was forked" in faults(log_of(fork), heads=seen)
    assert "the log was rewritten" in faults(log_of([*fork, *grown[41:500]]), heads=seen)
    assert checked(log_of(fork), heads=seen).heads == seen, "what was seen stays the measure"
    assert "the log was rewritten" in faults(log_of([*ENTRIES[1:], *grown[40:]][:1] + grown[2:300]), heads=seen) or faults(
        log_of(grown[1:])
    )
    for size in (1, 39, 255, 256, 257, 511, 512, 599, 600):
        held = checked(log_of(grown[:size])).heads
        assert faults(log_of(grown), heads=held) == "", size
        assert faults(log_of([*grown[: size - 1], *bodies(602)[601:], *grown[size:]]), heads=held), size


def test_a_log_that_was_seen_does_not_go_away() -> None:
    seen = checked(TWO, place="here").heads
    assert faults(TWO, heads=seen) == ""
    assert "keychest.example/log/2 is not here any more" in faults(FIRST, heads=seen)
    other = log_of(bodies(9, origin="other.example/log"), origin="other.example/log")
    assert "Here was keychest.example/log" in faults(other, keys=(), heads=seen, place="here")
    found = checked(other, keys=(), heads=seen, place="there")
    assert found.report.faults == []
    assert "Your file knew nothing of other.example/log until now" in " ".join(found.report.notes)
    assert set(found.heads) == {*seen, "other.example/log"}
    anew = log_of(bodies(50, key=THIRD), THIRD)
    assert faults(anew, keys=(), heads=seen), "a log begun anew under the old name"


def test_the_file_of_what_was_seen_is_read_back_and_a_damaged_one_is_told_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    assert read_heads(path) == {}
    heads = checked(TWO, place="here").heads
    keep_heads(path, heads)
    assert read_heads(path) == heads
    assert heads[ORIGIN] == Head(40, heads[ORIGIN].root, (VKEY.vkey,), FIRST["checkpoint"].decode(), "here")
    whole = path.read_text()
    told = json.loads(whole)
    changes: tuple[dict[str, object], ...] = (
        {"size": 39}, {"root": "AAAA"}, {"keys": [NEXT_VKEY.vkey]}, {"keys": []}, {"note": "x"}, {"note": 7}, {"size": "40"},
    )  # fmt: skip
    for change in changes:
        path.write_text(json.dumps(told | {"logs": {ORIGIN: told["logs"][ORIGIN] | change}}))
        with pytest.raises(Unreadable, match="It stays as it is"):
            read_heads(path)
    for text in ("", "[]", "{}", whole[:-9], "[" * 99_999, json.dumps(told | {"format": "other"}), json.dumps(told | {"logs": [1]})):
        path.write_text(text)
        with pytest.raises(Unreadable, match="It stays as it is"):
            read_heads(path)
    with pytest.raises(Unreadable, match="could not be written"):
        keep_heads(tmp_path / "no" / "such", heads)
    assert [each.name for each in tmp_path.iterdir()] == ["seen.json"]


def test_a_folder_with_links_pipes_and_odd_names_is_told(tmp_path: Path) -> None:
    from audit.reading import Folder

    folder = put(TWO, tmp_path / "log")
    assert verified(Folder(folder), Asked()).report.faults == []
    (folder / "tile" / "link").symlink_to(folder / "checkpoint")
    (folder / "2" / "empty").mkdir()
    assert {each.split(" is ")[0] for each in verified(Folder(folder), Asked()).report.faults} == {"tile/link", "2/empty"}
    (folder / "tile" / "link").unlink()
    bundle = next((folder / "tile" / "entries").rglob("40"))
    bundle.rename(tmp_path / "elsewhere")
    bundle.symlink_to(tmp_path / "elsewhere")
    assert "is missing" in verified(Folder(folder), Asked()).report.faults[0]
    bundle.unlink()
    bundle.mkdir()
    assert "is missing" in verified(Folder(folder), Asked()).report.faults[0]
