"""What pgBackRest's words mean, where the real thing says them by chance only."""

from __future__ import annotations

import pytest

from core.backups.pgbackrest_program import trouble

FILE = "raised from local-1 protocol: unable to write '/r/backup/kc/20261125-122523F/bundle/1'"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (f"ERROR: [064]: {FILE}: [28] No space left on device", "full"),
        (f"ERROR: [064]: {FILE}", "full"),
        (f"ERROR: [064]: {FILE}: [2] No such file or directory", "full"),
        (f"ERROR: [064]: {FILE}: [5] Input/output error", "tool"),
    ],
    ids=["told", "no error", "another one's error", "broken disk"],
)
def test_a_write_that_came_to_its_end_is_a_full_disk(words: str, meant: str) -> None:
    assert trouble(64, words, doing="backup").trouble == meant


@pytest.mark.parametrize(
    ("code", "why", "meant"),
    [
        (99, "JsonFormatError: expected 'obj-b' but found 'str' at: \"a8?zn3\"", "damaged"),  # where a flipped bit falls is chance
        (42, "CryptoError: cipher header invalid", "damaged"),
        (55, "FileMissingError: unable to open missing file '/r/backup.manifest' for read", "missing"),
        (99, "FileOpenError: unable to open file: [5] Input/output error", "tool"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_told_as_what_it_is(code: int, why: str, meant: str) -> None:
    words = f"ERROR: [{code:03d}]: unable to load backup manifest file '/r/backup.manifest' or '/r/backup.manifest.copy': {why}"
    assert trouble(code, words, doing="restore").trouble == meant
