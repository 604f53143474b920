"""The ZIP around a bundle, looked at before anything in it is: archives come from anywhere, and are never unpacked onto a disk.

Members are read into memory piece by piece, by names that are known, and bytes are counted as they come, whatever a header says of them.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MOST_MEMBERS: Final = 64
MOST_DIRECTORY: Final = 1 << 16
_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_NO_ROOM, _NO_ROOM_64 = 0xFFFF, 0xFFFFFFFF
"""What stands in the short end where a number has no room in it (APPNOTE 4.4.1.4)."""
_BLOCK: Final = 1 << 18
_UNKNOWN: Final = re.compile(r"[a-z][a-z0-9_-]{0,40}\.(csv|html|json|jsonl|pem|sig|txt)").fullmatch
"""What a member may be called that no export has: it is told, and ignored. Any other name is no member's."""
_ENCRYPTED: Final = 0x1
_RATIO_FROM: Final = 64 << 20
_KEPT = "Nothing was changed."


class BundleRefused(ValueError):  # noqa: N818 - a refusal in words
    """The file is not taken. The message says what is wrong with it, what was kept, and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file may be, what is in it together, one line, and how much more than its compressed self a large member may become."""

    file_bytes: int = 2 << 30
    all_bytes: int = 16 << 30
    line_bytes: int = 1 << 20
    ratio: int = 200


LIMITS: Final = Limits()


def refused(what: str, then: str = "Export anew, or copy the file again.") -> BundleRefused:
    """A refusal of the whole file."""
    return BundleRefused(f"{what} {_KEPT} {then}")


def look(file: BinaryIO, size: int, limits: Limits) -> None:
    """Raises BundleRefused for what is no ZIP file, or has a table of contents that is not worth reading."""
    if size > limits.file_bytes:
        raise refused(f"This file has {size:,} bytes; an import takes {limits.file_bytes:,}.", "Export with less history.")
    if size < _END.size:
        raise refused("This is no ZIP file.")
    file.seek(size - _END.size)
    signature, disk, first, here, count, length, at, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06" or comment:
        raise refused("This is no ZIP file that KeyChest wrote, or it was cut short, or something was added to its end.")
    if disk or first or here != count:
        raise refused("This ZIP file is a part of several.")
    large = _large(file, size)
    if large is None and (count == _NO_ROOM or _NO_ROOM_64 in {length, at}):
        raise refused("The end of this ZIP file is damaged.")
    count, length = large or (count, length)
    if count > MOST_MEMBERS or length > MOST_DIRECTORY:
        raise refused(f"This ZIP file has {count:,} members, and no export has more than {MOST_MEMBERS}.")


def _large(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Members and length of the table of contents as the long end says, where there is one.

    `zipfile` goes by that, whatever the short one says, and looks for it right before the locator: one that lies elsewhere is refused.
    """
    at = size - _END.size - _LOCATOR.size
    if at < 0:
        return None
    file.seek(at)
    signature, _, where, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if signature != b"PK\x06\x07":
        return None
    if where == at - _END64.size:
        file.seek(where)
        end = _END64.unpack(file.read(_END64.size))
        if end[0] == b"PK\x06\x06":
            return end[7], end[8]
    raise refused("The end of this ZIP file is damaged.")


def open_archive(path: Path, allowed: frozenset[str], limits: Limits) -> zipfile.ZipFile:
    """The archive, whose members are plain files with these names or such as these, each once. Raises BundleRefused and OSError."""
    with path.open("rb") as file:
        look(file, path.stat().st_size, limits)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, EOFError, struct.error):
        raise refused("The table of contents of this ZIP file is damaged.") from None
    try:
        _require_plain(archive, allowed)
    except BundleRefused:
        archive.close()
        raise
    return archive


def _require_plain(archive: zipfile.ZipFile, allowed: frozenset[str]) -> None:
    seen: set[str] = set()
    end = 0
    for each in sorted(archive.infolist(), key=lambda each: each.header_offset):
        name = each.orig_filename
        if each.filename != name or (name not in allowed and not _UNKNOWN(name)):
            raise refused(f"This is no export of KeyChest: it has a member {name[:80]!r}, and none is called so.")
        if name in seen:
            raise refused(f"It has the member {name} twice, and nobody can say which is meant.")
        seen.add(name)
        mode = each.external_attr >> 16
        if stat.S_ISLNK(mode) or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
            raise refused(f"Its member {name} is no plain file.")
        if each.flag_bits & _ENCRYPTED:
            raise refused(f"Its member {name} is encrypted.", "Decrypt the file first.")
        if each.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise refused(f"Its member {name} is compressed in a way that no export is.")
        if each.header_offset < end:
            raise refused(f"Its member {name} lies over another one.")
        end = each.header_offset + each.compress_size


def blocks(archive: zipfile.ZipFile, member: str, limits: Limits) -> Iterator[bytes]:
    """A member's content, some at a time. Raises BundleRefused where it is damaged, or grows beyond all measure."""
    found = archive.getinfo(member)
    most = limits.all_bytes
    count = 0
    try:
        with archive.open(found) as file:
            while block := file.read(_BLOCK):
                count += len(block)
                if count > most or (count > _RATIO_FROM and count > limits.ratio * max(1, found.compress_size)):
                    raise refused(f"Its member {member} becomes {count:,} bytes and more: no export is so dense.")
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, UnicodeDecodeError):
        raise refused(f"Its member {member} is damaged.") from None


def lines(archive: zipfile.ZipFile, member: str, limits: Limits) -> Generator[bytes]:
    """A member's lines without their ends. Raises BundleRefused for one that is too long, or has no end."""
    rest = b""
    for block in blocks(archive, member, limits):
        *whole, rest = (rest + block).split(b"\n")
        if len(rest) > limits.line_bytes or any(len(each) > limits.line_bytes for each in whole):
            raise refused(f"Its member {member} has a line of more than {limits.line_bytes:,} bytes.")
        yield from whole
    if rest:
        raise refused(f"Its member {member} is cut short: its last line has no end.")
