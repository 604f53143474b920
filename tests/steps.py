"""Tests that try one thing at many points run at those that differ in kind; with EVERY_STEP=1 at all of them.

@pytest.mark.parametrize("step", ["copied", pytest.param("begun", marks=seldom)])
"""

from __future__ import annotations

import os
from typing import Final

import pytest

EVERY: Final = os.environ.get("EVERY_STEP") == "1"
seldom: Final = pytest.mark.skipif(not EVERY, reason="tried with EVERY_STEP=1: its kind is tried at another point")
