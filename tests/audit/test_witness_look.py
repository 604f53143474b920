"""One look at a log that does not hold still; what a look finds is in tests/cli/test_witness.py."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from audit.witness_look import COSIGNED, UNREAD, WRONG, Looked, UnreadError, look
from tests.witnessing import ORIGIN, make_log, make_witness

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
LOG = make_log()


def test_where_another_look_comes_between_it_looks_again(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, LOG.vkey)
    LOG.publish(tmp_path / "log", 9)
    asked: list[str] = []

    def fetch(path: str) -> bytes | None:
        asked.append(path)
        if path.startswith("tile") and asked.count("checkpoint") == 1:
            assert witness.add_checkpoint(LOG.request(5, 7), NOW).status == 200
        return (tmp_path / "log" / path).read_bytes()

    assert witness.add_checkpoint(LOG.request(0, 5), NOW).status == 200
    assert look(witness, fetch, NOW).verdict == COSIGNED
    assert asked.count("checkpoint") == 2
    assert witness.memory.read()[ORIGIN].size == 9


def test_where_the_log_grows_meanwhile_it_looks_again_and_not_for_ever(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, LOG.vkey)
    assert witness.add_checkpoint(LOG.request(0, 5), NOW).status == 200
    size = 8

    def growing(path: str) -> bytes | None:
        nonlocal size
        if path == "checkpoint":
            size += 1
            return LOG.note(size).raw
        return None

    found = look(witness, growing, NOW)
    assert (found.verdict, size, found.note) == (UNREAD, 11, b"")
    assert found.words.startswith("tile/0/000.p/11 is not there")


def test_what_is_not_the_logs_is_no_evidence_against_it(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, LOG.vkey)
    assert witness.add_checkpoint(LOG.request(0, 5), NOW).status == 200
    stranger = make_log(key=bytes([9] * 32))
    assert look(witness, lambda _: stranger.note(3).raw, NOW).verdict == WRONG
    assert not (tmp_path / "state.evidence").exists()


def test_a_state_or_a_log_that_cannot_be_read_is_said_in_words(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, LOG.vkey)

    def unread(path: str) -> bytes | None:
        raise UnreadError(f"{path} is far away.")

    assert look(witness, unread, NOW) == Looked(UNREAD, "checkpoint is far away. Nothing was cosigned.")
    (tmp_path / "state").unlink()
    found = look(witness, lambda _: LOG.note(3).raw, NOW)
    assert (found.verdict, "Nothing is cosigned" in found.words) == (UNREAD, True)
    (tmp_path / "state").mkdir()
    assert look(witness, lambda _: LOG.note(3).raw, NOW) == Looked(
        UNREAD, f"{tmp_path / 'state'} could not be read or written (Is a directory). Nothing was cosigned."
    )
