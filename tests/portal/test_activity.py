"""An account's activity: in full words, for its own people alone, and as a file that proves itself."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa

from audit.entry import opens
from audit.erasing import erase_private
from audit.keeper import Keeper
from audit.kinds import KINDS, UNKNOWN
from audit.note import Checkpoint, Verifier, checkpoint_signed_by
from audit.opened import opened
from audit.tables import OutboxEvent
from audit.tree import included, leaf_hash
from core.actions.activity import download_activity
from core.actions.policy import NotAllowed
from core.store.accounts import Membership
from core.store.teams import TeamMember
from portal.activity import GROUPED, GROUPS, People, kinds_with_text, line, sentence
from tests.make import NOW
from tests.portal.conftest import PEOPLE, Site, post
from tests.portal.test_endpoints import assert_only_our_markup
from tests.portal.test_log import HOSTILE, LATER, ORIGIN, happen, seal
from tests.portal.test_operations import text_of

MEMBER = TeamMember("zyxwvutsrqpnmkjh", "mira@example.org", "owner", NOW, None)
LEFT = TeamMember("hjkmnpqrstuvwxyz", "max@example.org", "manager", NOW, NOW)
US = People((MEMBER,), (LEFT,))
OF_ACCOUNTS = {  # what actions append with an account's reference: a kind that is new there gets words, and stands in a group
    "account.factor_required.v1", "account.made.v1", "account.removed.v1", "account.renamed.v1", "account.restored.v1",
    "activity.downloaded.v1", "api_token.made.v1", "api_token.revoked.v1", "domains.added.v1", "domains.edited.v1", "domains.removed.v1",
    "domains.restored.v1", "impersonation.begun.v1", "impersonation.ended.v1", "invitation.withdrawn.v1", "member.invited.v1",
    "member.joined.v1", "member.left.v1", "member.removed.v1", "member.restored.v1", "removal.approved.v1", "removal.asked.v1",
    "removal.refused.v1", "role.changed.v1", "scan.requested.v1", "calendar.opened.v1", "calendar.revoked.v1", "export.asked.v1",
    "export.delivered.v1", "export.downloaded.v1", "export.failed.v1", "export.made.v1", "export_plan.made.v1", "export_plan.removed.v1",
    "import.applied.v1", "import.dropped.v1", "import.handed_in.v1", "import.undone.v1", "import.wanted.v1", "list.downloaded.v1",
}  # fmt: skip


@pytest.mark.slow
def test_every_kind_has_words_and_no_value_makes_them_fail() -> None:
    odd: tuple[Any, ...] = (0, 1, 12_345, -1, "", "x", HOSTILE, True, False, None, ["a"], {"b": 1}, 1.5)
    for kind in (*KINDS, "never.heard_of.v7"):
        known = KINDS.get(kind, UNKNOWN)
        assert ("did something" not in sentence(kind, {}).did) == (kind in OF_ACCOUNTS), kind
        for value, actor in product(odd, (f"user:{MEMBER.ref}", "user:unknown", "worker", "terminal", "nobody", "log", "", "odd")):
            said = line(kind, actor, NOW, dict.fromkeys({*known.shown, *known.counted, "names", "user", "email"}, value), US)
            assert said.who[0] == said.who[0].upper() or "@" in said.who
            assert said.what.did
            assert all(
                isinstance(text, str) for text in (said.what.whom, said.what.rest, *(text for pair in said.details for text in pair))
            )


def test_every_kind_of_an_account_stands_in_a_group() -> None:
    assert GROUPED == OF_ACCOUNTS
    assert sum(len(kinds) for _, kinds in GROUPS.values()) == len(GROUPED)


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("domains.added.v1", {"added": 2, "restored": 0, "names": "a.example, b.example"}, "added 2 names: a.example, b.example"),
        ("domains.added.v1", {"added": 0, "restored": 1}, "brought 1 name back by listing them again"),
        ("domains.removed.v1", {"removed": 1, "names": "a.example"}, "put 1 name into the bin: a.example"),
        (
            "domains.edited.v1", {"names": 3, "added": "shop", "responsible": MEMBER.ref},
            "wrote on 3 names Tags added shop Now responsible mira@example.org",
        ),
        ("domains.edited.v1", {"names": 1, "note": True}, "wrote on 1 name Note changed yes"),
        ("member.invited.v1", {"role": "viewer", "email": "noa@x.example"}, "invited noa@x.example as viewer"),
        ("member.removed.v1", {"role": "manager", "user": LEFT.ref}, "removed max@example.org (a former member) who was manager here"),
        ("role.changed.v1", {"from": "viewer", "to": "owner", "user": "gone"}, "made a former member owner, who was viewer"),
        ("removal.asked.v1", {"names": 30}, "asked a second person to allow the removal of 30 names"),
        ("removal.refused.v1", {"account": True, "withdrawn": True}, "took back the request for the removal of this whole account"),
        ("removal.refused.v1", {"names": 30, "withdrawn": False}, "refused the removal of 30 names"),
        ("account.factor_required.v1", {"on": False}, "stopped asking members for a second factor"),
        ("account.removed.v1", {"names": 1, "members": 2}, "put this account into the bin, with 1 name and 2 members"),
        (
            "api_token.made.v1", {"days": 90, "scopes": "domains", "token": "abc"},
            "made an API token that lasts 90 days May read domains Reference of the token abc",
        ),
        (
            "impersonation.begun.v1", {"minutes": 30, "reason": "They ask"},
            "began to look at this account as a viewer of it would, for 30 minutes at most Reason given They ask",
        ),
        (
            "impersonation.ended.v1", {"by": "time", "reason": "They ask"},
            "stopped looking at this account, as its time was over Reason given They ask",
        ),
        ("activity.downloaded.v1", {"entries": 1}, "downloaded this activity with its proofs: 1 entry"),
        ("scan.requested.v1", {"names": 2}, "asked for scans of 2 names at once"),
        ("export.made.v1", {"names": 44, "bytes": 99_906, "sha256": "ab"}, "made an export of 44 names, in 99,906 bytes SHA-256 ab"),
        (
            "import.applied.v1", {"form": "csv", "added": 2, "changed": 1, "skipped": 0, "refused": 3, "name": "a.csv"},
            "brought a file in (csv): 2 names added, 1 changed, 0 skipped, 3 refused Called a.csv",
        ),
        ("list.downloaded.v1", {"list": "domains.csv"}, "downloaded a list, domains.csv, of some names"),
    ],
)  # fmt: skip
def test_the_words_are_whole(kind: str, values: Mapping[str, Any], words: str) -> None:
    said = line(kind, "user:zyxwvutsrqpnmkjh", NOW, values, US)
    told = [said.what.did, said.what.whom, said.what.rest, *(text for pair in said.details for text in pair)]
    assert " ".join(filter(None, told)).replace("\u00a0", " ") == words


def test_who_it_was_is_told() -> None:
    who = {
        actor: US.who(actor, "domains.added.v1") for actor in (f"user:{MEMBER.ref}", f"user:{LEFT.ref}", "user:other", "worker", "terminal")
    }
    assert list(who.values()) == [
        "mira@example.org", "max@example.org (a former member)", "A former member", "KeyChest itself",
        "The operator, at the terminal of the machine",
    ]  # fmt: skip
    assert US.who(f"user:{MEMBER.ref}", "impersonation.begun.v1") == "An operator of this installation"
    assert kinds_with_text("into the BIN") == {"domains.removed.v1", "account.removed.v1"}


def test_the_account_sees_all_of_it_and_nobody_else_does(logged: Site, keeper: Keeper) -> None:
    happen(logged, 2)
    happen(logged, 1, "member.invited.v1", email="canary@example.org")
    happen(logged, 1, "impersonation.begun.v1", reason=HOSTILE)
    seal(logged, keeper)
    happen(logged, 1, "account.renamed.v1", at=LATER)
    page = logged.client("viewer").get("/activity").text
    text = text_of(re.sub(r"<[^>]+>", " ", page.replace("<wbr>", "")))
    assert re.search(r"Not sealed yet 1 act mira@example\.org gave this account another name", text)
    assert "An operator of this installation began to look at this account" in text
    assert "mira@example.org added 2 names: canary-1.example.org" in text
    assert "invited canary@example.org as" in text
    assert re.findall(r'href="/log/entries/1/(\d+)"', page) == ["4", "3", "2", "1"]
    assert_only_our_markup(page)
    assert "&lt;script&gt;alert(1)" in page
    assert "An account began to watch names. By a person, 23 Nov 2026" in text
    assert "account, actor, added, at, names" in text
    stranger = logged.client("stranger").get("/activity").text
    assert "canary" not in stranger
    assert "Nothing happened yet" in stranger


@pytest.mark.slow
def test_it_is_filtered_by_group_person_words_and_days(logged: Site, keeper: Keeper) -> None:
    happen(logged, 35)
    happen(logged, 1, "member.invited.v1", email="noa@elsewhere.example", at=NOW + timedelta(days=1))
    seal(logged, keeper, NOW + timedelta(days=1))
    client = logged.client("owner")

    def entries(**asked: str) -> list[int]:
        return [int(each) for each in re.findall(r'href="/log/entries/1/(\d+)"', client.get("/activity", query_string=asked).text)]

    owner, viewer = logged.actors["owner"].user_ref, logged.actors["viewer"].user_ref
    assert entries() == list(range(36, 6, -1))
    assert entries(after="1.7") == list(range(6, 0, -1))
    assert entries(group="team") == entries(q="noa@elsewhere") == entries(q="INVITED") == [36]
    assert entries(group="removals") == entries(group="other") == entries(who=viewer) == entries(q="zzz") == []
    assert len(entries(who=owner)) == len(entries(q="mira@")) == len(entries(group="names")) == 30
    day = NOW.date().isoformat()
    assert entries(since=(NOW + timedelta(days=1)).date().isoformat()) == [36]
    assert entries(since=day, until=day, q="canary-3.") == [4]
    for odd in (
        {"after": "x"},
        {"after": "1"},
        {"group": "x"},
        {"who": "x"},
        {"since": "x"},
        {"until": "9999-12-31"},
        {"since": "0001-01-01"},
    ):
        assert len(entries(**odd)) == 30, odd
    assert entries(after=f"{'9' * 18}.{'9' * 18}")[0] == 36
    page = client.get("/activity", query_string={"q": HOSTILE[:25], "group": "team"}).text
    assert_only_our_markup(page)
    assert "Nothing matches" in page
    older = re.search(r'href="(/activity\?[^"]+)">Older', client.get("/activity?q=canary&group=names").text)
    assert older is not None
    assert "q=canary" in older[1]
    assert "group=names" in older[1]


@pytest.mark.slow
def test_the_download_proves_itself(logged: Site, keeper: Keeper) -> None:
    happen(logged, 300, reason=HOSTILE)
    sequencer = seal(logged, keeper)
    with logged.sessions.writing() as session:
        erase_private(session, [(1, 7)], NOW)
    before = (keeper.public / "checkpoint").read_bytes()
    happen(logged, 3, "account.renamed.v1")
    sequencer.turn(LATER)
    (keeper.public / "checkpoint").write_bytes(before)  # as while witnesses are waited for
    happen(logged, 1, "account.renamed.v1")
    answer = post(logged.client("viewer"), "/activity/download", {"group": ""})
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="keychest-activity-{NOW:%Y-%m-%d}.json"'
    assert answer.headers["Cache-Control"] == "no-store"
    made = json.loads(answer.data)
    assert made["format"] == "keychest-activity/1"
    assert list(made["logs"]) == [ORIGIN]
    keys = [Verifier.read(vkey) for vkey in made["logs"][ORIGIN]["keys"]]
    checkpoint, _ = checkpoint_signed_by(made["logs"][ORIGIN]["checkpoint"].encode(), ORIGIN, keys)
    assert checkpoint.size == 301
    assert [each["index"] for each in made["entries"]] == [each for each in range(300, 0, -1) if each != 7]
    assert made["left_out"] == 3
    assert opened(made, keys).report.faults == [], "the verifier reads it as it is made"
    for each in made["entries"]:
        assert_proven(each, checkpoint)
        assert each["sealed"]["names"][1] == f"canary-{each['index'] - 1}.example.org"
    assert PEOPLE["stranger"] not in answer.text
    strangers = opened(made, [])
    assert (strangers.report.faults, len(strangers.lines)) == ([], 299)
    with logged.sessions.reading() as session:
        event = session.scalars(sa.select(OutboxEvent).order_by(OutboxEvent.id.desc())).first()
    assert event is not None
    viewer = logged.actors["viewer"]
    assert (event.kind, event.actor, event.account_ref, event.public) == (
        "activity.downloaded.v1", viewer.name, viewer.account_ref, {"entries": 299},
    )  # fmt: skip


def assert_proven(each: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    body, proof = each["entry"].encode(), [base64.b64decode(hash_) for hash_ in each["proof"]]
    assert each["log"] == checkpoint.origin
    assert included(leaf_hash(body), each["index"], checkpoint.size, proof, checkpoint.root)
    assert opens(body, each["sealed"]) == []
    assert set(each["sealed"]) == set(json.loads(body)["c"])


def test_a_download_takes_what_the_filter_leaves_and_its_account_s_alone(
    logged: Site, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(logged, 5)
    happen(logged, 1, "member.invited.v1", email="noa@elsewhere.example")
    seal(logged, keeper)
    owner = logged.client("owner")
    assert [each["index"] for each in json.loads(post(owner, "/activity/download", {"q": "noa@"}).data)["entries"]] == [6]
    monkeypatch.setattr("portal.views.activity.MOST", 2)
    assert [each["index"] for each in json.loads(post(owner, "/activity/download").data)["entries"]] == [6, 5]
    assert json.loads(post(logged.client("stranger"), "/activity/download").data) == {
        "format": "keychest-activity/1", "logs": {}, "entries": [], "left_out": 0,
    }  # fmt: skip
    assert owner.post("/activity/download").status_code == 403, "a form of ours carries a token"
    (keeper.public / "tile/0/000.p/7").unlink()
    without = json.loads(post(owner, "/activity/download").data)
    assert (without["entries"], without["left_out"]) == ([], 2)


def test_an_entry_that_was_changed_in_the_database_is_not_handed_out_as_proven(logged: Site, keeper: Keeper) -> None:
    happen(logged, 2)
    seal(logged, keeper)
    with logged.sessions.writing() as session:
        session.execute(sa.text("DROP TRIGGER audit_entries_update"))
        session.execute(sa.text("UPDATE audit_entries SET body = replace(body, 'at', 'At') WHERE entry_index = 1"))
    with logged.sessions.writing() as session:
        body = session.execute(sa.text("SELECT body FROM audit_entries WHERE entry_index = 1")).scalar_one()
        session.execute(sa.text("UPDATE audit_entries SET body = :body WHERE entry_index = 1"), {"body": str(body).encode()})
    made = json.loads(post(logged.client("owner"), "/activity/download").data)
    assert ([each["index"] for each in made["entries"]], made["left_out"]) == ([2], 1)


def test_only_who_may_read_takes_it_along(logged: Site) -> None:
    owner = logged.actors["owner"]
    for actor in (replace(owner, role=""), replace(owner, impersonating=True)):
        with logged.sessions.writing() as session, pytest.raises(NotAllowed):
            download_activity(session, actor, entries=1, now=NOW)


def test_a_former_member_s_acts_stay(logged: Site, keeper: Keeper) -> None:
    happen(logged, 1)
    seal(logged, keeper)
    with logged.sessions.writing() as session:
        owner = logged.actors["owner"]
        session.execute(sa.update(Membership).where(Membership.user_id == owner.user_id).values(deleted_at=NOW))
    text = text_of(logged.client("viewer").get("/activity").text)
    assert f"{PEOPLE['owner']} (a former member)" in text
