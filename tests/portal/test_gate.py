"""Every route with everybody: owner, manager and viewer of an account, the owner of another account, and nobody."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.actions.policy import Actor, Permission
from core.scanner.path import Roots
from core.store.observations import Certificate
from core.store.watches import Watch
from demo.pki import make_chain
from portal.gate import gate
from tests.make import NOW, make_scan, run_scans
from tests.portal.conftest import Site, forget_tries, post

WHO = ("owner", "manager", "viewer", "stranger", "nobody")
READ = (200, 200, 200, 200, 303)
OWN = (200, 200, 200, 404, 303)
ACT = (303, 303, 403, 303, 303)
OPERATIONS = (
    403,
    403,
    403,
    403,
    303,
)  # for a role on the installation, which none of these has: tests/portal/test_backups.py, test_operations.py
# By method and rule: what each of WHO is answered. {ref} is the owner's watch, {digest} a certificate that it serves.
MATRIX: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", "/"): READ,
    ("GET", "/domains"): READ,
    ("GET", "/domains/rows"): READ,
    ("POST", "/domains"): (200, 200, 403, 200, 303),
    ("POST", "/domains/remove"): ACT,
    ("POST", "/domains/restore"): ACT,
    ("POST", "/domains/check"): ACT,
    ("POST", "/domains/edit"): (422, 422, 403, 422, 303),  # nothing is to be done
    ("GET", "/bin"): READ,
    ("POST", "/bin/restore"): ACT,
    ("GET", "/exports"): READ,
    ("POST", "/exports"): (422, 422, 403, 422, 303),
    ("GET", "/exports/get/<token>"): READ,
    ("POST", "/exports/get/<token>"): (404, 404, 404, 404, 303),
    ("POST", "/exports/<ref>/download"): (422, 422, 403, 422, 303),
    ("GET", "/exports/plan"): (200, 200, 403, 200, 303),
    ("POST", "/exports/plan"): (422, 422, 403, 422, 303),
    ("POST", "/exports/plans/<ref>"): ACT,
    ("POST", "/exports/lists/<name>"): (404, 404, 404, 404, 303),
    ("POST", "/exports/calendars"): (422, 422, 403, 422, 303),
    ("POST", "/exports/calendars/close"): (404, 404, 403, 404, 303),
    ("GET", "/exports/calendar/<token>.ics"): (404,) * 5,
    ("GET", "/imports"): (200, 200, 403, 200, 303),
    ("POST", "/imports"): ACT,
    ("GET", "/imports/<ref>"): (404, 404, 403, 404, 303),
    ("POST", "/imports/<ref>"): (404, 404, 403, 404, 303),
    ("GET", "/approvals"): READ,
    ("POST", "/approvals/approve"): (422, 422, 403, 422, 303),
    ("POST", "/approvals/refuse"): (422, 422, 403, 422, 303),
    ("GET", "/activity/"): READ,
    ("POST", "/activity/download"): READ,
    ("GET", "/account"): READ,
    ("POST", "/account/name"): (422, 403, 403, 422, 303),
    ("POST", "/account/new"): (422, 422, 422, 422, 303),
    ("POST", "/account/factor"): (422, 403, 403, 422, 303),
    ("POST", "/account/remove"): (422, 403, 403, 422, 303),
    ("POST", "/account/restore"): (422, 422, 422, 422, 303),
    ("POST", "/account/export"): (422, 422, 422, 422, 303),
    ("GET", "/endpoints/<ref>"): OWN,
    ("POST", "/endpoints/<ref>/scan"): (303, 303, 403, 404, 303),
    ("POST", "/endpoints/<ref>/machine"): (422, 422, 403, 404, 303),
    ("POST", "/endpoints/<ref>/card"): (303, 303, 403, 404, 303),
    ("GET", "/certificates/"): READ,
    ("GET", "/certificates/<string(length=64):digest>"): OWN,
    ("GET", "/certificates/<string(length=64):digest>.<any(pem, der, txt):kind>"): OWN,
    ("GET", "/certificates/<string(length=64):digest>-chain.pem"): OWN,
    ("GET", "/tokens"): READ,
    ("POST", "/tokens"): (422, 422, 422, 422, 303),
    ("POST", "/tokens/revoke"): (404, 404, 404, 404, 303),
    ("GET", "/api/v1/me"): (401,) * 5,  # a cookie gives nothing there: tests/portal/test_api.py
    ("GET", "/api/v1/domains"): (401,) * 5,
    ("GET", "/api/v1/certificates"): (401,) * 5,
    ("GET", "/api/v1/openapi.json"): (200,) * 5,
    ("GET", "/mails/"): READ,
    ("GET", "/backups"): OPERATIONS,
    ("GET", "/backups/<ref>"): OPERATIONS,
    ("POST", "/backups/now"): OPERATIONS,
    ("POST", "/backups/<ref>/prove"): OPERATIONS,
    ("POST", "/backups/holds"): OPERATIONS,
    ("POST", "/backups/holds/<ref>/lift"): OPERATIONS,
    ("GET", "/operations/accounts"): OPERATIONS,
    ("GET", "/operations/accounts/<ref>"): OPERATIONS,
    ("POST", "/operations/accounts/<ref>/look"): OPERATIONS,
    ("POST", "/operations/look/end"): OPERATIONS,
    ("GET", "/operations/users"): OPERATIONS,
    ("GET", "/operations/users/<ref>"): OPERATIONS,
    ("POST", "/operations/users/<ref>/disable"): OPERATIONS,
    ("POST", "/operations/users/<ref>/enable"): OPERATIONS,
    ("POST", "/operations/users/<ref>/role"): OPERATIONS,
    ("GET", "/operations/workers"): OPERATIONS,
    ("GET", "/operations/mails"): OPERATIONS,
    ("GET", "/operations/log/"): OPERATIONS,
    ("GET", "/operations/settings"): OPERATIONS,
    ("GET", "/operations/access/"): OPERATIONS,
    ("POST", "/operations/access/<ref>/reason"): OPERATIONS,
    ("POST", "/access/reports"): (400,) * 5,
    ("GET", "/operations/status"): OPERATIONS,
    ("GET", "/operations/status/<ref>"): OPERATIONS,
    ("POST", "/operations/status/open"): OPERATIONS,
    ("POST", "/operations/status/plan"): OPERATIONS,
    ("POST", "/operations/status/<ref>/<any(publish, withhold, update, resolve, account):act>"): OPERATIONS,
    ("GET", "/status/subscribe"): (200,) * 5,
    ("POST", "/status/subscribe"): (200,) * 5,
    ("GET", "/status/confirm/<token>"): (404,) * 5,
    ("POST", "/status/confirm/<token>"): (422,) * 5,
    ("GET", "/status/leave/<token>"): (404,) * 5,
    ("POST", "/status/leave/<token>"): (422,) * 5,
    ("GET", "/status"): (503,) * 5,  # nothing is published in this test
    ("GET", "/index.html"): (503,) * 5,
    ("GET", "/measures/"): (503,) * 5,
    ("GET", "/access/"): (503,) * 5,
    ("GET", "/access/reasons.json"): (404,) * 5,
    ("GET", "/incidents/<string(maxlength=64):ref>/"): (404,) * 5,
    ("GET", "/feed.atom"): (404,) * 5,
    ("GET", "/feed.json"): (404,) * 5,
    ("GET", "/api/v2/<string(maxlength=64):name>.json"): (404,) * 5,
    ("GET", "/api/v2/<string(maxlength=64):folder>/<string(maxlength=64):name>.json"): (404,) * 5,
    ("GET", "/badge/<string(maxlength=64):name>.svg"): (404,) * 5,
    ("GET", "/log/"): (200,) * 5,
    ("GET", "/log/entries/<string(maxlength=18):number>/<string(maxlength=18):index>"): (404,) * 5,  # nothing is published in this test
    ("GET", "/log/checkpoint"): (404,) * 5,
    ("GET", "/log/continued"): (404,) * 5,
    ("GET", "/log/tile/<path:path>"): (404,) * 5,
    ("GET", "/log/<string(maxlength=18):number>/checkpoint"): (404,) * 5,
    ("GET", "/log/<string(maxlength=18):number>/continued"): (404,) * 5,
    ("GET", "/log/<string(maxlength=18):number>/tile/<path:path>"): (404,) * 5,
    ("GET", "/check"): (200,) * 5,
    ("POST", "/check"): (422,) * 5,
    ("GET", "/check/<ref>"): (404,) * 5,
    ("GET", "/check/about"): (200,) * 5,
    ("GET", "/ui"): (200,) * 5,
    ("GET", "/healthz"): (503,) * 5,  # nothing beats in this test
    ("GET", "/static/<path:filename>"): (200,) * 5,
    ("GET", "/sign-in"): (303, 303, 303, 303, 200),
    ("GET", "/security"): READ,
    ("POST", "/security/end"): (303,) * 5,
    ("POST", "/security/dates"): (422, 422, 422, 422, 303),
    ("GET", "/security/app"): READ,
    ("POST", "/security/app/begin"): (422, 422, 422, 422, 303),
    ("POST", "/security/app/confirm"): (422, 422, 422, 422, 303),
    ("POST", "/security/app/codes"): (422, 422, 422, 422, 303),
    ("POST", "/security/app/remove"): (422, 422, 422, 422, 303),
    ("POST", "/security/passkeys/begin"): (422, 422, 422, 422, 303),
    ("POST", "/security/passkeys"): (422, 422, 422, 422, 303),
    ("POST", "/security/passkeys/remove"): (422, 422, 422, 422, 303),
    ("POST", "/sign-in/oidc"): (404,) * 5,  # there is no provider: tests/portal/test_oidc.py has one
    ("GET", "/sign-in/oidc/callback"): (404,) * 5,
    ("POST", "/sign-in/oidc/enter"): (404,) * 5,
    ("POST", "/security/oidc/begin"): (404, 404, 404, 404, 303),
    ("POST", "/security/oidc"): (404, 404, 404, 404, 303),
    ("POST", "/security/oidc/remove"): (404, 404, 404, 404, 303),
    ("POST", "/security/email"): (422, 422, 422, 422, 303),
    ("POST", "/security/password"): (422, 422, 422, 422, 303),
    ("GET", "/team"): READ,
    ("POST", "/team/invite"): (422, 403, 403, 422, 303),
    ("POST", "/team/withdraw"): (303, 403, 403, 303, 303),
    ("POST", "/team/role"): (422, 403, 403, 422, 303),
    ("POST", "/team/remove"): (303, 403, 403, 303, 303),
    ("POST", "/team/restore"): (303, 403, 403, 303, 303),
    ("POST", "/team/switch"): (303,) * 5,
    ("GET", "/invitation/<token>"): (404,) * 5,
    ("POST", "/invitation/<token>"): (422,) * 5,
    ("POST", "/team/leave"): (422, 303, 303, 422, 303),  # the last owners stay
    ("POST", "/sign-in"): (422,) * 5,
    ("POST", "/sign-out"): (303,) * 5,
    ("GET", "/setup/<token>"): (404,) * 5,
    ("POST", "/setup/<token>"): (422,) * 5,
    ("GET", "/sign-in/code"): (303,) * 5,
    ("POST", "/sign-in/passkey"): (200, 200, 200, 200, 200),
    ("POST", "/sign-in/passkey/enter"): (303, 303, 303, 303, 303),
    ("POST", "/sign-in/code"): (303,) * 5,
    ("GET", "/forgot"): (200,) * 5,
    ("POST", "/forgot"): (200,) * 5,
    ("GET", "/reset/<token>"): (404,) * 5,
    ("POST", "/reset/<token>"): (422,) * 5,
    ("GET", "/sign-up"): (404,) * 5,  # by invitation alone: tests/portal/test_doors.py opens it
    ("POST", "/sign-up"): (404,) * 5,
    ("GET", "/sign-up/<token>"): (404,) * 5,
    ("POST", "/sign-up/<token>"): (404,) * 5,
    ("GET", "/email/<any(old, new):which>/<token>"): (404,) * 5,
    ("POST", "/email/<any(old, new):which>/<token>"): (422,) * 5,
    ("GET", "/welcome/<token>"): (404,) * 5,
    ("POST", "/welcome/<token>"): (422,) * 5,
}


def test_the_matrix_names_every_route(site: Site) -> None:
    routes = {(method, rule.rule) for rule in site.app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert routes == set(MATRIX)


@pytest.mark.slow
@pytest.mark.parametrize("who", WHO)
def test_everybody_gets_what_is_theirs(site: Site, who: str) -> None:
    ref, digest = served(site)
    data: dict[str, str | list[str]] = {"ref": [ref], "names": "new.example", "email": "x@example.org", "password": "wrong"}
    for (method, rule), statuses in MATRIX.items():
        path = filled(rule, ref, digest)
        forget_tries()  # there are more doors than may be tried in a minute
        client = site.client(who)
        answer = client.get(path, buffered=True) if method == "GET" else post(client, path, data)
        assert answer.status_code == statuses[WHO.index(who)], f"{who}: {method} {path}"
        if who == "nobody" and method == "GET" and answer.status_code == 303:
            assert answer.location.partition("?")[0] == "/sign-in", path


@pytest.mark.slow
def test_a_stranger_s_act_touches_nothing_and_their_pages_name_nothing(site: Site) -> None:
    ref, digest = served(site)
    stranger = site.client("stranger")
    for path in ("/domains/remove", "/domains/check", "/domains/restore", "/bin/restore"):
        post(stranger, path, {"ref": [ref]})
    with site.sessions.reading() as session:
        assert session.scalars(sa.select(Watch.deleted_at).where(Watch.ref == ref)).one() is None
    for path in ("/", "/domains", "/domains?q=canary", f"/domains/rows?ref={ref}", "/bin", "/certificates", "/mails"):
        text = stranger.get(path).text
        assert "canary.example" not in text, path
        assert digest not in text, path


@pytest.mark.parametrize("method", ["remove", "restore", "check"])
def test_a_viewer_is_drawn_no_button_and_refused_without_one(site: Site, method: str) -> None:
    served(site)
    client = site.client("viewer")
    assert f"/domains/{method}" not in client.get("/domains").text
    assert 'name="names"' not in client.get("/domains").text
    assert post(client, f"/domains/{method}", {"ref": ["x"]}).status_code == 403


def served(site: Site) -> tuple[str, str]:
    [ref] = site.add("canary.example")
    chain = make_chain(["canary.example"], now=NOW)
    with site.sessions.writing() as session:
        run_scans(
            session, lambda _: make_scan("canary.example", {"192.0.2.1": chain.ders}), roots=Roots.of([chain.root.certificate]), now=NOW
        )
        digest = session.scalars(sa.select(Certificate.sha256).where(Certificate.subject.contains("canary"))).first()
    assert digest is not None
    return ref, digest


def filled(rule: str, ref: str, digest: str) -> str:
    kind = "<any(pem, der, txt):kind>"
    filled = rule.replace("<ref>", ref).replace("<string(length=64):digest>", digest).replace(kind, "pem").replace("<token>", "x" * 43)
    return (
        filled.replace("<path:filename>", "css/ui.css")
        .replace("<any(old, new):which>", "old")
        .replace("<path:path>", "0/000.p/1")
        .replace("<any(publish, withhold, update, resolve, account):act>", "publish")
        .replace("<string(maxlength=18):number>", "2")
        .replace("<string(maxlength=18):index>", "0")
    )


def test_the_gate_itself_refuses_before_the_view_is_asked(site: Site) -> None:
    called: list[Actor] = []

    @gate(Permission.ADD_DOMAINS)
    def view(actor: Actor) -> str:
        called.append(actor)
        return "in"

    site.app.add_url_rule("/gated", "gated", view)
    assert [site.client(who).get("/gated").status_code for who in WHO] == [200, 200, 403, 200, 303]
    assert [actor.role for actor in called] == ["owner", "manager", "owner"]
    assert called[0] == site.actors["owner"]
