"""Two accounts watch one name: they share its scans, and nothing of the one is ever said to the other."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.actions import removals, team
from core.actions.api_tokens import SCOPES, make_token
from core.actions.domains import remove_watches
from core.actions.letters import tell_by_mail
from core.actions.own_account import rename_account
from core.scanner.path import Roots
from core.store.accounts import User
from core.store.observations import Certificate
from demo.pki import make_chain, make_root
from tests.make import NOW
from tests.people import proof
from tests.portal.conftest import PASSWORD, PEOPLE, Site, forget_tries, post
from tests.portal.test_gate import MATRIX, filled
from tests.scenes import scan_all

CANARY = "kcanary"
SHARED = "shared.example"
SEARCHES = ("/domains?q={}", "/domains?q={}&state=bad", "/certificates/?q={}", "/mails?q={}", "/bin?q={}", "/check?name={}.example")


@pytest.fixture
def full(site: Site) -> tuple[Site, list[str], str]:
    """The owner's account is full of canaries: names, certificates, mails, members, tokens, what is asked, and the bin."""
    refs = site.add(SHARED, f"{CANARY}-live.example", f"{CANARY}-gone.example", *(f"{CANARY}{number}.example" for number in range(26)))
    site.add(SHARED, role="stranger")
    root = make_root(now=NOW)
    names = [SHARED, *(f"{CANARY}{number}.example" for number in range(26)), f"{CANARY}-live.example"]
    seen = {name: {"192.0.2.1": make_chain([name], root=root, now=NOW).ders} for name in names}
    scan_all(site.sessions, seen, Roots.of([make_root(now=NOW).certificate]), NOW + timedelta(seconds=10))  # not trusted: findings
    owner, checked = site.actors["owner"], proof(site.sessions, PEOPLE["owner"], PASSWORD)
    with site.sessions.writing() as session:
        rename_account(session, owner, name=f"{CANARY} account", now=NOW)
        remove_watches(session, owner, refs=[refs[2]], now=NOW)
        team.invite(session, owner, email=f"{CANARY}@example.org", role="viewer", days=7, now=NOW)
        make_token(session, owner, name=f"{CANARY} token", days=30, scopes=SCOPES, now=NOW)
        removals.remove_names(session, owner, refs=[refs[1], *refs[3:]], checked=checked, now=NOW)
        tell_by_mail(session, PEOPLE["owner"], f"{CANARY} subject", "text", account_id=owner.account_id, now=NOW)
        digest = session.scalars(sa.select(Certificate.sha256).where(Certificate.subject.contains(CANARY))).first()
    assert digest is not None
    return site, refs, digest


@pytest.mark.slow
def test_the_canaries_are_where_their_account_looks(full: tuple[Site, list[str], str]) -> None:
    site, refs, digest = full
    mine = site.client("owner")
    for path in ("/domains", "/certificates/", "/bin", "/team", "/tokens", "/approvals", "/account", f"/endpoints/{refs[1]}"):
        assert CANARY in mine.get(path).text, path
    assert CANARY in mine.get(f"/certificates/{digest}").text


@pytest.mark.slow
@pytest.mark.parametrize("role", ["stranger", "operator"])
def test_no_page_search_count_error_or_answer_says_one_to_another_account(full: tuple[Site, list[str], str], role: str) -> None:
    site, refs, digest = full
    if role == "operator":
        with site.sessions.writing() as session:
            session.execute(sa.update(User).where(User.email == PEOPLE["stranger"]).values(installation_role="operator"))
    other = site.client("stranger")
    counted = other.get("/domains").text
    assert SHARED in counted
    data: dict[str, str | list[str]] = {"ref": [refs[1], refs[2]], "names": SHARED, "email": "x@example.org", "name": "x"}
    for method, rule in MATRIX:
        if rule == "/sign-out":
            continue
        forget_tries()
        for ref in (refs[0], refs[1], refs[2]):
            path = filled(rule, ref, digest)
            answer = other.get(path, buffered=True) if method == "GET" else post(other, path, data)
            said = answer.text if (answer.mimetype or "").startswith(("text/", "application/json")) else ""
            for word in (f"{CANARY}-", f"{CANARY}0.", f"{CANARY} token") if rule.startswith("/operations") else (CANARY,):
                assert word not in said, f"{method} {path}"  # operators see what accounts and their members are called, and no more
            assert CANARY not in str(answer.headers), f"{method} {path}"
            if "<ref>" not in rule:
                break
    for path in SEARCHES:
        asked, nonsense = other.get(path.format(CANARY)), other.get(path.format("qwertz8"))
        assert asked.status_code == nonsense.status_code, path
        assert asked.text.count(CANARY) == nonsense.text.count("qwertz8"), f"{path} says no more than was typed"
    with site.sessions.writing() as session:
        token = make_token(session, site.actors["stranger"], name="wall", days=30, scopes=SCOPES, now=NOW).token
    for path in ("/api/v1/me", "/api/v1/domains", "/api/v1/certificates"):
        answer = other.get(path, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        assert CANARY not in answer.text
