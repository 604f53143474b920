"""Notes, checkpoints and tiles, byte for byte as C2SP has them."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Note,
    NoteError,
    Verifier,
    checkpoint_signed_by,
    cosign,
    public_of,
    read_signatures,
    sign,
    time_of,
)

GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
"""The example in the documentation of Go's golang.org/x/mod/sumdb/note, which signs the same bytes."""

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "log.example/keychest"
TEXT = Checkpoint(ORIGIN, 5, bytes(32)).text


def test_a_signature_is_byte_for_byte_that_of_others() -> None:
    key = Ed25519PrivateKey.from_private_bytes(GO_SEED)
    assert sign(GO_TEXT, "PeterNeumann", key).line == GO_LINE
    assert public_of(key, "PeterNeumann").vkey == GO_VKEY
    note = Note.read(f"{GO_TEXT}\n{GO_LINE}".encode())
    assert note.raw == f"{GO_TEXT}\n{GO_LINE}".encode()
    assert [key.name for key, _ in note.signed_by([Verifier.read(GO_VKEY)])] == ["PeterNeumann"]


def test_a_checkpoint_is_three_lines_and_its_signatures() -> None:
    raw = Note(TEXT, (sign(TEXT, ORIGIN, KEY),)).raw
    assert raw.startswith(b"log.example/keychest\n5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\xe2\x80\x94 log.example/keychest ")
    found, note = checkpoint_signed_by(raw, ORIGIN, [public_of(KEY, ORIGIN)])
    assert (found.size, found.root, note.text) == (5, bytes(32), TEXT)
    assert Checkpoint.read(f"{TEXT}an extension\n") == found
    with pytest.raises(NoteError, match="is of"):
        checkpoint_signed_by(raw, "another", [public_of(KEY, ORIGIN)])
    with pytest.raises(NoteError, match="not signed by"):
        checkpoint_signed_by(raw, ORIGIN, [public_of(Ed25519PrivateKey.generate(), ORIGIN)])


def test_a_cosignature_holds_for_its_time_and_text_alone() -> None:
    line = cosign(TEXT, "witness.example/w", KEY, 1_700_000_000)
    witness = Verifier.read(public_of(KEY, "witness.example/w", COSIGNATURE).vkey)
    assert time_of(line.bytes) == 1_700_000_000
    assert len(line.bytes) == 72
    assert witness.holds(TEXT, line.bytes)
    KEY.public_key().verify(line.bytes[8:], f"cosignature/v1\ntime 1700000000\n{TEXT}".encode())
    assert not witness.holds(TEXT, (1).to_bytes(8) + line.bytes[8:])
    assert not witness.holds(TEXT, (1 << 63).to_bytes(8) + line.bytes[8:])
    assert not witness.holds(TEXT, line.bytes[:-1])
    assert not witness.holds(TEXT.replace("5", "6"), line.bytes)
    assert public_of(KEY, "witness.example/w").id != witness.id, "a log's key and a witness's are never taken for each other"


@pytest.mark.slow
def test_every_bit_that_is_flipped_in_a_checkpoint_is_seen() -> None:
    raw = Note(TEXT, (sign(TEXT, ORIGIN, KEY), cosign(TEXT, "w.example", KEY, 9))).raw
    keys = [public_of(KEY, ORIGIN), public_of(KEY, "w.example", COSIGNATURE)]
    assert len(Note.read(raw).signed_by(keys)) == 2
    for at in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            try:
                note = Note.read(bytes(changed))
                whole = (Checkpoint.read(note.text).origin == ORIGIN) and len(note.signed_by(keys)) == 2
            except NoteError:
                continue
            assert not whole, (at, bit)


@pytest.mark.parametrize(
    "raw",
    [b"", b"text\n",
     b"text\n\n", b"\n\n\xe2\x80\x94 a AAAAAAA=\n", b"text\n\n\xe2\x80\x94 a AAAAAAA=", b"text\n\n- a AAAAAAA=\n",
     b"text\n\n\xe2\x80\x94  AAAAAAA=\n", b"text\n\n\xe2\x80\x94 a+b AAAAAAA=\n",
     b"text\n\n\xe2\x80\x94 a AAAA\n", b"text\n\n\xe2\x80\x94 a AAAAAAB=\n",
     b"text\n\n\xe2\x80\x94 a AAAAAAA\n", b"te\txt\n\n\xe2\x80\x94 a AAAAAAA=\n", b"text\r\n\n\xe2\x80\x94 a AAAAAAA=\n",
     b"\xff\n\n\xe2\x80\x94 a AAAAAAA=\n",
     b"text\n\n" + "\u2014 a AAAAAAA=\n".encode() * 65, "text\n\n\u2014 a\u00a0b AAAAAAA=\n".encode(), b"x" * 1_000_001],
)  # fmt: skip
def test_what_is_no_note_is_refused_in_words(raw: bytes) -> None:
    with pytest.raises(NoteError, match=r"\.$"):
        Note.read(raw)


def test_sixteen_signatures_and_more_are_taken() -> None:
    raw = Note(TEXT, tuple(sign(TEXT, f"key.example/{each}", KEY) for each in range(20))).raw
    assert len(Note.read(raw).signatures) == 20
    assert read_signatures(sign(TEXT, ORIGIN, KEY).line)[0].name == ORIGIN


@pytest.mark.parametrize(
    "text",
    ["", "a\n", "a\n1\n", f"a\n01\n{'A' * 43}=\n", f"a\n-1\n{'A' * 43}=\n", f"a\n1\n{'A' * 43}\n", "a\n1\nAAAA\n", f"\n1\n{'A' * 43}=\n",
     f"a\n1\n{'A' * 42}B=\n", f"a\n1\n{'A' * 43}=\n\n", f"a\n1 \n{'A' * 43}=\n", f"a\n\u0661\n{'A' * 43}=\n"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused_in_words(text: str) -> None:
    with pytest.raises(NoteError, match=r"\.$"):
        Checkpoint.read(text)


@pytest.mark.parametrize(
    "vkey",
    ["", "a", "a+b+c", GO_VKEY.replace("c74f20a3", "c74f20a4"), GO_VKEY.replace("PeterNeumann", "Peter"), GO_VKEY[:-4], f" {GO_VKEY}",
     GO_VKEY.replace("+ARpc", "+Brpc")],
)  # fmt: skip
def test_what_is_no_key_is_refused_in_words(vkey: str) -> None:
    with pytest.raises(NoteError, match=r"\.$"):
        Verifier.read(vkey)
    assert Verifier.read(GO_VKEY).kind == ED25519
