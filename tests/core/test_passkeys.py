"""What counts as a device's answer, and where browsers have passkeys at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.passkeys import MOST_BYTES, NotProvenError, count_proven, key_named, new_key, question_to_add, question_to_enter, site_of
from tests.passkeys import PRESENT, VERIFIED, Device, site

SITE = site("https://keys.example.org")
ADD = question_to_add(SITE, user_ref="u1", email="mira@example.org", have=())


def device(**bent: object) -> Device:
    return Device(**({"origin": SITE.origin} | bent))  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("url", "host", "origin"),
    [
        ("https://keys.example.org", "keys.example.org", "https://keys.example.org"),
        ("https://keys.example.org:8443/", "keys.example.org", "https://keys.example.org:8443"),
        ("http://localhost:8080", "localhost", "http://localhost:8080"),
    ],
)
def test_names_with_tls_and_this_machine_have_passkeys(url: str, host: str, origin: str) -> None:
    assert (site(url).host, site(url).origin) == (host, origin)


@pytest.mark.parametrize("url", ["http://keys.example.org", "http://127.0.0.1:8080", "https://192.0.2.1", "https://[2001:db8::1]", ""])
def test_bare_addresses_and_clear_text_have_none(url: str) -> None:
    assert site_of(url) is None


def test_what_a_device_makes_signs_in_and_its_count_goes_up() -> None:
    maker = device(count=3)
    made = new_key(SITE, challenge=ADD.challenge, answer=maker.make(ADD.options))
    assert (made.sign_count, made.backed_up, made.transports) == (3, False, ("internal", "hybrid"))
    asked = question_to_enter(SITE)
    maker.count = 4
    answer = maker.sign(asked.options)
    assert key_named(answer) == (made.credential_id, "u1")
    count = count_proven(SITE, challenge=asked.challenge, answer=answer, public_key=made.public_key, sign_count=3)
    assert count == 4
    with pytest.raises(NotProvenError, match="sign count"):
        count_proven(SITE, challenge=asked.challenge, answer=answer, public_key=made.public_key, sign_count=count)


@pytest.mark.parametrize("bent", [{"origin": "https://keys.example.com"}, {"flags": PRESENT}, {"flags": VERIFIED}])
def test_neither_another_site_nor_an_unlooked_at_holder_is_taken(bent: dict[str, object]) -> None:
    with pytest.raises(NotProvenError):
        new_key(SITE, challenge=ADD.challenge, answer=device(**bent).make(ADD.options))
    maker = device()
    made = new_key(SITE, challenge=ADD.challenge, answer=maker.make(ADD.options))
    asked = question_to_enter(SITE)
    for name, value in bent.items():
        setattr(maker, name, value)
    with pytest.raises(NotProvenError):
        count_proven(SITE, challenge=asked.challenge, answer=maker.sign(asked.options), public_key=made.public_key, sign_count=0)


def test_an_answer_fits_its_own_question_and_its_own_key_alone() -> None:
    maker = device()
    made = new_key(SITE, challenge=ADD.challenge, answer=maker.make(ADD.options))
    asked, other = question_to_enter(SITE), question_to_enter(SITE)
    with pytest.raises(NotProvenError, match="challenge"):
        count_proven(SITE, challenge=other.challenge, answer=maker.sign(asked.options), public_key=made.public_key, sign_count=0)
    with pytest.raises(NotProvenError, match="signature"):
        count_proven(SITE, challenge=asked.challenge, answer=device().sign(asked.options), public_key=made.public_key, sign_count=0)


PARTS = ["id", "rawId", "type", "response", "clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]
PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(PARTS), inner))
HOSTILE = st.text(max_size=200) | NESTED.map(json.dumps)


@pytest.mark.slow
@given(answer=HOSTILE)
def test_whatever_comes_is_an_answer_or_is_refused(answer: str) -> None:
    for ask in (
        lambda: new_key(SITE, challenge=ADD.challenge, answer=answer),
        lambda: count_proven(SITE, challenge=ADD.challenge, answer=answer, public_key="", sign_count=0),
    ):
        with pytest.raises(NotProvenError):
            ask()


@given(at=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_spoilt_answer_is_refused_or_makes_the_key_that_was_meant_or_one_that_lets_nobody_in(at: int, byte: int) -> None:
    maker = device()
    whole = json.loads(maker.make(ADD.options))
    meant = new_key(SITE, challenge=ADD.challenge, answer=json.dumps(whole)).public_key
    for part in ("attestationObject", "clientDataJSON"):
        text = whole["response"][part]
        spoilt = text[: at % len(text)] + chr(byte) + text[at % len(text) + 1 :]
        broken = json.dumps(whole | {"response": whole["response"] | {part: spoilt}})
        asked = question_to_enter(SITE)
        try:
            made = new_key(SITE, challenge=ADD.challenge, answer=broken).public_key
            count_proven(SITE, challenge=asked.challenge, answer=maker.sign(asked.options), public_key=made, sign_count=0)
        except NotProvenError:
            continue
        assert made == meant


def test_a_long_answer_is_not_read() -> None:
    with pytest.raises(NotProvenError, match="too long"):
        key_named("[" * (MOST_BYTES + 1))
    with pytest.raises(NotProvenError):
        key_named("[" * MOST_BYTES)
