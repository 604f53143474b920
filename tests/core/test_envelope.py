"""Sealed secrets: they open where they were sealed, and nowhere else."""

import base64
import stat
import threading
from pathlib import Path

import pytest

from core.envelope import KeyFile, NotOpenedError, Place, read_keys

HERE = Place("acct1", "factors", "f1")


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "wrapping-keys")


def test_what_was_sealed_opens_at_its_place(keys: KeyFile) -> None:
    sealed = keys.seal(b"canary", HERE)
    assert keys.open(sealed, HERE) == b"canary"
    assert b"canary" not in base64.b64decode(sealed.split(".")[3])
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert keys.seal(b"canary", HERE) != sealed, "each record has a key and a nonce of its own"


@pytest.mark.parametrize(
    "elsewhere",
    [Place("acct2", "factors", "f1"), Place("acct1", "others", "f1"), Place("acct1", "factors", "f2"), Place("acct1f", "actors", "f1")],
)
def test_it_opens_at_no_other_place(keys: KeyFile, elsewhere: Place) -> None:
    with pytest.raises(NotOpenedError, match="changed, or moved"):
        keys.open(keys.seal(b"canary", HERE), elsewhere)


@pytest.mark.parametrize("part", [2, 3])
def test_one_changed_bit_anywhere_is_found(keys: KeyFile, part: int) -> None:
    parts = keys.seal(b"canary", HERE).split(".")
    content = base64.b64decode(parts[part])
    for at in range(len(content)):
        changed = bytes((*content[:at], content[at] ^ 1, *content[at + 1 :]))
        broken = [*parts[:part], base64.b64encode(changed).decode(), *parts[part + 1 :]]
        with pytest.raises(NotOpenedError):
            keys.open(".".join(broken), HERE)


def test_wrapped_keys_of_two_records_cannot_be_exchanged(keys: KeyFile) -> None:
    one, other = (keys.seal(secret, HERE).split(".") for secret in (b"one", b"other"))
    with pytest.raises(NotOpenedError):
        keys.open(".".join([*one[:3], other[3]]), HERE)


@pytest.mark.parametrize("sealed", ["", "2.a.b.c", "1.a.b", "1.a.!.!", "1.nobody.AAAA.AAAA"])
def test_what_was_never_sealed_is_told(keys: KeyFile, sealed: str) -> None:
    with pytest.raises(NotOpenedError, match=r"\w"):
        keys.open(sealed, HERE)


def test_a_rotation_wraps_anew_and_leaves_the_content_as_it_is(keys: KeyFile) -> None:
    sealed = keys.seal(b"canary", HERE)
    keys.rotate()
    assert keys.open(sealed, HERE) == b"canary"
    assert not keys.wrapped_by_newest(sealed)
    again = keys.rewrapped(sealed, HERE)
    assert keys.wrapped_by_newest(again)
    assert again.split(".")[3] == sealed.split(".")[3]
    assert len(read_keys(keys.path.read_bytes())) == 2
    keys.path.write_bytes(keys.path.read_bytes().splitlines(keepends=True)[0])
    assert keys.open(again, HERE) == b"canary"
    with pytest.raises(NotOpenedError, match="recovery kit"):
        keys.open(sealed, HERE)


def test_many_who_come_first_at_once_use_one_key(keys: KeyFile) -> None:
    begin, sealed = threading.Barrier(8), []

    def seal() -> None:
        begin.wait()
        sealed.append(keys.seal(b"canary", HERE))

    threads = [threading.Thread(target=seal) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [keys.open(each, HERE) for each in sealed] == [b"canary"] * 8
    assert sorted(path.name for path in keys.path.parent.iterdir()) == ["wrapping-keys"]


@pytest.mark.parametrize("content", [b"", b"name\n", b"name AAAA\n", b"\xff\xfe"])
def test_a_damaged_file_of_keys_is_told(keys: KeyFile, content: bytes) -> None:
    keys.path.write_bytes(content)
    with pytest.raises(NotOpenedError, match="damaged"):
        keys.seal(b"canary", HERE)


def test_rotations_at_once_write_no_key_away(keys: KeyFile) -> None:
    begin, sealed = threading.Barrier(8), []

    def rotate() -> None:
        begin.wait()
        for _ in range(5):
            keys.rotate()
            sealed.append(keys.seal(b"canary", HERE))

    threads = [threading.Thread(target=rotate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [keys.open(each, HERE) for each in sealed] == [b"canary"] * 40
    assert len(read_keys(keys.path.read_bytes())) == 41
