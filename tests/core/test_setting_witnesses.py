"""Witnesses as they are written in a setting."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import COSIGNATURE, ED25519, public_of
from core.setting_readers import written
from core.setting_witnesses import MOST, quorum, witnesses

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([each]) * 32) for each in range(MOST + 1)]
ONE, TWO, *_ = VKEYS = [public_of(key, f"w.example/{each}", COSIGNATURE).vkey for each, key in enumerate(KEYS)]
LOG = public_of(KEYS[0], "log.example", ED25519).vkey
AT = "https://w.example"


def test_witnesses_are_keys_and_addresses() -> None:
    said = f"{ONE} https://w.example/one/ ,  {TWO}   http://127.0.0.1:8520,"
    found = witnesses(said)
    assert found == ((ONE, "https://w.example/one"), (TWO, "http://127.0.0.1:8520"))
    assert witnesses(written(found)) == found
    assert witnesses("") == witnesses(" , ") == ()
    assert witnesses(f"{ONE} http://[::1]:1, {TWO} http://localhost:1")
    assert len(witnesses(",".join(f"{vkey} {AT}" for vkey in VKEYS[:MOST]))) == MOST


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("x", "is no key"), (f"{ONE[:-2]} {AT}", "not base64"), (f"{AT} {ONE}", "is no key"), (f"{LOG} {AT}", "key of a log"),
        (ONE, "no address"), (f"{ONE} {AT} {AT}", "no address"),
        (f"{ONE} w.example", "no address"), (f"{ONE} ftp://w.example", "no address"),
        (f"{ONE} http://w.example", "without TLS"), (f"{ONE} http://192.0.2.1", "without TLS"), (f"{ONE} https://", "no address"),
        (f"{ONE} https://w.example:x", "no address"), (f"{ONE} https://u:p@w.example", "no address"), (f"{ONE} {AT}?a=1", "no address"),
        (f"{ONE} https://[", "no address"),
        (f"{ONE} {AT}, {ONE} https://other.example", "twice"),
        (f"{ONE} {AT}, {public_of(KEYS[0], 'again.example', COSIGNATURE).vkey} {AT}", "twice"),
        (",".join(f"{vkey} {AT}" for vkey in VKEYS), "at most 14"),
    ],
)  # fmt: skip
def test_what_is_no_witness_is_refused_in_words(said: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        witnesses(said)


def test_a_quorum_is_a_small_number() -> None:
    assert [quorum(said) for said in ("0", " 2 ", "14")] == [0, 2, 14]
    for said in ("", "-1", "15", "two", "1.5", "\u0662"):
        with pytest.raises(ValueError, match="write how many"):
            quorum(said)
