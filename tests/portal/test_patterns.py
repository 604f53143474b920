from __future__ import annotations

import re

import pytest

from portal.views.patterns import LONGEST
from tests.portal.conftest import Site
from tests.portal.test_endpoints import assert_only_our_markup


@pytest.mark.slow
@pytest.mark.parametrize("role", ["owner", "nobody"])
def test_everybody_sees_every_state(site: Site, role: str) -> None:
    page = site.client(role).get("/ui")
    assert page.status_code == 200
    for state in ("ok", "soon", "bad", "unk", "info", "live", "paused"):
        assert f'class="st {state}"' in page.text, state
    for state in ("ok", "soon", "bad", "unk", "live"):
        assert f'class="verdict {state}"' in page.text, state
    for state in ("ok", "soon", "bad", "info"):
        assert f'class="banner {state}"' in page.text, state
    assert_only_our_markup(re.sub(r"<(/?)(i|select|option)\b", r"<\1b", page.text))
    assert len(LONGEST) == 253


def test_no_id_is_given_twice(site: Site) -> None:
    ids = re.findall(r' id="([^"]+)"', site.client("owner").get("/ui").text)
    assert len(ids) == len(set(ids))
