import gzip
import hashlib
import io
import random
import tracemalloc
import zlib
from collections.abc import Sequence
from typing import BinaryIO, cast

import pyrage
import pytest
from pyrage import x25519

from core import seal
from core.seal import Identity, Recipient, Sealed, SealError, Unsealed

MINE, THEIRS, STRANGER = (seal.make_identity() for _ in range(3))
BOTH = (seal.recipient_of(MINE), seal.recipient_of(THEIRS))


def sealed(plain: bytes, recipients: Sequence[Recipient] = BOTH, *, compress: bool = True) -> tuple[bytes, Sealed]:
    into = io.BytesIO()
    told = seal.seal(io.BytesIO(plain), into, recipients, compress=compress)
    return into.getvalue(), told


def opened(content: bytes, *identities: Identity) -> bytes:
    into = io.BytesIO()
    told = seal.unseal(io.BytesIO(content), into, identities or (MINE,))
    plain = into.getvalue()
    assert told == Unsealed(len(plain), hashlib.sha256(plain).hexdigest())
    return plain


def trouble(content: bytes, plain: bytes, identity: Identity = MINE, sealed_bytes: int = 0) -> str:
    """Why it cannot be opened. What came out before that is a beginning of what was sealed, never anything else."""
    into = io.BytesIO()
    with pytest.raises(SealError) as caught:
        seal.unseal(io.BytesIO(content), into, [identity], sealed_bytes=sealed_bytes)
    assert plain.startswith(into.getvalue())
    assert str(caught.value).endswith(".")
    return caught.value.trouble


@pytest.mark.slow
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("size", [0, 1, 2, 65_536, 20_000_000])
def test_what_was_sealed_comes_back(size: int, compress: bool) -> None:
    plain = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    content, told = sealed(plain, compress=compress)
    assert told == Sealed(len(content), hashlib.sha256(content).hexdigest(), size, hashlib.sha256(plain).hexdigest())
    assert opened(content) == plain
    assert content.startswith(b"age-encryption.org/v1\n")
    if size == 20_000_000:
        assert (len(content) < 0.6 * size) is compress


@pytest.mark.parametrize(
    "plain", [b"\x1f", b"\x1f\x8b", gzip.compress(b"inner", mtime=0), b"\x1f\x8b and no gzip"], ids=["half", "start", "gzip", "no gzip"]
)
@pytest.mark.parametrize("compress", [True, False])
def test_what_looks_like_gzip_itself_comes_back_as_it_was(plain: bytes, compress: bool) -> None:
    assert opened(sealed(plain, compress=compress)[0]) == plain


def test_each_recipient_opens_it_alone_and_nobody_else_does() -> None:
    content, _ = sealed(b"rows")
    assert opened(content, MINE) == opened(content, THEIRS) == opened(content, STRANGER, THEIRS) == b"rows"
    assert trouble(content, b"rows", STRANGER) == "wrong key"
    only_theirs, _ = sealed(b"rows", BOTH[1:])
    assert trouble(only_theirs, b"rows", MINE) == "wrong key"


def test_it_is_age_with_gzip_inside_so_that_others_can_open_it() -> None:
    content, _ = sealed(b"rows")
    assert gzip.decompress(pyrage.decrypt(content, [x25519.Identity.from_str(MINE)])) == b"rows"
    assert pyrage.decrypt(sealed(b"{}", compress=False)[0], [x25519.Identity.from_str(MINE)]) == b"{}"


def test_forty_of_forty_flipped_bits_are_found() -> None:
    plain = random.Random(4).randbytes(500_000)
    content, _ = sealed(plain)
    found = []
    for number in range(40):
        flipped = bytearray(content)
        flipped[number * (len(content) - 1) // 39] ^= 1 << number % 8
        found.append(trouble(bytes(flipped), plain))
    assert len(found) == 40
    assert found.count("damaged") >= 38, "all but the one or two in the first lines"


def test_every_flipped_byte_of_the_first_lines_is_found() -> None:
    content, _ = sealed(b"rows")
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        trouble(bytes(flipped), b"rows")


def test_a_stream_that_was_cut_is_told() -> None:
    plain = random.Random(5).randbytes(1_000_000)
    content, told = sealed(plain)
    for tenth in range(10):
        cut = content[: len(content) * tenth // 10]
        assert trouble(cut, plain) in {"truncated", "damaged"}
        assert trouble(cut, plain, sealed_bytes=told.bytes) == "truncated"
    header = content.index(b"\n--- ") + len("\n--- ") + 43 + len("\n")
    for pieces in range(1, 5):  # where one piece ends and the next begins, nothing else would tell
        assert trouble(content[: header + 16 + pieces * (65_536 + 16)], plain) == "truncated"
    assert trouble(content + b"\n", plain) == "damaged"
    assert trouble(content[:-1] + bytes([content[-1] ^ 1]), plain, sealed_bytes=told.bytes) == "damaged", "nothing is missing"


@pytest.mark.parametrize(
    ("inner", "named"),
    [
        (gzip.compress(b"rows") + b"more", "damaged"),
        (gzip.compress(b"rows") + gzip.compress(b"more"), "damaged"),
        (gzip.compress(b"rows")[:-1], "truncated"),
        (gzip.compress(b"rows")[:-5] + b"\0\0\0\0\0", "damaged"),
        (b"\x1f\x8b and no gzip", "damaged"),
    ],
    ids=["more", "two", "short", "wrong size", "no gzip"],
)
def test_gzip_that_is_not_whole_is_refused(inner: bytes, named: str) -> None:
    """Anybody who has a recipient can seal anything to it."""
    content = pyrage.encrypt(inner, [x25519.Recipient.from_str(BOTH[0])])
    assert trouble(content, b"rows") == named


def test_errors_of_the_streams_come_through_as_they_are() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

        def write(self, piece: object) -> int:
            raise OSError(28, "No space left on device")

    class Short(io.BytesIO):
        def write(self, piece: bytes) -> int:  # type: ignore[override]  # narrower than the library's, as it is called
            return len(piece) - 1

    content, _ = sealed(b"rows" * 100)
    for error, source, into in ((28, io.BytesIO, Broken), (5, Broken, io.BytesIO), (5, io.BytesIO, Short)):
        with pytest.raises(OSError, match=r"\[Errno ") as caught:
            seal.seal(source(b"rows"), into(), BOTH)
        assert caught.value.errno == error
        with pytest.raises(OSError, match=r"\[Errno ") as caught:
            seal.unseal(source(content), into(), [MINE])
        assert caught.value.errno == error


@pytest.mark.parametrize("size", [0, 1, 4, 100_000])
def test_a_write_that_fails_is_never_taken_for_one_that_went_well(size: int) -> None:
    """The library itself drops an error of the last write of a short stream."""

    class Full(io.BytesIO):
        def __init__(self, fails_at: int) -> None:
            super().__init__()
            self.writes, self.fails_at = 0, fails_at

        def write(self, piece: bytes) -> int:  # type: ignore[override]  # narrower than the library's, as it is called
            self.writes += 1
            if self.writes == self.fails_at:
                raise OSError(28, "No space left on device")
            return super().write(piece)

    plain = random.Random(size).randbytes(size)
    counting = Full(0)
    seal.seal(io.BytesIO(plain), counting, BOTH)
    assert counting.writes >= 1
    for number in range(1, counting.writes + 1):
        with pytest.raises(OSError, match="No space left"):
            seal.seal(io.BytesIO(plain), Full(number), BOTH)
    reading = Full(0)
    content, _ = sealed(plain, compress=False)
    seal.unseal(io.BytesIO(content), reading, [MINE])
    for number in range(1, reading.writes + 1):
        with pytest.raises(OSError, match="No space left"):
            seal.unseal(io.BytesIO(content), Full(number), [MINE])


def test_sealing_to_nobody_is_refused() -> None:
    into = io.BytesIO()
    with pytest.raises(ValueError, match="no recipient"):
        seal.seal(io.BytesIO(b"rows"), into, [])
    assert into.getvalue() == b""


class Flowing(io.RawIOBase):
    """A stream of `size` bytes that never lie in memory together; written to, it counts and hashes."""

    def __init__(self, size: int = 0) -> None:
        self.left = size
        self.taken = 0
        self.sha256 = hashlib.sha256()
        self.pattern = random.Random(6).randbytes(1 << 15) + bytes(1 << 15)

    def read(self, size: int = -1) -> bytes:
        piece = self.pattern[: min(size, self.left)]
        self.left -= len(piece)
        return piece

    def write(self, piece: bytes) -> int:  # type: ignore[override]  # narrower than the library's, as it is called
        self.taken += len(piece)
        self.sha256.update(piece)
        return len(piece)


def peak_of(run: object) -> int:
    assert callable(run)
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_stays_flat_over_200_megabytes(tmp_path: object) -> None:
    size = 200_000_000
    with open(f"{tmp_path}/sealed", "w+b") as file:  # noqa: PTH123 - a file that is written and then read
        told: list[Sealed] = []
        assert peak_of(lambda: told.append(seal.seal(cast("BinaryIO", Flowing(size)), file, BOTH))) < 16_000_000
        file.seek(0)
        into = Flowing()
        assert peak_of(lambda: seal.unseal(file, cast("BinaryIO", into), [THEIRS])) < 16_000_000
    assert (into.taken, into.sha256.hexdigest()) == (size, told[0].plain_sha256)


@pytest.mark.slow
def test_memory_stays_flat_for_zeros_too() -> None:
    """64 KiB of gzip may stand for 64 MiB."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    content = pyrage.encrypt(bomb, [x25519.Recipient.from_str(BOTH[0])])
    into = Flowing()
    assert peak_of(lambda: seal.unseal(io.BytesIO(content), cast("BinaryIO", into), [MINE])) < 16_000_000
    assert into.taken == 100 << 20


def test_keys_are_read_as_people_write_them() -> None:
    assert seal.read_recipient(f" {BOTH[0]}\n") == BOTH[0]
    assert seal.read_identity(f" {MINE}\n") == MINE
    assert seal.recipient_of(MINE) != seal.recipient_of(THEIRS)
    assert seal.fingerprint(BOTH[0]) == hashlib.sha256(BOTH[0].encode()).hexdigest()[:16] == seal.fingerprint(BOTH[0].encode())
    for wrong in ("", "age1", BOTH[0][:-1], "ssh-ed25519 AAAA", MINE, MINE.lower()):
        with pytest.raises(ValueError, match="age1 and 58 letters and digits") as refused:
            seal.read_recipient(wrong)
        assert not wrong or len(wrong) < 5 or wrong not in str(refused.value)
    for wrong in ("", "AGE-SECRET-KEY-1", MINE[:-1], BOTH[0]):
        with pytest.raises(ValueError, match="AGE-SECRET-KEY-1") as refused:
            seal.read_identity(wrong)
        assert len(wrong) < 20 or wrong not in str(refused.value)
