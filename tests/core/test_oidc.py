"""The provider as it is asked and looked at: whom it vouches for, and all that does not count."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt

from core.net.provider import ask, trusting
from core.oidc import AT_ONCE, NotVouchedError, Provider, ProviderAwayError, Vouched
from core.oidc_keys import key_set
from demo.pki import make_chain
from tests.intime import in_time
from tests.make import NOW
from tests.oidc import (
    EC,
    KEY,
    OTHER,
    Idp,
    answer,
    by_public_key,
    elsewhere,
    endless,
    failing,
    idp,
    in_drops,
    nested,
    no_object,
    silent,
    unsigned,
)

MINUTE = timedelta(minutes=1)


@pytest.fixture
def made() -> Iterator[Idp]:
    with idp() as running:
        yield running


def come(made: Idp, provider: Provider | None = None, *, code: str = "", verifier: str = "") -> Vouched:
    """The whole way: off, yes there, and back."""
    provider = provider or made.provider()
    begun = provider.begin(made.now())
    back = made.consent(begun.url)
    return provider.vouched(code=code or back["code"], verifier=verifier or begun.verifier, nonce=begun.nonce, now=made.now())


def test_it_vouches_for_who_said_yes_there(made: Idp) -> None:
    provider = made.provider()
    found = come(made, provider)
    assert found == Vouched(made.issuer, "248289761001", "nia@harbour.example.org", "nia@harbour.example.org")
    assert "s3cret" not in repr(provider)
    before = len(made.asked)
    come(made, provider)
    assert made.asked[before:] == ["/token"], "what it told of itself is kept"
    made.now = lambda: NOW + timedelta(hours=1)
    come(made, provider)
    assert made.asked[before + 1 :] == ["/.well-known/openid-configuration", "/token", "/keys"]


def test_each_way_has_secrets_of_its_own(made: Idp) -> None:
    provider = made.provider()
    one, other = provider.begin(NOW), provider.begin(NOW)
    assert len({one.state, one.nonce, one.verifier, other.state, other.nonce, other.verifier}) == 6
    assert one.verifier not in one.url
    assert one.verifier not in repr(one)


@pytest.mark.parametrize(
    ("who", "email", "shown"),
    [
        ({"email_verified": False}, "", "nia@harbour.example.org"),
        ({"email_verified": None}, "", "nia@harbour.example.org"),
        ({"email_verified": "true"}, "", "nia@harbour.example.org"),
        ({"email": None}, "", "248289761001"),
        ({"email": {"a": 1}}, "", "248289761001"),
    ],
)
def test_an_address_counts_that_it_confirmed(made: Idp, who: dict[str, Any], email: str, shown: str) -> None:
    made.claims = who
    found = come(made)
    assert (found.subject, found.email, found.shown) == ("248289761001", email, shown)


def test_an_address_may_stand_in_the_user_info_of_the_same_person(made: Idp) -> None:
    made.told, made.claims = {"userinfo_endpoint": f"{made.url}/userinfo"}, {"email": None, "email_verified": None}
    assert come(made).email == "nia@harbour.example.org"
    made.broken = {"/userinfo": lambda request: answer(request, made.who | {"sub": "another"})}
    with pytest.raises(NotVouchedError, match="does not hold"):
        come(made)


def test_a_provider_may_want_the_secret_in_the_form_and_sign_by_another_curve(made: Idp) -> None:
    made.told = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    made.sign = lambda claims: jwt.encode({"alg": "ES256", "kid": "ec"}, claims, EC)
    assert come(made).subject == "248289761001"


SAYS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://elsewhere.example"},
    "no issuer": {"iss": None},
    "for another client": {"aud": "another"},
    "for nobody": {"aud": None},
    "for us and another, and by nobody": {"aud": ["keychest at work", "another"]},
    "for us, and by another": {"azp": "another"},
    "another nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "over": {"exp": int((NOW - 2 * MINUTE).timestamp())},
    "without end": {"exp": None},
    "an end that is none": {"exp": "tomorrow"},
    "from tomorrow": {"nbf": int((NOW + timedelta(days=1)).timestamp())},
    "nobody": {"sub": None},
    "nobody's name": {"sub": ""},
    "a name that is none": {"sub": ["a"]},
    "a name without end": {"sub": "a" * 256},
    "a name with a NUL": {"sub": "a\x00"},
    "another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}


@pytest.mark.slow
@pytest.mark.parametrize("claims", SAYS.values(), ids=SAYS)
def test_what_does_not_hold_vouches_for_nobody(made: Idp, claims: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    made.claims = claims
    with pytest.raises(NotVouchedError, match="Harbourlight SSO does not hold"):
        come(made)
    assert "vouches for nobody" in caplog.text, "the operator can look why"


def test_its_clock_may_be_a_little_off(made: Idp) -> None:
    made.claims = {"exp": int((NOW - MINUTE / 2).timestamp()), "iat": int((NOW + MINUTE / 2).timestamp())}
    assert come(made).subject == "248289761001"


SIGNED: dict[str, Callable[[dict[str, Any]], str]] = {
    "not at all": unsigned,
    "by HMAC with the public key": by_public_key,
    "by another key of that name": lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, OTHER),
    "by a key that is not listed": lambda claims: jwt.encode({"alg": "RS256", "kid": "two"}, claims, OTHER),
    "by an algorithm that does not count": lambda claims: jwt.encode({"alg": "RS384", "kid": "one"}, claims, KEY, algorithms=["RS384"]),
    "by no key that is named, of two": lambda claims: jwt.encode({"alg": "RS256"}, claims, KEY),
    "as words": lambda _: "a.b.c",
    "as one word": lambda _: "\u00e9",
    "by what changed after": lambda claims: _changed(jwt.encode({"alg": "RS256", "kid": "one"}, claims, KEY)),
}


def _changed(token: str) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{unsigned({'sub': 'mira'}).split('.')[1]}.{signature}"


@pytest.mark.slow
@pytest.mark.parametrize("sign", SIGNED.values(), ids=SIGNED)
def test_a_signature_of_another_kind_vouches_for_nobody(made: Idp, sign: Callable[[dict[str, Any]], str]) -> None:
    made.sign = sign
    with pytest.raises(NotVouchedError):
        come(made)


def test_a_new_key_is_taken_up_and_asked_for_once_a_minute(made: Idp) -> None:
    provider = made.provider()
    come(made, provider)
    made.keys = [OTHER.as_dict(private=False) | {"kid": "new"}]
    made.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "new"}, claims, OTHER)
    for _ in range(3):
        with pytest.raises(NotVouchedError):
            come(made, provider)
    assert made.asked.count("/keys") == 1
    made.now = lambda: NOW + MINUTE
    assert come(made, provider).subject == "248289761001"
    assert made.asked.count("/keys") == 2


def test_keys_that_cannot_be_used_are_left_out() -> None:
    numbers = rsa.generate_private_key(65_537, 1024).public_key().public_numbers()
    weak = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(numbers.n.to_bytes(128, "big")).decode()}
    odd: list[object] = [
        None,
        {},
        {"kty": "RSA"},
        {"kty": "RSA", "n": "AQAB" * 90, "e": 3},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC", "crv": "P-256"},
    ]
    used = {**KEY.as_dict(private=False), "use": "enc"}
    assert not key_set({"keys": [*odd, weak, used]})
    assert not key_set({"keys": "x"})
    assert len(key_set({"keys": [*odd, EC.as_dict(private=False)]}).keys) == 1


@pytest.mark.parametrize(("code", "verifier"), [("another", ""), ("", "v" * 64)])
def test_a_code_that_was_not_ours_is_not_taken(made: Idp, code: str, verifier: str) -> None:
    with pytest.raises(NotVouchedError) as told:
        come(made, code=code, verifier=verifier)
    assert "canary" not in str(told.value)


TOLD: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://elsewhere.example"},
    "an issuer with a slash more": {"issuer": "http://127.0.0.1/"},
    "no token endpoint": {"token_endpoint": None},
    "a token endpoint without TLS elsewhere": {"token_endpoint": "http://192.0.2.1/token"},
    "keys in a file": {"jwks_uri": "file:///etc/passwd"},
    "an address with a line of its own": {"authorization_endpoint": "https://a.example/\r\nSet-Cookie: a=b"},
    "an address that is none": {"authorization_endpoint": "https://[::1/"},
    "user info elsewhere": {"userinfo_endpoint": "http://192.0.2.1/"},
}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_a_provider_that_tells_of_other_places_is_not_asked(made: Idp, told: dict[str, Any]) -> None:
    made.told = told
    with pytest.raises(ProviderAwayError, match="did not answer as it has to"):
        made.provider().begin(NOW)


def test_a_provider_by_tls_leads_to_nothing_without(made: Idp) -> None:
    provider = made.provider(issuer="https://login.example.org")
    with pytest.raises(ProviderAwayError):
        provider._url({"token_endpoint": "http://localhost/token"}, "token_endpoint")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
@pytest.mark.parametrize("how", [endless, silent, in_drops, elsewhere, failing, no_object, nested])
def test_a_provider_that_is_not_well_is_told_in_words_and_in_time(made: Idp, path: str, how: Any) -> None:
    made.broken = {path: how}

    def away() -> str:
        with pytest.raises(ProviderAwayError) as told:
            come(made, made.provider(within_s=0.4))
        return str(told.value)

    assert "canary" not in in_time(away, 3.0)


def test_a_provider_that_is_not_there_and_our_own_wrong_secret_are_told_alike(made: Idp) -> None:
    with pytest.raises(ProviderAwayError):
        come(made, made.provider(issuer="http://127.0.0.1:1"))
    with pytest.raises(ProviderAwayError):
        come(made, made.provider(client_secret="another"))


@pytest.mark.slow
def test_three_wait_for_a_silent_provider_and_the_others_are_told(made: Idp) -> None:
    provider, said = made.provider(within_s=1.0), []
    made.broken = {"/.well-known/openid-configuration": silent}

    def wait() -> None:
        try:
            provider.begin(NOW)
        except ProviderAwayError as away:
            said.append(str(away))

    waiting = [threading.Thread(target=wait) for _ in range(AT_ONCE + 3)]
    for each in waiting:
        each.start()
    for each in waiting:
        each.join(10)
    assert sorted("others are waiting" in each for each in said) == [False] * AT_ONCE + [True] * 3
    made.broken = {}
    provider.begin(NOW)


def test_no_line_is_opened_without_tls_but_to_this_machine(made: Idp) -> None:
    tls = trusting()
    assert ask(f"{made.url}/keys", tls=tls).status == 200
    for url in ("http://192.0.2.1/", "ftp://127.0.0.1/", "http://localhost.example/"):
        with pytest.raises(Exception, match="no answer: ValueError"):
            ask(url, tls=tls, within_s=0.2)


@pytest.mark.slow
def test_a_private_ca_is_trusted_where_the_operator_says_so(tmp_path: Path) -> None:
    chain = make_chain(["localhost"], now=datetime.now(UTC))
    for name, content in {"chain.pem": chain.pem, "key.pem": chain.key_pem, "roots.pem": chain.root.pem}.items():
        (tmp_path / name).write_bytes(content)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    with idp(tls) as made:
        assert come(made, made.provider(tls=trusting(str(tmp_path / "roots.pem")))).subject == "248289761001"
        with pytest.raises(ProviderAwayError):
            come(made)
