"""Every route with those whose standing changed: an ended or late sign-in, who is gone or kept out, operators, auditors, and looks."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.actions.policy import Permission
from core.store.accounts import LoginSession, User
from core.store.base import new_ref
from core.store.disablings import UserDisabling
from core.store.impersonations import Impersonation
from core.store.watches import Watch
from tests.make import NOW
from tests.portal.conftest import MakeSite, Site, forget_tries, post
from tests.portal.test_gate import MATRIX, OPERATIONS, WHO, filled, served

DATA: dict[str, str | list[str]] = {"names": "new.example", "email": "x@example.org", "password": "wrong"}
OPERATES = {
    ("POST", "/backups/now"): 303,
    ("POST", "/backups/<ref>/prove"): 303,
    ("POST", "/backups/holds"): 422,  # no reason was given
    ("POST", "/backups/holds/<ref>/lift"): 303,
    ("POST", "/operations/accounts/<ref>/look"): 404,  # the password that was typed is wrong; and there is none such
    ("POST", "/operations/look/end"): 303,
    ("POST", "/operations/users/<ref>/disable"): 404,
    ("POST", "/operations/users/<ref>/enable"): 404,
    ("POST", "/operations/users/<ref>/role"): 404,
    ("POST", "/operations/access/<ref>/reason"): 422,  # there is none such
    ("POST", "/operations/status/open"): 403,  # this one has no second factor
    ("POST", "/operations/status/plan"): 422,  # and no time was given
    ("POST", "/operations/status/<ref>/<any(publish, withhold, update, resolve, account):act>"): 403,
}
"""What an operator is answered by the routes that change something on the installation."""


def answers(site: Site, who: str) -> dict[tuple[str, str], int]:
    """What each route answers this person."""
    ref, digest = served(site)
    found = {}
    for method, rule in MATRIX:
        forget_tries()  # there are more doors than may be tried in a minute
        path, client = filled(rule, ref, digest), site.client(who)
        answer = client.get(path, buffered=True) if method == "GET" else post(client, path, DATA | {"ref": [ref]})
        found[method, rule] = answer.status_code
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ended", "late", "gone", "disabled"])
def test_a_sign_in_that_ended_and_a_person_who_is_gone_or_kept_out_get_what_nobody_gets(make_site: MakeSite, how: str) -> None:
    site = make_site(now=lambda: NOW + timedelta(days=15 if how == "late" else 0, minutes=1))
    with site.sessions.writing() as session:
        person = site.actors["owner"].user_id
        if how == "ended":
            session.execute(sa.update(LoginSession).where(LoginSession.user_id == person).values(ended_at=NOW))
        if how == "gone":
            session.execute(sa.update(User).where(User.id == person).values(deleted_at=NOW))
        if how == "disabled":  # by a row alone: what ends the sign-ins besides is tests/actions/test_operators.py's
            session.add(UserDisabling(user_id=person, disabled_at=NOW, disabled_by=None, enabled_at=None, enabled_by=None))
    assert answers(site, "owner") == {route: statuses[WHO.index("nobody")] for route, statuses in MATRIX.items()}


@pytest.mark.slow
@pytest.mark.parametrize("role", ["operator", "auditor"])
def test_a_role_on_the_installation_opens_operations_and_no_account(site: Site, role: str) -> None:
    with site.sessions.writing() as session:
        session.execute(sa.update(User).where(User.id == site.actors["stranger"].user_id).values(installation_role=role))
    for route, status in answers(site, "stranger").items():
        if MATRIX[route] != OPERATIONS:
            assert status == MATRIX[route][WHO.index("stranger")], route
        elif route[0] == "GET":
            assert status == (404 if "<ref>" in route[1] else 200), route
        else:
            assert status == (OPERATES[route] if role == "operator" else 403), route


@pytest.mark.slow
def test_who_looks_at_an_account_for_its_owners_reads_it_and_acts_by_no_route(site: Site) -> None:
    ref, digest = served(site)
    operator = site.actors["stranger"].user_id or 0
    with site.sessions.writing() as session:
        session.execute(sa.update(User).where(User.id == operator).values(installation_role="operator"))
        sign_in = session.scalars(sa.select(LoginSession.id).where(LoginSession.user_id == operator)).one()
        session.add(
            Impersonation(
                ref=new_ref(), sign_in_id=sign_in, user_id=operator, account_id=site.actors["owner"].account_id or 0,
                reason="asked for by its owner", began_at=NOW, ends_at=NOW + timedelta(minutes=30), ended_at=None,
            )
        )  # fmt: skip
    for (method, rule), statuses in MATRIX.items():
        if rule in {"/operations/look/end", "/sign-out"}:
            continue
        forget_tries()
        path, client = filled(rule, ref, digest), site.client("stranger")
        answer = client.get(path, buffered=True) if method == "GET" else post(client, path, DATA | {"ref": [ref], "names": "new.example"})
        gate = gate_of(site, method, rule)
        if method == "POST" and (gate is not None or rule == "/invitation/<token>"):  # joining is an act of one's own
            allowed = 404 if rule == "/operations/accounts/<ref>/look" else 403
            assert answer.status_code == allowed, rule
        elif gate is Permission.SEE_SELF:
            assert answer.status_code == 403, rule
        elif gate is Permission.SEE_OPERATIONS:
            assert answer.status_code == (404 if "<ref>" in rule else 200), rule
        else:
            assert answer.status_code == statuses[WHO.index("viewer")], rule
        if rule.startswith("/log/"):
            continue  # the same for everybody, and about no account
        if "</html>" in answer.text and (answer.status_code == 200 or (gate is not None and answer.status_code != 303)):
            assert "as its viewer" in answer.text, rule
    with site.sessions.reading() as session:
        assert session.scalars(sa.select(Watch.deleted_at).where(Watch.ref == ref)).one() is None
    assert post(site.client("stranger"), "/operations/look/end").status_code == 303
    assert "canary.example" not in site.client("stranger").get("/domains").text


def gate_of(site: Site, method: str, rule: str) -> Permission | None:
    """What the route asks for; None where it is open."""
    found = [each for each in site.app.url_map.iter_rules() if each.rule == rule and method in (each.methods or set())]
    gate: Permission | None = getattr(site.app.view_functions[found[0].endpoint], "gate", None)
    return gate
