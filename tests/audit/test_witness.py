"""A witness by the words of C2SP's tlog-witness: every answer, what it keeps, and what it does not do whatever it is shown."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import COSIGNATURE, Checkpoint, Note, NoteError, Signature, Verifier, public_of, read_signatures, sign, time_of
from audit.witness import Answer, Request, Witness, known_logs
from audit.witness_files import MOST_EVIDENCE, Memory, Seen, WitnessError, make_key, read_key
from tests.conftest import ROOT
from tests.witnessing import ORIGIN, WITNESS, make_log, make_witness

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
WORDS, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"
LOG = make_log()
FORK = make_log(fork_at=3)
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HASH = base64.b64encode(bytes(32)) + b"\n"


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    """One that saw 5 entries."""
    found = make_witness(tmp_path, LOG.vkey)
    assert found.add_checkpoint(LOG.request(0, 5), NOW).status == 200
    return found


def seen(witness: Witness) -> int:
    kept = witness.memory.read().get(ORIGIN)
    return kept.size if kept else 0


def evidence(witness: Witness) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in witness.memory.path.parent.glob("state.evidence/*"))


def held(witness: Witness, answer: Answer, size: int) -> Signature:
    """The one line of an answer; it is a cosignature of this size."""
    assert (answer.status, answer.content_type) == (200, WORDS)
    (line,) = read_signatures(answer.body.decode())
    assert answer.body.decode() == line.line
    key = public_of(witness.key, witness.name, COSIGNATURE)
    assert (line.name, line.key_id) == (WITNESS, key.id)
    assert key.holds(LOG.checkpoint(size).text, line.bytes)
    return line


def test_it_cosigns_what_goes_on_from_what_it_saw(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, LOG.vkey)
    for old, size in ((0, 0), (0, 1), (1, 2), (2, 7), (7, 8), (8, 33), (33, 33), (33, 40)):
        at = NOW + timedelta(seconds=size)
        line = held(witness, witness.add_checkpoint(LOG.request(old, size), at), size)
        assert time_of(line.bytes) == int(at.timestamp())
        kept = json.loads((tmp_path / "state").read_text())
        root = base64.b64encode(LOG.checkpoint(size).root).decode()
        assert kept == {ORIGIN: {"size": size, "root": root, "note": LOG.note(size).raw.decode(), "at": int(at.timestamp())}}
    assert Verifier.read(witness.vkey) == public_of(witness.key, WITNESS, COSIGNATURE)
    assert evidence(witness) == []


def test_each_log_is_remembered_by_itself(witness: Witness, tmp_path: Path) -> None:
    two = make_log("log.example/two")
    both = make_witness(tmp_path, LOG.vkey, two.vkey)
    assert both.add_checkpoint(two.request(0, 3), NOW).status == 200
    assert {origin: each.size for origin, each in both.memory.read().items()} == {ORIGIN: 5, two.origin: 3}
    assert two.origin not in witness.logs
    held(witness, witness.add_checkpoint(LOG.request(5, 7), NOW), 7)
    assert both.memory.read()[two.origin].size == 3, "also one that is not watched for now"


def wrong_size(size: int) -> bytes:
    """A signed checkpoint of 7 whose note says something else of its size."""
    text = LOG.checkpoint(7).text.replace("\n7\n", f"\n0{size}\n")
    return b"old 5\n\n" + Note(text, (sign(text, ORIGIN, LOG.key),)).raw


GOOD = LOG.request(5, 7)
MALFORMED = {
    "nothing": b"",
    "no old": GOOD.partition(b"\n")[2],
    "leading zero": GOOD.replace(b"old 5", b"old 05"),
    "two zeros": LOG.request(0, 7).replace(b"old 0", b"old 00"),
    "minus": GOOD.replace(b"old 5", b"old -5"),
    "plus": GOOD.replace(b"old 5", b"old +5"),
    "other digits": GOOD.replace(b"old 5", "old \u0665".encode()),
    "two spaces": GOOD.replace(b"old 5", b"old  5"),
    "space after": GOOD.replace(b"old 5", b"old 5 "),
    "capital": GOOD.replace(b"old 5", b"Old 5"),
    "carriage returns": GOOD.replace(b"\n", b"\r\n"),
    "huge": GOOD.replace(b"old 5", b"old 99999999999999999999"),
    "no blank line": GOOD.replace(b"\n\n", b"\n"),
    "blank line before the proof": GOOD.replace(b"old 5\n", b"old 5\n\n"),
    "no newline at the end": GOOD[:-1],
    "garbage at the end": GOOD + b"x",
    "a line at the end": GOOD + b"x\n",
    "an empty line at the end": GOOD + b"\n",
    "no base64": GOOD.replace(b"old 5\n", b"old 5\n!!!!\n"),
    "not canonical": GOOD.replace(b"old 5\n", b"old 5\n" + b"A" * 42 + b"B=\n"),
    "short hash": GOOD.replace(b"old 5\n", b"old 5\nAAAA\n"),
    "64 lines": GOOD.replace(b"old 5\n", b"old 5\n" + HASH * (64 - len(LOG.proof(5, 7)))),
    "size with zero": wrong_size(7),
    "no signature": GOOD.rpartition("\u2014".encode())[0],
    "not UTF-8": GOOD.replace(ORIGIN.encode(), b"\xff"),
    "old is larger": LOG.request(5, 5).replace(b"old 5", b"old 6"),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_400_and_changes_nothing(witness: Witness, body: bytes) -> None:
    answer = witness.add_checkpoint(body, NOW)
    assert (answer.status, answer.content_type, answer.body[-2:]) == (400, WORDS, b".\n")
    assert seen(witness) == 5
    assert evidence(witness) == []


def test_63_lines_are_a_proof_and_64_are_not(witness: Witness) -> None:
    fill = HASH * (63 - len(LOG.proof(5, 7)))
    assert witness.add_checkpoint(GOOD.replace(b"old 5\n", b"old 5\n" + fill), NOW).status == 422
    assert witness.add_checkpoint(GOOD.replace(b"old 5\n", b"old 5\n" + fill + HASH), NOW).status == 400


def test_unknown_origin_is_404_and_no_trusted_signature_403(witness: Witness) -> None:
    stranger = make_log("log.example/two")
    assert witness.add_checkpoint(stranger.request(0, 5), NOW) == Answer(
        404, WORDS, b"This witness does not know the log of that origin.\n"
    )
    said = b"The checkpoint is not signed by a key that this witness knows of that log.\n"
    assert witness.add_checkpoint(LOG.request(5, 7, [OTHER]), NOW) == Answer(403, WORDS, said)
    text = LOG.checkpoint(7).text
    changed = replace(sign(text, ORIGIN, LOG.key), bytes=bytes(64))
    answer = witness.add_checkpoint(Request(5, tuple(LOG.proof(5, 7)), Note(text, (changed,)), LOG.checkpoint(7)).raw, NOW)
    assert (answer.status, b"does not hold" in answer.body) == (403, True)
    named_otherwise = Note(text, (sign(text, "log.example/other-name", LOG.key),))
    assert witness.add_checkpoint(Request(5, (), named_otherwise, LOG.checkpoint(7)).raw, NOW).status == 403
    assert seen(witness) == 5
    held(witness, witness.add_checkpoint(LOG.request(5, 7, [OTHER, LOG.key]), NOW), 7)
    assert Note.read(witness.memory.read()[ORIGIN].note.encode()).signatures == LOG.note(7).signatures, "a stranger's line is not kept"


def test_a_key_follows_another(tmp_path: Path) -> None:
    both = make_witness(tmp_path, LOG.vkey, public_of(OTHER, ORIGIN).vkey, LOG.vkey)
    assert [len(keys) for keys in both.logs.values()] == [2]
    held(both, both.add_checkpoint(LOG.request(0, 3), NOW), 3)
    held(both, both.add_checkpoint(LOG.request(3, 6, [LOG.key, OTHER]), NOW), 6)
    after = make_witness(tmp_path, public_of(OTHER, ORIGIN).vkey)
    held(after, after.add_checkpoint(LOG.request(6, 9, [OTHER]), NOW), 9)
    assert after.add_checkpoint(LOG.request(9, 12), NOW).status == 403
    with pytest.raises(NoteError, match="key of a witness"):
        known_logs([both.vkey])


@pytest.mark.parametrize(("old", "size"), [(0, 7), (4, 7), (6, 7), (0, 5), (4, 5), (3, 3), (0, 0)])
def test_an_old_size_that_is_not_its_own_is_409_with_the_size(witness: Witness, old: int, size: int) -> None:
    assert witness.add_checkpoint(LOG.request(old, size), NOW) == Answer(409, SIZE, b"5\n")
    assert evidence(witness) == []


def test_a_log_that_was_never_cosigned_has_size_0(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, LOG.vkey)
    assert witness.add_checkpoint(LOG.request(4, 7), NOW) == Answer(409, SIZE, b"0\n")
    text = Checkpoint(ORIGIN, 0, bytes(32)).text
    assert witness.add_checkpoint(b"old 0\n\n" + Note(text, (sign(text, ORIGIN, LOG.key),)).raw, NOW).status == 409
    assert witness.add_checkpoint(b"old 0\n" + HASH + b"\n" + LOG.note(7).raw, NOW).status == 422
    assert seen(witness) == 0
    held(witness, witness.add_checkpoint(LOG.request(0, 7), NOW), 7)


@pytest.mark.parametrize(("old", "status", "type_", "body"), [(5, 409, WORDS, None), (0, 409, SIZE, b"5\n")])
def test_another_root_of_the_same_size_is_409_and_evidence(
    witness: Witness, old: int, status: int, type_: str, body: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    answer = witness.add_checkpoint(FORK.request(old, 5), NOW)
    assert (answer.status, answer.content_type) == (status, type_)
    assert body in {None, answer.body}
    (path,) = witness.memory.path.parent.glob("state.evidence/*")
    told = json.loads(path.read_text())
    assert (told["shown"], told["cosigned_before"]) == (FORK.note(5).raw.decode(), LOG.note(5).raw.decode())
    assert f"EVIDENCE against {ORIGIN}" in caplog.text
    for each in (told["shown"], told["cosigned_before"]):
        assert Note.read(each.encode()).signed_by([Verifier.read(LOG.vkey)]), "both sides can be shown to anybody"
    assert seen(witness) == 5


def test_an_inconsistent_proof_is_422_and_evidence(witness: Witness) -> None:
    assert witness.add_checkpoint(FORK.request(5, 9), NOW).status == 422
    bent = LOG.request(5, 9).replace(base64.b64encode(LOG.proof(5, 9)[0]), HASH.strip())
    assert witness.add_checkpoint(bent, NOW).status == 422
    more = LOG.request(5, 5).replace(b"old 5\n", b"old 5\n" + HASH)
    assert witness.add_checkpoint(more, NOW).status == 422
    assert evidence(witness) == ["proof"] * 3
    assert seen(witness) == 5
    held(witness, witness.add_checkpoint(LOG.request(5, 9), NOW), 9)


def test_evidence_is_bounded_by_kind(witness: Witness) -> None:
    fork = make_log(fork_at=3, entries=80)
    bodies = [fork.request(5, 6 + each) for each in range(MOST_EVIDENCE + 3)]
    assert witness.add_checkpoint(bodies[0], NOW).status == 422
    (first,) = witness.memory.path.parent.glob("state.evidence/*")
    as_it_was = first.stat().st_ino
    assert {witness.add_checkpoint(body, NOW).status for body in bodies + bodies[:4]} == {422}
    assert evidence(witness) == ["proof"] * MOST_EVIDENCE
    assert first.stat().st_ino == as_it_was, "what is shown again is kept as it was the first time"
    assert witness.add_checkpoint(FORK.request(5, 5), NOW).status == 409
    assert evidence(witness) == ["fork"] + ["proof"] * MOST_EVIDENCE, "whoever makes up proofs shuts out no fork"


def test_a_clock_that_is_set_back_gives_no_earlier_time(witness: Witness) -> None:
    back = witness.add_checkpoint(LOG.request(5, 7), NOW - timedelta(days=400))
    assert time_of(held(witness, back, 7).bytes) == int(NOW.timestamp())
    on = witness.add_checkpoint(LOG.request(7, 7), NOW + timedelta(seconds=9))
    assert time_of(held(witness, on, 7).bytes) == int(NOW.timestamp()) + 9


def spoilt(raw: bytes) -> dict[str, bytes | None]:
    told = json.loads(raw)
    other = {ORIGIN: told[ORIGIN] | {"size": 4}}
    return {
        "empty": b"", "half": raw[: len(raw) // 2], "zeros": bytes(len(raw)), "gone": None, "list": b"[]", "no object": b'{"a": 1}',
        "another size": json.dumps(other).encode(), "another root": raw.replace(told[ORIGIN]["root"].encode(), HASH.strip(), 1),
        "another origin": raw.replace(ORIGIN.encode(), b"log.example/two", 1), "a time of no kind": raw.replace(b'"at": 1', b'"at": -1'),
        "true for a number": json.dumps({ORIGIN: told[ORIGIN] | {"at": True}}).encode(), "a field less": raw.replace(b'"at"', b'"ta"'),
        "a field more": raw.replace(b'"at"', b'"more": 1, "at"'),
    }  # fmt: skip


def test_a_damaged_state_refuses_everything_and_stays_as_it_is(witness: Witness) -> None:
    path = witness.memory.path
    whole = path.read_bytes()
    for how, raw in spoilt(whole).items():
        path.unlink()
        if raw is not None:
            path.write_bytes(raw)
        for body in (LOG.request(5, 7), LOG.request(0, 7), FORK.request(0, 5)):
            answer = witness.add_checkpoint(body, NOW)
            assert (answer.status, b"Nothing is cosigned" in answer.body) == (500, True), how
        assert (path.read_bytes() if path.exists() else None) == raw, how
        path.write_bytes(whole)
    held(witness, witness.add_checkpoint(LOG.request(5, 7), NOW), 7)


def test_what_cannot_be_written_is_not_cosigned(witness: Witness) -> None:
    (witness.memory.path.parent / "state.new").mkdir()
    assert witness.add_checkpoint(GOOD, NOW) == Answer(500, WORDS, b"The state could not be read or written. Nothing was cosigned.\n")
    assert seen(witness) == 5


OPENED = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from audit import witness_files
from audit.witness import Witness, known_logs
folder, vkey = Path(sys.argv[1]), sys.argv[2]
witness = Witness(*witness_files.read_key(folder / "key"), known_logs([vkey]), witness_files.Memory(folder / "state"))
"""
RACE = """
for step in range(1, 21):
    print(step, witness.add_checkpoint((folder / f"step-{step}").read_bytes(), datetime.now(UTC)).status)
"""
KILLED = """
def die(*_): os.kill(os.getpid(), 9)
if sys.argv[3] == "failed and not persisted":
    Path.replace = die
else:
    witness_files.flush_folder = die
print(witness.add_checkpoint((folder / "body").read_bytes(), datetime.now(UTC)).body, flush=True)
"""


def child(script: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OPENED + script, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_of_eight_threads_with_the_same_old_size_one_wins_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness, read = make_witness(tmp_path, LOG.vkey), Memory.read

    def slowly(memory: Memory) -> dict[str, Seen]:
        found = read(memory)
        time.sleep(0.002)  # who read before another one wrote would show
        return found

    monkeypatch.setattr(Memory, "read", slowly)
    with ThreadPoolExecutor(8) as pool:
        while (old := seen(witness)) < 9:
            bodies = [LOG.request(old, old + 1 + each % 2) for each in range(8)]
            answers = list(pool.map(lambda body: witness.add_checkpoint(body, NOW), bodies))
            assert Counter(answer.status for answer in answers) == {200: 1, 409: 7}
            assert {answer.body for answer in answers if answer.status == 409} == {f"{seen(witness)}\n".encode()}


@pytest.mark.slow
def test_of_four_processes_with_the_same_old_size_one_wins_each_step(tmp_path: Path) -> None:
    make_witness(tmp_path, LOG.vkey)
    for step in range(1, 21):
        (tmp_path / f"step-{step}").write_bytes(LOG.request(step - 1, step))
    said = [each.communicate(timeout=20)[0] for each in [child(RACE, str(tmp_path), LOG.vkey) for _ in range(4)]]
    assert Counter(line for each in said for line in each.splitlines() if line.endswith(" 200")) == {
        f"{step} 200": 1 for step in range(1, 21)
    }
    assert sum(line.endswith(" 409") for each in said for line in each.splitlines()) == 60
    assert seen(make_witness(tmp_path, LOG.vkey)) == 20


@pytest.mark.slow
def test_killed_between_the_disk_and_the_answer_it_goes_on(witness: Witness, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(LOG.request(5, 7))
    before = child(KILLED, str(tmp_path), LOG.vkey, "failed and not persisted")
    assert (before.communicate(timeout=20)[0], before.returncode) == ("", -signal.SIGKILL)
    assert seen(witness) == 5
    assert (tmp_path / "state.new").exists()
    after = child(KILLED, str(tmp_path), LOG.vkey, "failed but persisted")
    assert (after.communicate(timeout=20)[0], after.returncode) == ("", -signal.SIGKILL)
    assert seen(witness) == 7
    assert witness.add_checkpoint(LOG.request(5, 7), NOW) == Answer(409, SIZE, b"7\n")
    held(witness, witness.add_checkpoint(LOG.request(7, 7), NOW), 7)


def test_a_key_is_its_owners_alone(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key", WITNESS)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    name, private = read_key(tmp_path / "key")
    assert public_of(private, name, COSIGNATURE) == key
    with pytest.raises(FileExistsError):
        make_key(tmp_path / "key", WITNESS)
    with pytest.raises(WitnessError, match="no name"):
        make_key(tmp_path / "new", "with a space")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(WitnessError, match="chmod 600"):
        read_key(tmp_path / "key")
    for spoilt_key in (b"", b"x", (tmp_path / "key").read_bytes()[:-3], b"keychest-log-key-1 a AAAA\n"):
        (tmp_path / "other").write_bytes(spoilt_key)
        (tmp_path / "other").chmod(0o600)
        with pytest.raises(WitnessError, match="no key of a witness"):
            read_key(tmp_path / "other")
