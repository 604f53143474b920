"""Tests of one group run in one process: they share a server, a port or a cluster, which two at once would break, or start twice."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("a group")
def test_groups_are_taken_notice_of(request: pytest.FixtureRequest) -> None:
    """pytest-xdist marks the names of grouped tests; with a pytest that it does not know it goes on without a word."""
    if "PYTEST_XDIST_WORKER" not in os.environ or not request.config.getoption("loadgroup", default=False):
        pytest.skip("one process, or another way to share out tests")
    assert request.node.nodeid.endswith("@a group")
