"""The log asks its witnesses: those that are well, and those that are dead, slow, lying, ahead or forgetful."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import COSIGNATURE, Checkpoint, NoteError, Signature, Verifier, cosign, public_of
from audit.publish import published_note
from audit.sequencer import Cosigners, Sequencer
from audit.witness import Witness
from audit.witnesses import Witnesses
from core.net.provider import trusting
from tests.servers import raw_server
from tests.witnessing import MadeLog, make_log, make_witness, witness_process

LOG, TWO = make_log(), make_log("log.example/two")
NOW = datetime.now(UTC).replace(microsecond=0)
TLS = trusting()
LIAR = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
LIAR_VKEY = public_of(LIAR, "liar.example", COSIGNATURE).vkey
Setting = tuple[str, str]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tuple[Witness, str], ...]]:
    """Two real witnesses, each a process of its own, and their addresses."""
    with contextlib.ExitStack() as stack:
        found = []
        for name in ("a.example/w", "b.example/w"):
            folder = tmp_path_factory.mktemp("witness")
            witness = make_witness(folder, LOG.vkey, TWO.vkey, name=name)
            found.append((witness, stack.enter_context(witness_process(folder, LOG.vkey, TWO.vkey))))
        yield tuple(found)


@pytest.fixture
def fresh(pair: tuple[tuple[Witness, str], ...]) -> list[Setting]:
    """The two, having seen nothing."""
    for witness, _ in pair:
        with witness.memory.locked():
            witness.memory.keep({})
    return [(witness.vkey, address) for witness, address in pair]


def ask(by: Witnesses, size: int, now: datetime = NOW, log: MadeLog = LOG) -> list[Signature]:
    return by.cosignatures(log.note(size), log.checkpoint(size), lambda old: log.proof(old, size), now)


def troubles(by: Witnesses) -> dict[str, str]:
    return {each.name: each.trouble for each in by.standing()}


@contextlib.contextmanager
def answering(*answers: tuple[int, bytes] | float) -> Iterator[tuple[str, list[bytes]]]:
    """A made-up witness: each answer in turn, the last one for good; a number is how long it is silent. Its address, what it was asked."""
    asked: list[bytes] = []

    def behave(line: socket.socket, ended: threading.Event) -> None:
        with line.makefile("rb") as reader:  # head and body come in as many pieces as the network likes
            head = http.client.parse_headers(reader) if reader.readline() else None
            if head is None:
                return  # who dialled has left
            asked.append(reader.read(int(head["Content-Length"])))
        answer = answers[min(len(asked), len(answers)) - 1]
        if isinstance(answer, float):
            ended.wait(answer)
        else:
            line.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (answer[0], len(answer[1]), answer[1]))

    with raw_server(behave) as server:
        yield f"http://127.0.0.1:{server.port}", asked


def cosigned(name: str, at_s: int, size: int = 5) -> bytes:
    return cosign(LOG.checkpoint(size).text, name, LIAR, at_s).line.encode()


def lies(size: int) -> bytes:
    """A line that holds for a checkpoint of this size, and is a lie under any other."""
    return cosigned("liar.example", int(NOW.timestamp()), size)


@pytest.mark.slow
def test_two_of_five_cosign_and_the_others_are_told_of(fresh: list[Setting], pair: tuple[tuple[Witness, str], ...]) -> None:
    dead = public_of(Ed25519PrivateKey.generate(), "dead.example", COSIGNATURE).vkey
    slow = public_of(Ed25519PrivateKey.generate(), "slow.example", COSIGNATURE).vkey
    with answering((200, lies(6))) as (liar, _), answering(9.0) as (silent, heard):
        by: Cosigners = Witnesses([*fresh, (dead, "http://127.0.0.1:9"), (slow, silent), (LIAR_VKEY, liar)], 2, TLS, within_s=0.6)
        assert isinstance(by, Witnesses)
        begun = time.monotonic()
        given = ask(by, 5)
        assert time.monotonic() - begun < 1.5
        assert (by.many, by.quorum) == (5, 2)
        assert [each.name for each in given] == ["a.example/w", "b.example/w"]
        for each, (witness, _) in zip(given, pair, strict=True):
            assert public_of(witness.key, witness.name, COSIGNATURE).holds(LOG.checkpoint(5).text, each.bytes)
        assert troubles(by) == {
            "a.example/w": "", "b.example/w": "", "dead.example": "It gave no answer: ConnectionRefusedError.",
            "slow.example": "It gave no answer within 0.6 s.", "liar.example": "Its signature is not for this checkpoint.",
        }  # fmt: skip
        assert [each.size for each in by.standing()] == [5, 5, None, None, None]
        assert all(each.at is not None and abs(each.at - NOW) < timedelta(minutes=30) for each in by.standing()[:2])
        assert [each.name for each in ask(by, 9, NOW + timedelta(seconds=30))] == ["a.example/w", "b.example/w"]
        assert len(heard) == 1, "who failed is left out for a minute"
        assert {witness.memory.read()[LOG.origin].size for witness, _ in pair} == {9}


@pytest.mark.slow
def test_it_asks_from_what_it_knows_and_once_more_from_what_it_is_told(fresh: list[Setting], pair: tuple[tuple[Witness, str], ...]) -> None:
    proved: list[int] = []

    def proof_to(size: int) -> Callable[[int], list[bytes]]:
        return lambda old: proved.append(old) or LOG.proof(old, size)  # type: ignore[func-returns-value]

    by = Witnesses(fresh[:1], 1, TLS)
    for size in (4, 6):
        assert by.cosignatures(LOG.note(size), LOG.checkpoint(size), proof_to(size), NOW)
    assert proved == [4], "the second time from 4; nothing is proven from 0"
    after = Witnesses(fresh[:1], 1, TLS)
    assert after.cosignatures(LOG.note(9), LOG.checkpoint(9), proof_to(9), NOW)
    assert proved == [4, 6], "a log that was started anew is told the size"
    witness, _ = pair[0]
    with witness.memory.locked():
        witness.memory.keep({})
    assert ask(after, 11), "a witness that lost what it knew is asked from 0"
    assert ask(after, 5, log=TWO), "of another log it knows nothing yet"
    assert [each.size for each in after.standing()] == [5]


def test_who_cosigned_this_text_is_not_asked_again() -> None:
    with answering((200, lies(5))) as (address, asked):
        by = Witnesses([(LIAR_VKEY, address)], 1, TLS)
        first = ask(by, 5)
        assert len(first) == 1
        assert ask(by, 5, NOW + timedelta(hours=2)) == first
        assert len(asked) == 1
        assert ask(by, 6, NOW + timedelta(hours=2)) == []
        assert len(asked) == 2


def test_of_another_log_it_is_asked_from_0() -> None:
    with answering((200, lies(5)), (500, b"")) as (address, asked):
        by = Witnesses([(LIAR_VKEY, address)], 1, TLS)
        ask(by, 5)
        ask(by, 7, log=TWO)
        assert [body.partition(b"\n")[0] for body in asked] == [b"old 0", b"old 0"]


@pytest.mark.slow
def test_nobody_waits_for_what_hangs() -> None:
    ended = threading.Event()
    with answering((409, b"3\n")) as (address, _):
        by, begun = Witnesses([(LIAR_VKEY, address)], 1, TLS, within_s=0.05), time.monotonic()
        assert by.cosignatures(LOG.note(5), LOG.checkpoint(5), lambda _: [bytes(32)] * ended.wait(5), NOW) == []
        assert time.monotonic() - begun < 3
        ended.set()
    assert troubles(by) == {"liar.example": "It gave no answer within 0.05 s."}


@pytest.mark.slow
def test_a_witness_that_is_ahead_or_saw_another_tree_is_told_of(fresh: list[Setting], pair: tuple[tuple[Witness, str], ...]) -> None:
    assert len(ask(Witnesses(fresh, 1, TLS), 12)) == 2
    by = Witnesses(fresh, 1, TLS)
    assert ask(by, 7) == []
    assert set(troubles(by).values()) == {"It has seen 12 entries of this log already, and here there are 7."}
    fork = make_log(fork_at=2)
    other = Witnesses(fresh, 1, TLS)
    assert ask(other, 12, log=fork) == []
    assert set(troubles(other).values()) == {"It has seen another tree of this size."}
    assert ask(other, 15, NOW + timedelta(hours=1), fork) == []
    assert set(troubles(other).values()) == {"It does not find that this log goes on from what it cosigned before."}
    assert [len(list(witness.memory.path.parent.glob("state.evidence/*"))) for witness, _ in pair] == [2, 2]
    strange = make_log("log.example/strange")
    assert ask(by, 3, NOW + timedelta(hours=1), strange) == []
    assert set(troubles(by).values()) == {"It does not know this log."}


def test_who_fails_is_left_out_for_longer_each_time() -> None:
    with answering((500, b"")) as (address, asked):
        by, now = Witnesses([(LIAR_VKEY, address)], 1, TLS), NOW
        for minutes in (1, 2, 4, 8, 10, 10):
            ask(by, 5, now)
            count = len(asked)
            ask(by, 5, now + timedelta(minutes=minutes, seconds=-1))
            assert len(asked) == count, minutes
            now += timedelta(minutes=minutes)
        ask(by, 5, now - timedelta(hours=1))
        assert len(asked) == 7, "a clock that was set back keeps nobody out"
    with answering((500, b""), (200, lies(5)), (500, b"")) as (address, asked):
        by = Witnesses([(LIAR_VKEY, address)], 1, TLS)
        for second, size in ((0, 5), (60, 5), (61, 6), (121, 6)):
            ask(by, size, NOW + timedelta(seconds=second))
        assert len(asked) == 4, "who was well in between begins with a minute again"


@pytest.mark.parametrize(
    ("answers", "trouble", "questions"),
    [
        ([(409, b"0\n")], "It went on while it was asked.", 1),
        ([(409, b"3\n"), (409, b"4\n")], "It went on while it was asked.", 2),
        ([(409, b"3")], "It has seen another tree of this size.", 1),
        ([(409, b"9" * 30 + b"\n")], "It has seen another tree of this size.", 1),
        ([(200, b"")], "Its answer is no signature.", 1),
        ([(200, b"\xff\n")], "Its answer is no signature.", 1),
        ([(200, cosigned("other.example", 1))], "It signed by another key than the one in the setting.", 1),
        ([(200, cosigned("liar.example", 1 << 62))], "Its clock is ahead of ours by more than an hour.", 1),
        ([(200, b"x" * 20_000)], "It gave an answer of more than 16384 bytes.", 1),
        ([(302, b"")], "It answered 302.", 1),
    ],
)  # fmt: skip
def test_answers_of_no_use(answers: list[tuple[int, bytes]], trouble: str, questions: int) -> None:
    with answering(*answers) as (address, asked):
        by = Witnesses([(LIAR_VKEY, address)], 1, TLS)
        assert ask(by, 5) == []
        assert (troubles(by), len(asked)) == ({"liar.example": trouble}, questions)


def test_lines_of_others_in_an_answer_are_left_out() -> None:
    stranger = cosigned("stranger.example", 1)
    with answering((200, stranger + lies(5))) as (address, _):
        by = Witnesses([(LIAR_VKEY, f"{address}/")], 1, TLS)
        assert [each.name for each in ask(by, 5)] == ["liar.example"]


def test_files_of_our_own_that_are_broken_are_our_trouble() -> None:
    def broken(old: int) -> list[bytes]:
        raise OSError(f"no tile for {old}")

    with answering((409, b"3\n")) as (address, _):
        by = Witnesses([(LIAR_VKEY, address)], 1, TLS)
        with pytest.raises(OSError, match="no tile for 3"):
            by.cosignatures(LOG.note(5), LOG.checkpoint(5), broken, NOW)


def test_nothing_is_asked_without_tls_but_on_this_machine() -> None:
    by = Witnesses([(LIAR_VKEY, "http://192.0.2.1")], 1, TLS)
    assert ask(by, 5) == []
    assert troubles(by) == {"liar.example": "It gave no answer: ValueError."}
    with pytest.raises(NoteError):
        Witnesses([("x", "http://127.0.0.1:9")], 1, TLS)


@pytest.mark.slow
def test_the_sequencer_publishes_what_a_real_witness_cosigned(sequencer: Sequencer, tmp_path: Path) -> None:
    folder = tmp_path / "witness"
    folder.mkdir()
    log_key = public_of(sequencer.keeper.key(), sequencer.origin)
    witness = make_witness(folder, log_key.vkey)
    with witness_process(folder, log_key.vkey) as address:
        sequencer.witnesses = Witnesses([(witness.vkey, address)], 1, TLS)
        for turn in range(3):
            sequencer.turn(NOW + timedelta(hours=2 * turn))
            found = published_note(sequencer.keeper, 1)
            assert found is not None
            assert [key for key, _ in found.signed_by([log_key, Verifier.read(witness.vkey)])] == [log_key, Verifier.read(witness.vkey)]
            assert Checkpoint.read(found.text).size == turn + 1


def test_without_witnesses_there_is_nobody_to_ask(tmp_path: Path) -> None:
    by = Witnesses([], 0, TLS)
    assert (ask(by, 5), by.many, by.standing()) == ([], 0, ())
