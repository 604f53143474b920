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
