"""What every target promises, asked of all three kinds: a folder, a real sshd, a real S3 server."""

from __future__ import annotations

import io
import os
import traceback
import tracemalloc
from collections.abc import Callable

import pytest

from core.targets import Entry, TargetError
from tests.core.targets.conftest import KINDS, Place, measure

MB = 1_000_000
every_kind = pytest.mark.parametrize("place", KINDS, indirect=True)


class Ends(io.BytesIO):
    """Content that breaks after its last octet."""

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if not block:
            raise RuntimeError("the dump ended too early")
        return block


class Made(io.RawIOBase):
    """So many octets, made as they are read, a few at a time as a pipe gives them."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.block = os.urandom(65_521)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        block = self.block[: min(size or 0, self.left)]
        self.left -= len(block)
        return block


def got(place: Place, name: str) -> bytes:
    into = io.BytesIO()
    stored = place.target.get(name, into)
    assert stored == measure(name, into.getvalue())
    return into.getvalue()


def kind_of(error: pytest.ExceptionInfo[TargetError]) -> str:
    """The kind, when the message is a sentence or more."""
    assert str(error.value)[-1] in ".!?"
    assert len(str(error.value).split(". ")) >= 3, "what happened, what was kept, what to do"
    return error.value.kind


@pytest.mark.slow
@every_kind
@pytest.mark.parametrize("size", [0, 1, 20 * MB])
def test_what_was_put_is_got_back(place: Place, size: int) -> None:
    content = os.urandom(size)
    assert place.target.put("backups/2026-01-31.age", io.BytesIO(content)) == measure("backups/2026-01-31.age", content)
    assert place.target.names() == [Entry("backups/2026-01-31.age", size)]
    assert got(place, "backups/2026-01-31.age") == content


@every_kind
@pytest.mark.parametrize("size", [1, 9 * MB])
def test_half_of_a_file_is_never_seen(place: Place, size: int) -> None:
    content = os.urandom(size)
    with pytest.raises(RuntimeError, match="the dump ended too early"):
        place.target.put("dump", Ends(content))
    assert place.target.names() == []
    with pytest.raises(TargetError) as error:
        place.target.get("dump", io.BytesIO())
    assert kind_of(error) == "missing"
    assert not error.value.again
    assert place.target.put("dump", io.BytesIO(content)) == measure("dump", content)
    assert got(place, "dump") == content


@every_kind
def test_putting_it_twice_is_putting_it_once(place: Place) -> None:
    first = place.target.put("dump", io.BytesIO(b"content"))
    assert place.target.put("dump", io.BytesIO(b"content")) == first == measure("dump", b"content")
    assert place.target.names() == [Entry("dump", 7)]


@every_kind
@pytest.mark.parametrize("other", [b"CONTENT", b"", b"content and more"])
def test_other_content_never_replaces_what_lies_there(place: Place, other: bytes) -> None:
    place.target.put("dump", io.BytesIO(b"content"))
    with pytest.raises(TargetError) as error:
        place.target.put("dump", io.BytesIO(other))
    assert kind_of(error) == "exists"
    assert not error.value.again
    assert got(place, "dump") == b"content"


class Overtaken(io.BytesIO):
    """Content that, at its end, is overtaken by another put of the same name: each has looked, and found the name free."""

    def __init__(self, content: bytes, put: Callable[[], object]) -> None:
        super().__init__(content)
        self.put = put
        self.overtaken = False

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if not block and not self.overtaken:
            self.overtaken = True
            self.put()
        return block


@every_kind
@pytest.mark.parametrize("size", [3000, 9 * MB])
def test_of_two_at_once_the_first_to_end_is_stored(place: Place, size: int) -> None:
    first, second = b"1" * size, b"2" * size
    with pytest.raises(TargetError) as error:
        place.target.put("dump", Overtaken(second, lambda: place.target.put("dump", io.BytesIO(first))))
    assert kind_of(error) == "exists"
    assert got(place, "dump") == first
    same = Overtaken(second, lambda: place.target.put("same", io.BytesIO(second)))
    assert place.target.put("same", same) == measure("same", second)
    assert same.overtaken
    assert got(place, "same") == second


@every_kind
def test_names_are_sorted_and_chosen_by_how_they_begin(place: Place) -> None:
    assert place.target.names() == []
    assert place.target.names("backups/") == []
    for name in ("backups/2026-02-01.age", "backups/2026-01-31.age", "backups/daily/a", "backups-old/a", "kit.pdf"):
        place.target.put(name, io.BytesIO(b"1234"))
    assert [entry.name for entry in place.target.names()] == [
        "backups-old/a",
        "backups/2026-01-31.age",
        "backups/2026-02-01.age",
        "backups/daily/a",
        "kit.pdf",
    ]
    assert [entry.name for entry in place.target.names("backups/")] == [
        "backups/2026-01-31.age",
        "backups/2026-02-01.age",
        "backups/daily/a",
    ]
    assert [entry.name for entry in place.target.names("backups/2026-02")] == ["backups/2026-02-01.age"]
    assert [entry.name for entry in place.target.names("backups")] == [
        "backups-old/a",
        "backups/2026-01-31.age",
        "backups/2026-02-01.age",
        "backups/daily/a",
    ]
    assert place.target.names("nothing/") == []
    assert place.target.names("kit.pdf/") == []


@every_kind
def test_removed_is_gone_and_what_is_gone_is_fine(place: Place) -> None:
    place.target.put("backups/a", io.BytesIO(b"a"))
    place.target.put("backups/b", io.BytesIO(b"b"))
    place.target.remove("backups/a")
    place.target.remove("backups/a")
    place.target.remove("nothing/here")
    place.target.remove("backups")
    assert place.target.names() == [Entry("backups/b", 1)]
    assert place.target.put("backups/a", io.BytesIO(b"other")) == measure("backups/a", b"other")


@every_kind
def test_a_bad_name_is_refused_before_anything_is_dialled(place: Place) -> None:
    beginnings = ["", "a/"]  # of names, as names() takes them
    bad = ["/", "/etc/passwd", "a//b", "..", "../a", "a/../b", "a/..", ".", "./a", ".hidden", "a/.b", "a b", "a\n", "ä", "a\\b", "a\0"]
    for name in (*bad, "a" * 201, "a/" * 401 + "a", *beginnings):
        with pytest.raises(ValueError, match="is no name for a file"):
            place.target.put(name, io.BytesIO(b"content"))
        with pytest.raises(ValueError, match="is no name for a file"):
            place.target.get(name, io.BytesIO())
        with pytest.raises(ValueError, match="is no name for a file"):
            place.target.remove(name)
        if name not in beginnings:
            with pytest.raises(ValueError, match="is no name for a file"):
                place.target.names(name)


@every_kind
def test_the_longest_name_is_borne(place: Place) -> None:
    name = "/".join(["a" * 199] * 4)
    assert place.target.put(name, io.BytesIO(b"content")) == measure(name, b"content")
    assert place.target.names() == [Entry(name, 7)]


@pytest.mark.slow
@every_kind
def test_memory_does_not_grow_with_the_content(place: Place) -> None:
    size = 80 * MB
    place.target.put("small", io.BytesIO(b"content"))  # what the libraries load once does not count
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        stored = place.target.put("large", Made(size))  # type: ignore[arg-type]  # a raw stream reads as a BinaryIO does
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert stored.bytes == size
    assert peak - before < 32 * MB, f"{(peak - before) / MB:.0f} MB more"
    place.target.remove("large")


@pytest.mark.slow
@every_kind
def test_putting_needs_no_right_to_delete(place: Place) -> None:
    content = os.urandom(MB)
    assert place.adds_only.put("backups/dump", io.BytesIO(content)) == measure("backups/dump", content)
    assert place.adds_only.put("backups/dump", io.BytesIO(content)) == measure("backups/dump", content)
    assert place.target.names() == [Entry("backups/dump", MB)]
    assert got(place, "backups/dump") == content


@every_kind
def test_wrong_credentials_are_told_without_their_secret(place: Place) -> None:
    for target in place.wrong:
        with pytest.raises(TargetError) as error:
            target.put("dump", io.BytesIO(b"content"))
        assert kind_of(error) == "refused"
        assert not error.value.again
        whole = "".join(traceback.format_exception(error.value)) + repr(target)
        assert not [secret for secret in place.secrets if secret in whole]
    assert place.target.names() == []
    assert len(place.wrong) == {"directory": 0, "sftp": 2, "s3": 3}[place.kind]


@every_kind
def test_a_file_is_no_folder(place: Place) -> None:
    place.target.put("backups/a", io.BytesIO(b"a"))
    if place.kind == "s3":  # a bucket has no folders
        assert place.target.put("backups/a/b", io.BytesIO(b"b")).bytes == 1
        return
    for name in ("backups/a/b", "backups/a/b/c", "backups"):
        with pytest.raises(TargetError) as error:
            place.target.put(name, io.BytesIO(b"b"))
        assert kind_of(error) == "exists", name
    for name in ("backups/a/b", "backups"):
        with pytest.raises(TargetError) as error:
            place.target.get(name, io.BytesIO())
        assert kind_of(error) == "missing", name
    assert place.target.names() == [Entry("backups/a", 1)]
