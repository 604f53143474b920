"""Places where backups are put: a folder, a server by SFTP, a bucket by S3; one interface, one conformance suite.

All that is put has been sealed for its recipients before, so no target is trusted with what a backup says, only with keeping it.

- Directory (directory.py): trusted to keep files like the machine's own disk; its thief has sealed files, can delete them all, and can
  put others in their place, which their digests in the database betray.
- SFTP (sftp.py): trusted to keep files, and only as the host key that known_hosts names; its thief has sealed files and can delete or
  change them, and the thief of our key can do what the server lets that key do: let it be no more than adding.
- S3 (s3.py): trusted to keep objects and to hold to If-None-Match; its thief has sealed objects and can delete or change them, and the
  thief of our credentials can do what their policy allows: leave s3:DeleteObject out of it, and lock the objects (Object Lock).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO
from urllib.parse import SplitResult, urlsplit

from core.targets.target import Entry, Stored, Target, TargetError

__all__ = ["Entry", "Stored", "Target", "TargetError", "open_target", "put_again"]


def open_target(url: str) -> Target:
    """The target at this address; nothing is dialled or made. Raises ValueError, in plain words, for an address that cannot be read.

    file:///backups/keychest | sftp://user[:password]@host[:22]/folder?known_hosts=/path[&key=/path] (/~/folder: below the login folder)
    | s3://[KEY:SECRET@]bucket[/prefix][?region=eu-central-1][&endpoint=https://minio.example.org]. In user, password, key and secret
    ":", "/", "?", "#", "@" and "%" are written as %3A, %2F, %3F, %23, %40 and %25.
    """
    # The two libraries are large, and a folder needs neither: each is imported when its target is asked for.
    parts = _split(url)
    match parts.scheme:
        case "file":
            from core.targets.directory import DirectoryTarget

            return DirectoryTarget.at(parts)
        case "sftp":
            from core.targets.sftp import SftpTarget

            return SftpTarget.at(parts)
        case "s3":
            from core.targets.s3 import S3Target

            return S3Target.at(parts)
    raise ValueError("A target begins with file://, sftp:// or s3://, for example file:///backups/keychest.")


def _split(url: str) -> SplitResult:
    # What Python says of a broken URL may quote a part of a password: it is not passed on.
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - asked for the error
    except ValueError:
        parts = None
    if parts is None or parts.fragment or ("@" in parts.path + parts.query and "@" not in parts.netloc):
        raise ValueError(
            "This target's address cannot be read. A password or secret is written with %2F for /, %23 for #, %3F for ?, %40 for @, "
            "%3A for : and %25 for %, for example s3://KEY:abc%2Fdef@bucket/keychest."
        )
    return parts


def put_again(target: Target, name: str, open_content: Callable[[], BinaryIO], *, tries: int = 4, pause: Callable[[float], None]) -> Stored:
    """Put what `open_content` opens, anew for each of `tries`, while trying again may help. `pause` waits 1, 2, 4 ... seconds between.

    Raises the last TargetError; one that will not pass by itself at once.
    """
    for done in range(1, tries):
        try:
            with open_content() as content:
                return target.put(name, content)
        except TargetError as error:
            if not error.again:
                raise
        pause(float(2 ** (done - 1)))
    with open_content() as content:
        return target.put(name, content)
