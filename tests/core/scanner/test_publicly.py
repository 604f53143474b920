"""Refused, filtered and unreachable are one answer, in words and in time; an address inside is not named."""

from collections.abc import Sequence

import pytest

from core.scanner.facts import Failure, FailureKind, Stage
from core.scanner.path import Roots
from core.scanner.publicly import BUDGET, NOT_PUBLIC, UNREACHED, answer_of, shown_after_s
from core.scanner.verdict import Verdict, judge
from demo.pki import make_chain
from tests.make import NOW, make_scan

CLOSED = (
    Failure(FailureKind.REFUSED, Stage.CONNECT, "192.0.2.1 refused the connection on port 443."),
    Failure(FailureKind.TIMEOUT, Stage.CONNECT, "192.0.2.1 did not answer on port 443 within 4 seconds."),
    Failure(FailureKind.REFUSED, Stage.CONNECT, "There is no route to 192.0.2.1."),
    Failure(FailureKind.RESET, Stage.CONNECT, "192.0.2.1 ended the connection as soon as it was opened."),
)


def judged(seen: dict[str, Sequence[bytes] | Failure]) -> Verdict:
    return judge(make_scan("a.example", seen), Roots.of([make_chain(["x.example"], now=NOW).root.certificate]), NOW)


def test_closed_filtered_and_unreachable_differ_in_nothing() -> None:
    verdicts = [judged({"192.0.2.1": failure}) for failure in CLOSED]
    assert len({repr(answer_of(verdict)) for verdict in verdicts}) == 1
    assert {shown_after_s(verdict) for verdict in verdicts} == {BUDGET.dns_s + BUDGET.connect_s + 1}
    assert answer_of(verdicts[0])["sentence"] == UNREACHED


def test_one_closed_address_beside_a_good_one_tells_no_more() -> None:
    chain = make_chain(["a.example"], now=NOW)
    roots = Roots.of([chain.root.certificate])
    verdicts = [judge(make_scan("a.example", {"192.0.2.1": failure, "192.0.2.2": chain.ders}), roots, NOW) for failure in CLOSED]
    assert len({repr(answer_of(verdict)) for verdict in verdicts}) == 1
    assert len({shown_after_s(verdict) for verdict in verdicts}) == 1
    assert answer_of(verdicts[0])["sentence"] == f"1 of 2 addresses did not answer: {UNREACHED}"


def test_no_time_of_more_addresses_passes_the_budget() -> None:
    many: dict[str, Sequence[bytes] | Failure] = {f"192.0.2.{number}": CLOSED[0] for number in range(16)}
    assert shown_after_s(judged(many)) == BUDGET.total_s + 1


def test_what_answered_is_shown_at_once() -> None:
    chain = make_chain(["a.example"], now=NOW)
    verdict = judge(make_scan("a.example", {"192.0.2.1": chain.ders}), Roots.of([chain.root.certificate]), NOW)
    assert shown_after_s(verdict) == 0
    answer = answer_of(verdict)
    assert answer["state"] == "ok"
    assert answer["certificates"][0]["names"] == ["a.example"]
    assert answer["certificates"][0]["verified"] is True


@pytest.mark.parametrize("words", ["10.0.0.1 is not dialled: it is a private address.", "This address was not dialled, because …"])
def test_an_address_inside_is_not_named(words: str) -> None:
    answer = answer_of(judged({"10.0.0.1": Failure(FailureKind.REFUSED_ADDRESS, Stage.GUARD, words)}))
    assert answer["sentence"] == NOT_PUBLIC
    assert "10.0.0.1" not in repr(answer)
