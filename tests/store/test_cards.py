"""The list by tag and by responsible person."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.actions import team
from core.actions.cards import Bulk, edit_domains
from core.store.cards import LEFT, MINE, NOBODY
from core.store.db import Sessions
from core.store.listing import Wanted, listing
from tests.make import NOW, make_watches
from tests.people import joined, person


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 50])
def test_a_list_is_narrowed_by_tag_and_person_and_paged_within(sessions: Sessions, size: int) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        max_, _ = joined(session, owner, "max@example.org", "viewer")
        eve, _ = person(session, "eve@elsewhere.example")
        refs = [added.ref for added in make_watches(session, owner, *(f"n{number}.example" for number in range(8)), "n1.example:8443")]
        theirs = [added.ref for added in make_watches(session, eve, "n1.example")]
        for actor, which, bulk in (
            (owner, refs[:4], Bulk("shop", "", owner.user_ref)), (owner, refs[3:6], Bulk("web shop", "", max_.user_ref)),
            (eve, theirs, Bulk("shop", "", eve.user_ref)), (owner, refs[:1], Bulk("", "shop")),
        ):  # fmt: skip
            edit_domains(session, actor, refs=which, bulk=bulk, now=NOW)

    def found(**wanted: str) -> str:
        """The names by their numbers, over all pages."""
        asked = Wanted(sort="name", reader_id=owner.user_id, **wanted)
        with sessions.reading() as session:
            page = listing(session, owner.account_id or 0, asked, size)
            numbers = [row.name[1] for row in page.rows]
            while page.next:
                page = listing(
                    session, owner.account_id or 0, Wanted(sort="name", reader_id=owner.user_id, after=page.next, **wanted), size
                )
                numbers += [row.name[1] for row in page.rows]
        return "".join(numbers)

    assert found(tag="shop") == "1123", "both watches of a name bear its tags"
    assert found(tag="web shop") == "345"
    assert found(tag="shop", text="n3") == "3"
    assert found(tag="shop", who=max_.user_ref) == "3"
    assert found(tag="nothing") == found(who="x" * 16) == found(who=LEFT) == found(who=eve.user_ref) == ""
    assert (found(who=MINE), found(who=NOBODY), found(who=max_.user_ref)) == ("0112", "67", "345")
    with sessions.writing() as session:
        team.remove_member(session, owner, user_ref=max_.user_ref, now=NOW)
    assert (found(who=LEFT), found(who=NOBODY)) == ("345", "67")
    with sessions.writing() as session:
        team.restore_member(session, owner, user_ref=max_.user_ref, now=NOW)
        session.execute(sa.text("UPDATE users SET deleted_at = :at WHERE id = :id"), {"at": NOW.replace(tzinfo=None), "id": max_.user_id})
    assert found(who=LEFT) == "345", "a person who is gone has left"
