"""The log's side of witnesses: asks them to cosign a checkpoint, and remembers what each said last. Nothing here signs or publishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from audit.note import Checkpoint, Note, NoteError, Signature, Verifier, read_signatures, time_of
from audit.witness import BROKEN, CONFLICT, FORBIDDEN, INCONSISTENT, OK, UNKNOWN, Request
from core.net.provider import Answer, Tls, Unanswered, ask, trusting

WITHIN_S: Final = 5.0
"""For one witness, both questions together."""
SLACK_S: Final = 0.5
MOST_ANSWER: Final = 16_384
FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(minutes=10)
MOST_AHEAD: Final = timedelta(hours=1)
_SIZE_DIGITS, _LEAST_S = 19, 0.01
_STATUSES: Final = {
    CONFLICT: "It went on while it was asked.",
    FORBIDDEN: "It does not know the key that this checkpoint is signed with.",
    UNKNOWN: "It does not know this log.",
    INCONSISTENT: "It does not find that this log goes on from what it cosigned before.",
    BROKEN: "Its own files are in disorder.",
}
ProofFrom = Callable[[int], list[bytes]]


@dataclass(frozen=True, slots=True)
class Stand:
    """What is known of a witness: the size it cosigned last, the time that it wrote under it, and what is wrong with it now, in words."""

    name: str
    vkey: str
    size: int | None = None
    at: datetime | None = None
    trouble: str = ""
    asked_at: datetime | None = None


class _TroubleError(Exception):
    """Why there is no cosignature. The message is a sentence."""


@dataclass(slots=True)
class _One:
    """A witness, and what is remembered of it between questions."""

    key: Verifier
    url: str
    stand: Stand
    origin: str = ""
    size: int = 0
    text: str = ""
    given: Signature | None = None
    pause: timedelta = timedelta()
    failed_at: datetime | None = None

    def rests(self, now: datetime) -> bool:
        """Whether it failed just now, and is left out."""
        return self.failed_at is not None and timedelta() <= now - self.failed_at < self.pause

    def gave(self, signature: Signature, text: str, size: int, now: datetime) -> None:
        """It cosigned."""
        self.text, self.given, self.size, self.pause, self.failed_at = text, signature, size, timedelta(), None
        self.stand = Stand(self.key.name, self.key.vkey, size, datetime.fromtimestamp(time_of(signature.bytes), UTC), "", now)

    def failed(self, why: str, now: datetime) -> None:
        """It did not: it is left out for a minute, and each time for twice as long, up to ten."""
        self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        self.failed_at = now
        self.stand = Stand(self.key.name, self.key.vkey, self.stand.size, self.stand.at, why, now)


@dataclass(frozen=True, slots=True)
class _Question:
    """What every witness is asked now."""

    note: Note
    checkpoint: Checkpoint
    proof_from: ProofFrom
    now: datetime
    tls: Tls
    within_s: float
    proving: threading.Lock = field(default_factory=threading.Lock)

    def raw(self, old: int) -> str:
        """The request to a witness that saw so many entries last. Raises what `proof_from` raises."""
        with self.proving:  # it reads our own files, and keeps what it read
            proof = tuple(self.proof_from(old)) if 0 < old < self.checkpoint.size else ()
        return Request(old, proof, self.note, self.checkpoint).raw.decode()


@dataclass(slots=True)
class Witnesses:
    """Keys and addresses of witnesses, and how many must cosign before a checkpoint is published. Raises NoteError for what is no key."""

    asked: Sequence[tuple[str, str]]
    quorum: int
    tls: Tls = field(default_factory=trusting)
    within_s: float = WITHIN_S
    many: int = field(init=False)
    _each: tuple[_One, ...] = field(init=False)

    def __post_init__(self) -> None:
        keys = [(Verifier.read(vkey), url) for vkey, url in self.asked]
        self._each = tuple(_One(key, url, Stand(key.name, key.vkey)) for key, url in keys)
        self.many = len(self._each)

    def cosignatures(self, note: Note, checkpoint: Checkpoint, proof_from: ProofFrom, now: datetime) -> list[Signature]:
        """The cosignatures that hold, of all who answered in time. Raises what `proof_from` raises: our own files are broken.

        All are asked at once. Who has cosigned this very text is not asked again, and who failed is left out for a while.
        """
        question = _Question(note, checkpoint, proof_from, now, self.tls, self.within_s)
        asked = [(each, _ask(each, question)) for each in self._each if each.text != note.text and not each.rests(now)]
        wait([answer for _, answer in asked], timeout=self.within_s + SLACK_S)
        for each, answer in asked:
            try:
                if answer.done():
                    each.gave(answer.result(), note.text, checkpoint.size, now)
                else:
                    each.failed(f"It gave no answer within {self.within_s:g} s.", now)
            except _TroubleError as error:
                each.failed(str(error), now)
        return [each.given for each in self._each if each.given is not None and each.text == note.text]

    def standing(self) -> tuple[Stand, ...]:
        """Who said what last, in the order of the setting."""
        return tuple(each.stand for each in self._each)


def _ask(each: _One, question: _Question) -> Future[Signature]:
    """Ask in a thread that nobody has to wait for: a resolver may take its time."""
    if each.origin != question.checkpoint.origin:
        each.origin, each.size = question.checkpoint.origin, 0
    key, url, old = each.key, each.url, min(each.size, question.checkpoint.size)
    answer: Future[Signature] = Future()

    def run() -> None:
        try:
            answer.set_result(_cosigned(key, url, old, question))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the answer is looked at
            answer.set_exception(error)

    threading.Thread(target=run, name=f"witness {key.name}", daemon=True).start()
    return answer


def _cosigned(key: Verifier, url: str, old: int, question: _Question) -> Signature:
    """The cosignature of one witness, asked again where it names another size. Raises _TroubleError, and what `proof_from` raises."""
    until = time.monotonic() + question.within_s
    answer = _post(url, old, question, question.within_s)
    if answer.status == CONFLICT and (size := _size(answer.body)) is not None and size != old:
        if size > question.checkpoint.size:
            raise _TroubleError(f"It has seen {size:,} entries of this log already, and here there are {question.checkpoint.size:,}.")
        answer = _post(url, size, question, max(until - time.monotonic(), _LEAST_S))
    if answer.status == CONFLICT and _size(answer.body) is None:
        raise _TroubleError("It has seen another tree of this size.")
    if answer.status != OK:
        raise _TroubleError(_STATUSES.get(answer.status, f"It answered {answer.status}."))
    return _held(key, question.note, answer.body, question.now)


def _post(url: str, old: int, question: _Question, within_s: float) -> Answer:
    try:
        return ask(
            f"{url.rstrip('/')}/add-checkpoint",
            tls=question.tls,
            body=question.raw(old),
            headers={"Accept": "*/*", "Content-Type": "text/plain; charset=utf-8"},
            within_s=within_s,
            most_bytes=MOST_ANSWER,
        )
    except Unanswered as error:
        raise _TroubleError(f"It gave {error}.") from None


def _size(body: bytes) -> int | None:
    """The size in the answer to an old size that is not the witness's."""
    found = body.removesuffix(b"\n")
    return int(found) if found != body and found.isdigit() and len(found) <= _SIZE_DIGITS else None


def _held(key: Verifier, note: Note, body: bytes, now: datetime) -> Signature:
    """The witness's own line in its answer, if it holds for this text. Lines of other keys are left out. Raises _TroubleError."""
    try:
        lines = read_signatures(body.decode())
    except (NoteError, UnicodeDecodeError):
        raise _TroubleError("Its answer is no signature.") from None
    own = [each for each in lines if (each.name, each.key_id) == (key.name, key.id)]
    held = [each for each in own if key.holds(note.text, each.bytes)]
    if not held:
        raise _TroubleError("Its signature is not for this checkpoint." if own else "It signed by another key than the one in the setting.")
    if time_of(held[0].bytes) > now.timestamp() + MOST_AHEAD.total_seconds():
        raise _TroubleError("Its clock is ahead of ours by more than an hour.")
    return held[0]
