"""Bundles come from anybody. What is not whole or not genuine is told in words; what is hostile costs neither memory nor disk."""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.exports.archive import BundleRefused, Limits
from core.exports.check import check
from core.exports.form import MANIFEST, MEMBERS, SIGNATURE
from core.exports.read import open_bundle
from core.exports.shapes import SHAPES
from core.store.db import Sessions, make_engine
from tests.bundles import OTHER, changed, packed, raw_zip, with_more
from tests.conftest import ROOT
from tests.exporting import KEY, export, make_rich, members, values


@pytest.fixture(scope="module")
def good(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as the writer makes it."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "keychest.db").write_bytes(migrated_sqlite.read_bytes())
    sessions = Sessions(make_engine(f"sqlite:///{folder / 'keychest.db'}"))
    owner, _ = make_rich(sessions)
    export(sessions, owner, folder / "good.zip")
    sessions.engine.dispose()
    return folder / "good.zip"


def refusal(path: Path, limits: Limits = Limits()) -> str:  # noqa: B008 - frozen
    """Why it is not taken: every line is asked for."""

    def read_all() -> None:
        with open_bundle(path, limits=limits) as bundle:
            for member in SHAPES:
                list(bundle.lines(member))
            list(bundle.certificates())

    with pytest.raises(BundleRefused) as raised:
        read_all()
    said = str(raised.value)
    assert "Nothing was changed." in said
    return said


def test_what_is_good_is_read_line_by_line(good: Path) -> None:
    found = members(good)
    with open_bundle(good, own_vkeys=[OTHER.vkey, KEY.vkey]) as bundle:
        assert (bundle.trust, bundle.told, bundle.version, bundle.signer) == ("own", (), 1, KEY.vkey)
        for member in SHAPES:
            if member.endswith(".jsonl"):
                assert list(bundle.lines(member)) == values(found[member])
                assert bundle.count(member) == len(values(found[member]))
        assert [told["sha256"] for told, _ in bundle.certificates()] == [each["sha256"] for each in values(found["certificates.jsonl"])]


def test_what_its_signature_is_worth_is_told(good: Path, tmp_path: Path) -> None:
    cases: dict[str, tuple[Path, str]] = {
        "": (good, "foreign"),
        "by a key of elsewhere.example that": (changed(good, tmp_path / "foreign.zip", key=OTHER), "foreign"),
        "It is not signed": (changed(good, tmp_path / "unsigned.zip", sign=False), "unsigned"),
        "not for its manifest": (packed(tmp_path / "other.zip", members(good) | {SIGNATURE: KEY.sign("0" * 64)}), "broken"),
        "not by the key that it names": (changed(good, tmp_path / "named.zip", key=OTHER, manifest={"signer": KEY.vkey}), "broken"),
        "note has no text": (packed(tmp_path / "none.zip", members(good) | {SIGNATURE: b"nothing"}), "broken"),
        "domains.jsonl is not what was exported": (packed(tmp_path / "lines.zip", members(good) | {"domains.jsonl": b""}), "broken"),
    }
    flipped = members(good)[SIGNATURE].replace(b"= 0", b"").rstrip(b"\n")
    lie = flipped[:-6] + (b"A" if flipped[-6:-5] != b"A" else b"B") + flipped[-5:] + b"\n"
    cases["does not hold"] = (packed(tmp_path / "flipped.zip", members(good) | {SIGNATURE: lie}), "broken")
    for words, (path, trust) in cases.items():
        with open_bundle(path, own_vkeys=[] if not words or trust == "broken" else [KEY.vkey]) as bundle:
            assert (bundle.trust, words in " ".join(bundle.told)) == (trust, True), (words, bundle.told)


Hostile = Callable[[dict[str, bytes]], bytes]


def entry(name: str, mode: int = 0, **more: int) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.external_attr = mode << 16
    for key, value in more.items():
        setattr(found, key, value)
    return found


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda good: raw_zip(*good.items(), ("../../etc/passwd", b"x")), "'../../etc/passwd', and none is called so"),
        (lambda good: raw_zip(*good.items(), ("/etc/passwd", b"x")), "'/etc/passwd'"),
        (lambda good: raw_zip(*good.items(), ("..\\domains.jsonl", b"x")), "none is called so"),
        (lambda good: raw_zip(*good.items(), ("Domains.jsonl", b"x")), "'Domains.jsonl'"),
        (lambda good: raw_zip(*good.items(), ("inner.zip", raw_zip(*good.items()))), "'inner.zip'"),
        (lambda good: raw_zip(*good.items(), ("folder/", b"")), "'folder/'"),
        (lambda good: raw_zip(*good.items(), ("domains.jsonl", b"x")), "twice"),
        (lambda good: raw_zip(*((entry(n, stat.S_IFLNK | 0o777) if n[:3] == "dom" else n, c) for n, c in good.items())), "no plain file"),
        (lambda good: raw_zip(*((n, c) for n, c in good.items() if n != "watches.jsonl")), "watches.jsonl is missing"),
        (lambda good: raw_zip(*((n.replace("index.html", "index.htm\0"), c) for n, c in good.items())), "none is called so"),
        (lambda good: raw_zip(*good.items())[:-30], "no ZIP file that KeyChest wrote"),
        (lambda good: raw_zip(*good.items()) + b"more", "something was added to its end"),
        (lambda _: b"", "no ZIP file"),
        (lambda _: b"name,port\n", "no ZIP file"),
        (lambda _: b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 9, 9, 400, 0, 0), "damaged"),
        (lambda _: b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 60_000, 60_000, 9, 0, 0), "60,000 members"),
        (lambda _: b"PK\x05\x06" + struct.pack("<4H2LH", 1, 0, 9, 9, 9, 0, 0), "a part of several"),
        (lambda _: b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, 9, 0, 0), "damaged"),
    ],
)  # fmt: skip
def test_an_archive_that_is_none_of_ours_is_refused(good: Path, tmp_path: Path, made: Hostile, words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of names that come twice
        (tmp_path / "bad.zip").write_bytes(made(members(good)))
    assert words in refusal(tmp_path / "bad.zip")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bad.zip"], "nothing is unpacked"


def test_what_is_encrypted_or_packed_otherwise_is_refused(good: Path, tmp_path: Path) -> None:
    raw = bytearray(raw_zip(*members(good).items()))
    first = raw.index(b"PK\x01\x02")
    raw[first + 8] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    assert "is encrypted" in refusal(tmp_path / "a.zip")
    raw[first + 8] &= 0xFE
    raw[first + 10] = 12  # bzip2
    (tmp_path / "a.zip").write_bytes(raw)
    assert "compressed in a way" in refusal(tmp_path / "a.zip")
    raw[first + 10] = 8
    second = raw.index(b"PK\x01\x02", first + 4)
    raw[second + 42 : second + 46] = raw[first + 42 : first + 46]
    (tmp_path / "a.zip").write_bytes(raw)
    assert "lies over another" in refusal(tmp_path / "a.zip")


def test_the_end_that_is_looked_at_is_the_end_that_is_read(good: Path, tmp_path: Path) -> None:
    """zipfile goes by the long end wherever there is one: a short end beside it, or a locator that leads elsewhere, does not deceive."""
    raw = raw_zip(*members(good).items())
    short, count = raw[-22:], 1_000_000
    long = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, 46 * count, 0)
    at = len(raw) - 22
    (tmp_path / "a.zip").write_bytes(raw[:-22] + long + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1) + short)
    assert "1,000,000 members" in refusal(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(raw[:-22] + long + long + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1) + short)
    assert "damaged" in refusal(tmp_path / "a.zip")


def test_a_certificate_is_never_larger_than_any_is(good: Path, tmp_path: Path) -> None:
    head, begin, *_ = members(good)["certificates.pem"].split(b"\n")
    pem = b"\n".join((head, begin, *[b"A" * (1 << 20)] * 24, b""))
    bad = changed(good, tmp_path / "bad.zip", {"certificates.pem": pem})
    tracemalloc.start()
    try:
        assert "certificates.pem is cut short" in refusal(bad)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_a_certificate_is_there_once(good: Path, tmp_path: Path) -> None:
    twice = {name: members(good)[name] * 2 for name in ("certificates.jsonl", "certificates.pem")}
    assert "twice, or out of order" in refusal(changed(good, tmp_path / "bad.zip", twice))


def test_what_looks_like_an_escape_is_text(good: Path, tmp_path: Path) -> None:
    """Six characters in a note are no NUL; a NUL behind a backslash is one."""
    first, *others = values(members(good)["domains.jsonl"])
    for note, kept in (("\\u0000", True), ("\\\\u0000", True), ("\\\0", False)):
        lines = b"".join(json.dumps(each).encode() + b"\n" for each in (first | {"note": note}, *others))
        (tmp_path / "a.zip").unlink(missing_ok=True)
        path = changed(good, tmp_path / "a.zip", {"domains.jsonl": lines})
        if kept:
            with open_bundle(path) as bundle:
                assert next(bundle.lines("domains.jsonl"))["note"] == note
        else:
            assert "no text may have" in refusal(path)


def test_bombs_cost_no_memory(good: Path, tmp_path: Path) -> None:
    zeros = b"\n" * (1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members(good).items():
            with archive.open(name, "w") as file:
                for _ in range(128 if name == "domains.jsonl" else 0):
                    file.write(zeros)
                file.write(content)
    with (tmp_path / "sparse.zip").open("wb") as file:
        file.truncate(10 << 30)
    long = changed(good, tmp_path / "long.zip", {"domains.jsonl": b'{"note":"' + b"a" * (3 << 20) + b'"}\n'})
    tracemalloc.start()
    try:
        assert "no export is so dense" in refusal(tmp_path / "bomb.zip")
        assert "10,737,418,240 bytes" in refusal(tmp_path / "sparse.zip")
        assert "a line of more than 1,048,576 bytes" in refusal(long)
        assert "and more" in refusal(good, Limits(all_bytes=1_000))
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("member", "content", "words"),
    [
        ("domains", b"\xff\n", "is not UTF-8"),
        ("domains", b"{\n", "is not JSON"),
        ("domains", b"\xef\xbb\xbf{}\n", "is not JSON"),
        ("domains", b"[]\n", "is no JSON object"),
        ("domains", b"[" * 200_000 + b"\n", "nested too deeply"),
        ("watches", b'{"name":"a.example","port":443,"port":444}\n', "names a field twice"),
        ("watches", b'{"port":NaN}\n', "not whole"),
        ("watches", b'{"port":4.5}\n', "not whole"),
        ("watches", b'{"port":12345678901234567890}\n', "too large"),
        ("domains", b'{"note":"\\ud800"}\n', "no text may have"),
        ("domains", b'{"note":"\\u0000"}\n', "no text may have"),
        ("domains", b"{}", "last line has no end"),
        ("domains", b"{}\n", "has not the fields"),
        ("account", b"", "has 0 lines instead of one"),
    ],
)  # fmt: skip
def test_a_line_that_readers_would_not_agree_on_is_refused(good: Path, tmp_path: Path, member: str, content: bytes, words: str) -> None:
    path = changed(good, tmp_path / "bad.zip", {f"{member}.{'json' if member == 'account' else 'jsonl'}": content})
    if member == "account":
        with open_bundle(path) as bundle, pytest.raises(BundleRefused, match=words):
            bundle.value("account.json")
    else:
        assert words in refusal(path)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"version": 2}, "a newer KeyChest"),
        ({"version": 0}, "has not the fields"),
        ({"version": "1"}, "its manifest says so"),
        ({"version": True}, "its manifest says so"),
        ({"format": "other"}, "its manifest says so"),
        ({"counts": []}, "has not the fields"),
        ({"account": "x"}, "has not the fields"),
    ],
)  # fmt: skip
def test_a_manifest_of_another_kind_is_refused(good: Path, tmp_path: Path, manifest: dict[str, object], words: str) -> None:
    assert words in refusal(changed(good, tmp_path / "bad.zip", manifest=manifest))


def test_what_no_export_has_is_ignored_and_told(good: Path, tmp_path: Path) -> None:
    path = with_more(good, tmp_path / "more.zip")
    with open_bundle(path, own_vkeys=[KEY.vkey]) as bundle:
        assert bundle.trust == "own"
        assert bundle.told == bundle.odd == (
            "Its member manifest.json has fields that no export has, which are ignored: owner.",
            "It has a member log.jsonl that no export has. It is ignored.",
        )  # fmt: skip
        assert "owner" not in bundle.manifest
        assert list(bundle.lines("domains.jsonl")) == values(members(good)["domains.jsonl"])
        assert bundle.told_of("domains.jsonl", "watches.jsonl") == [
            "Its member domains.jsonl has fields that no export has, which are ignored: account_ref, role."
        ]
    checked = check(path, KEY.vkey)
    assert checked.verdict == "genuine"
    assert sum("ignored" in each for each in checked.sentences) == 4


def test_many_fields_are_told_in_few_words(good: Path, tmp_path: Path) -> None:
    line = values(members(good)["account.json"])[0] | {f"field_{'x' * 300}_{number}": 1 for number in range(1_000)}
    path = changed(good, tmp_path / "a.zip", {"account.json": json.dumps(line).encode() + b"\n"})
    with open_bundle(path) as bundle:
        bundle.value("account.json")
        assert len(bundle.told_of("account.json")[0]) < 500
        assert bundle.told_of("account.json")[0].endswith(" and more.")


def test_what_was_put_in_after_it_was_signed_breaks_it(good: Path, tmp_path: Path) -> None:
    path = packed(tmp_path / "added.zip", members(good) | {"log.jsonl": b"{}\n"})
    with open_bundle(path, own_vkeys=[KEY.vkey]) as bundle:
        assert (bundle.trust, bundle.wrong) == ("broken", ("log.jsonl",))
    assert check(path, KEY.vkey).verdict == "not"


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_value_of_another_type_gets_through(good: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Type confusion: in each member, one field becomes something else, at any depth."""
    found = members(good)
    member = data.draw(st.sampled_from([each for each in SHAPES if each not in {MANIFEST, "certificates.jsonl"} and found[each]]))
    first, *others = found[member].split(b"\n")
    value = json.loads(first)
    path = data.draw(st.sampled_from(sorted(value)))
    day = "2026-13-01T00:00:00.000000Z"
    odd: st.SearchStrategy[object] = st.sampled_from([None, True, 0, -1, "", [], {}, [[]], {"a": 1}, "a" * 200_000, day, 10**15])
    value[path] = data.draw(odd)
    (tmp_path / "bad.zip").unlink(missing_ok=True)
    content = json.dumps(value).encode() + b"\n" + b"\n".join(others)
    bad = changed(good, tmp_path / "bad.zip", {member: content})
    with open_bundle(bad) as bundle:
        try:
            (line, *_) = list(bundle.lines(member))
        except BundleRefused:
            return
        assert SHAPES[member](line)
        assert type(line[path]) is type(json.loads(first)[path]) or line[path] is None or isinstance(line[path], str | dict | list)


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_goes_unnoticed(good: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes flipped or cut off anywhere: it is refused or told, never taken for genuine, and nothing but the two is raised."""
    raw = bytearray(good.read_bytes())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "bad.zip").write_bytes(raw)
    found = check(tmp_path / "bad.zip", KEY.vkey)
    if found.verdict == "genuine":  # what no reader looks at: times, versions and attributes in the ZIP's own headers
        assert members(tmp_path / "bad.zip") == members(good)


def run(*words: str) -> tuple[int, str]:
    ran = subprocess.run(
        (sys.executable, "-P", "-m", "core.exports", *words), cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return ran.returncode, ran.stdout + ran.stderr


def test_anybody_checks_and_compares_at_a_terminal(good: Path, tmp_path: Path) -> None:
    code, said = run("check", str(good))
    assert code == 0
    assert "trusted on first use" in said
    assert run("check", str(good), "--key", KEY.vkey)[0] == 0
    code, said = run("check", str(good), "--key", OTHER.vkey)
    assert (code, "does not know" in said) == (1, True)
    fewer = b"".join(line + b"\n" for line in members(good)["watches.jsonl"].splitlines()[1:])
    assert run("check", str(packed(tmp_path / "b.zip", members(good) | {"watches.jsonl": fewer})))[0] == 1
    assert run("check", str(tmp_path / "none.zip"))[0] == 2
    assert run("check", str(good), "--key", "nonsense")[0] == 2
    told = changed(good, tmp_path / "told.zip", manifest={"installation": "\x1b[2J\u202e"})
    assert all(char.isprintable() for char in run("check", str(told))[1].replace("\n", ""))
    assert run("compare", str(good), str(good)) == (0, "The second is the first come back whole.\n")
    code, said = run("compare", str(good), str(tmp_path / "b.zip"))
    assert (code, "watches.jsonl" in said) == (1, True)


def test_nothing_in_the_list_of_members_is_unread(good: Path) -> None:
    assert set(members(good)) == set(MEMBERS)
