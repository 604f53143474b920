"""The API against its own document: schemathesis asks what the document allows and what it forbids, over a real port."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from tests.portal.conftest import MakeSite
from tests.portal.serving import serving
from tests.portal.test_api import ROUTES, make, serve

pytestmark = pytest.mark.slow
EXAMPLES = 25
SOFTENED: dict[str, Any] = {
    # 400 besides 2xx: the document cannot say which cursors there are, since they are known from answers alone.
    "positive_data_acceptance": {"expected-statuses": ["2xx", "400"]},
}
BY_REQUEST = {"max_response_time"}
"""Checks that are off until a figure is given: how fast answers are is bench/'s question."""


def run(url: str, token: str) -> list[events.EngineEvent]:
    """All that schemathesis tells of one run, with the same questions each time."""
    wanted = {
        "headers": {"Authorization": f"Bearer {token}"},
        "generation": {"max-examples": EXAMPLES, "deterministic": True},
        "phases": {"coverage": {"generate-duplicate-query-parameters": True}},
        "checks": SOFTENED,
        "cache": {"enabled": False},
        "seed": 1,
        "workers": 1,
    }
    document = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json", config=SchemathesisConfig.from_dict(wanted))
    return list(from_schema(document).execute())


def test_the_api_keeps_to_its_document(make_site: MakeSite) -> None:
    site = make_site(api_per_minute=1_000_000)
    serve(site, "one.example", "two.example", "three.example")
    with serving(site.app) as url:
        told = run(url, make(site))
    assert not [event for event in told if isinstance(event, events.NonFatalError | events.FatalError | events.Interrupted)]
    recorders = [event.recorder for event in told if isinstance(event, events.ScenarioFinished)]
    checks = [check for recorder in recorders for some in recorder.checks.values() for check in some]
    assert not [(check.name, check.failure_info) for check in checks if check.status != "success"]
    load_all_checks()
    assert {check.name for check in checks} == set(CHECKS.get_all_names()) - BY_REQUEST, "every check was made"
    answers = [(each.request.uri, each.response.status_code) for some in recorders for each in some.interactions.values() if each.response]
    assert {status for _, status in answers} == {200, 400, 401, 405}
    for path in ROUTES:
        assert len([uri for uri, _ in answers if path in uri]) > 10, path
