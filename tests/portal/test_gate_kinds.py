"""Every route with those whose standing changed: an ended or late sign-in, a person who is gone, operators and auditors."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.store.accounts import LoginSession, User
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
@pytest.mark.parametrize("how", ["ended", "late", "gone"])
def test_a_sign_in_that_ended_and_a_person_who_is_gone_get_what_nobody_gets(make_site: MakeSite, how: str) -> None:
    site = make_site(now=lambda: NOW + timedelta(days=15 if how == "late" else 0, minutes=1))
    with site.sessions.writing() as session:
        person = site.actors["owner"].user_id
        if how == "ended":
            session.execute(sa.update(LoginSession).where(LoginSession.user_id == person).values(ended_at=NOW))
        if how == "gone":
            session.execute(sa.update(User).where(User.id == person).values(deleted_at=NOW))
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
