from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.store.db import Sessions
from core.store.leaves import ServedLeaf
from core.store.observations import Certificate
from core.store.served import names_watched, others_there, served_now, sightings
from core.store.watches import NO_END
from demo.pki import make_chain
from tests.make import NOW, make_actor, make_watches
from tests.scenes import roots_of, scan_all

HOUR = timedelta(hours=1)
DAY = 24 * HOUR


def _account(sessions: Sessions, email: str, *names: str, hour: int = 0) -> int:
    with sessions.writing() as session:
        actor = make_actor(session, email)
        make_watches(session, actor, *names, now=NOW + hour * HOUR)
        assert actor.account_id is not None
        return actor.account_id


def test_certificates_by_end_with_where_they_are_served(sessions: Sessions) -> None:
    account_id = _account(sessions, "mira@example.org", "a.example", "b.example", "c.example")
    late, early = make_chain(["a.example"], not_after=NOW + 80 * DAY), make_chain(["c.example"], not_after=NOW + 9 * DAY)
    seen = {
        "a.example": {"192.0.2.1": late.ders, "192.0.2.2": late.ders},
        "b.example": {"192.0.2.1": late.ders},
        "c.example": {"192.0.2.9": early.ders},
    }
    scan_all(sessions, seen, roots_of(late, early), NOW + HOUR)
    with sessions.reading() as session:
        rows = served_now(session, account_id, most=10)
        assert [row.sha256 for row in rows] == [early.leaf.sha256, late.leaf.sha256]
        assert [(row.endpoints, row.addresses, row.name) for row in rows] == [(1, 1, "c.example"), (2, 2, "a.example")]
        (first,) = served_now(session, account_id, most=1)
        assert first.not_after is not None
        assert served_now(session, account_id, after=(first.not_after, first.sha256), most=10) == rows[1:]


@pytest.mark.slow
def test_what_is_not_served_any_more_and_what_others_serve_is_left_out(sessions: Sessions) -> None:
    account_id = _account(sessions, "mira@example.org", "a.example")
    other = _account(sessions, "eve@elsewhere.example", "b.example")
    old, new, theirs = make_chain(["a.example"]), make_chain(["a.example"]), make_chain(["b.example"])
    roots = roots_of(old, new, theirs)
    scan_all(sessions, {"a.example": {"192.0.2.1": old.ders}, "b.example": {"192.0.2.2": theirs.ders}}, roots, NOW + HOUR)
    scan_all(sessions, {"a.example": {"192.0.2.1": new.ders}, "b.example": {"192.0.2.2": theirs.ders}}, roots, NOW + 2 * HOUR)
    with sessions.reading() as session:
        assert [row.sha256 for row in served_now(session, account_id, most=10)] == [new.leaf.sha256]
        assert [row.sha256 for row in served_now(session, other, most=10)] == [theirs.leaf.sha256]
        assert sightings(session, account_id, theirs.leaf.sha256, most=10) == ()
        (before,) = sightings(session, account_id, old.leaf.sha256, most=10)
        assert (before.now, before.address, before.since_at) == (False, "192.0.2.1", NOW + HOUR)


def test_an_end_that_cannot_be_read_comes_last_and_can_be_paged_past(sessions: Sessions) -> None:
    account_id = _account(sessions, "mira@example.org", "a.example", "b.example")
    one, two = make_chain(["a.example"]), make_chain(["b.example"])
    scan_all(sessions, {"a.example": {"192.0.2.1": one.ders}, "b.example": {"192.0.2.1": two.ders}}, roots_of(one, two), NOW + HOUR)
    with sessions.writing() as session:
        session.execute(sa.update(Certificate).where(Certificate.sha256 == one.leaf.sha256).values(not_after=None))
        session.execute(sa.update(ServedLeaf).where(ServedLeaf.leaf_sha256 == one.leaf.sha256).values(ends_at=NO_END))
    with sessions.reading() as session:
        assert [row.sha256 for row in served_now(session, account_id, most=9)] == [two.leaf.sha256, one.leaf.sha256]
        assert served_now(session, account_id, after=(NO_END, one.leaf.sha256), most=9) == ()


@pytest.mark.slow
def test_search_by_name_subject_issuer_serial_and_fingerprint(sessions: Sessions) -> None:
    account_id = _account(sessions, "mira@example.org", "shop.example", "mail_box.example".replace("_", "-"))
    shop = make_chain(["shop.example"], cn="Harbour 100% Shop", serial=0xABCDEF1234)
    mail = make_chain(["mail-box.example"])
    seen = {"shop.example": {"192.0.2.1": shop.ders}, "mail-box.example": {"192.0.2.2": mail.ders}}
    scan_all(sessions, seen, roots_of(shop, mail), NOW + HOUR)
    digest = shop.leaf.sha256
    grouped = " ".join(digest.upper()[at : at + 4] for at in range(0, 16, 4))
    with sessions.reading() as session:
        for words in ("shop.ex", "harbour", "100%", "AB CD EF 12", "00abcdef", digest[:12], grouped):
            assert [row.sha256 for row in served_now(session, account_id, search=words, most=9)] == [digest], words
        assert len(served_now(session, account_id, search="test intermediate", most=9)) == 2
        for words in ("%", "_", "' OR 1=1 --", "nosuch", "\u202e"):
            found = [row.sha256 for row in served_now(session, account_id, search=words, most=9)]
            assert found in ([], [digest]), words
            assert (found == [digest]) == (words == "%"), words


def test_intermediates_are_found_by_the_chains_they_were_served_in(sessions: Sessions) -> None:
    account_id = _account(sessions, "mira@example.org", "a.example")
    stranger = _account(sessions, "eve@elsewhere.example")
    chain = make_chain(["a.example"])
    scan_all(sessions, {"a.example": {"192.0.2.1": chain.ders}}, roots_of(chain), NOW + HOUR)
    with sessions.reading() as session:
        (seen,) = sightings(session, account_id, chain.intermediates[0].sha256, most=9)
        assert seen.chain == (chain.leaf.sha256, chain.intermediates[0].sha256)
        assert sightings(session, stranger, chain.intermediates[0].sha256, most=9) == ()
        assert sightings(session, account_id, chain.root.sha256, most=9) == ()  # trusted, never served


@pytest.mark.slow
def test_a_new_watch_sees_no_certificate_from_before(sessions: Sessions) -> None:
    _account(sessions, "mira@example.org", "a.example")
    old, new = make_chain(["a.example"]), make_chain(["a.example"])
    roots = roots_of(old, new)
    scan_all(sessions, {"a.example": {"192.0.2.1": old.ders, "192.0.2.2": new.ders}}, roots, NOW + HOUR)
    scan_all(sessions, {"a.example": {"192.0.2.1": new.ders, "192.0.2.2": new.ders}}, roots, NOW + 2 * HOUR)
    second = _account(sessions, "eve@elsewhere.example", "a.example", hour=3)
    with sessions.reading() as session:
        assert served_now(session, second, most=9) == ()
        assert sightings(session, second, new.leaf.sha256, most=9) == ()
    scan_all(sessions, {"a.example": {"192.0.2.1": new.ders, "192.0.2.2": new.ders}}, roots, NOW + 4 * HOUR)
    with sessions.reading() as session:
        places = sightings(session, second, new.leaf.sha256, most=9)
        assert {place.since_at for place in places} == {NOW + 3 * HOUR}
        assert sightings(session, second, old.leaf.sha256, most=9) == ()
        assert others_there(session, second, new.leaf.sha256, places, most=9) == ()


def test_before_and_after_are_of_the_same_addresses_only(sessions: Sessions) -> None:
    account_id = _account(sessions, "mira@example.org", "a.example")
    old, new, aside = make_chain(["a.example"]), make_chain(["a.example"]), make_chain(["a.example"])
    roots = roots_of(old, new, aside)
    scan_all(sessions, {"a.example": {"192.0.2.1": old.ders, "192.0.2.2": aside.ders}}, roots, NOW + HOUR)
    scan_all(sessions, {"a.example": {"192.0.2.1": new.ders, "192.0.2.2": aside.ders}}, roots, NOW + 2 * HOUR)
    with sessions.reading() as session:
        places = sightings(session, account_id, new.leaf.sha256, most=9)
        assert [other.sha256 for other in others_there(session, account_id, new.leaf.sha256, places, most=9)] == [old.leaf.sha256]


def test_names_in_the_accounts_own_list(sessions: Sessions) -> None:
    account_id = _account(sessions, "mira@example.org", "a.example", "a.example:8443", "b.example")
    _account(sessions, "eve@elsewhere.example", "c.example")
    with sessions.reading() as session:
        found = names_watched(session, account_id, ["c.example", *(f"n{number}.example" for number in range(1_200)), "a.example"])
    assert set(found) == {"a.example"}
