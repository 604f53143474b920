"""`./keychest routes` tells the very map that the portal answers by."""

import json

import pytest

from cli import main
from core.actions.policy import Permission
from portal.gate import PUBLIC
from portal.routes import application


@pytest.mark.slow
def test_every_route_is_told_with_its_permission_or_its_reason(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["routes", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    app = application()
    expected = {(rule.rule, method) for rule in app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert {(each["rule"], method) for each in told for method in each["methods"]} == expected
    by_rule = {(each["rule"], method): each for each in told for method in each["methods"]}
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            each = by_rule[rule.rule, method]
            gate = getattr(app.view_functions[rule.endpoint], "gate", None)
            if rule.endpoint in PUBLIC:
                assert (each["permission"], each["reason"]) == ("PUBLIC", PUBLIC[rule.endpoint])
            else:
                assert Permission(each["permission"]) is gate
                assert "reason" not in each
    assert by_rule["/team/invite", "POST"] == {"rule": "/team/invite", "methods": ["POST"], "permission": "manage_team"}


@pytest.mark.slow
def test_without_json_it_is_a_list_for_people(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main.main(["routes"]) == 0
    assert "manage team" in next(line for line in capfd.readouterr().out.splitlines() if line.strip().startswith("/team/invite"))


def test_a_route_without_gate_or_reason_is_not_told_as_if_it_were_open() -> None:
    from portal.routes import routes

    app = application()
    app.add_url_rule("/forgotten", "forgotten", lambda: "")
    with pytest.raises(KeyError):
        routes(app)
