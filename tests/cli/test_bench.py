import importlib
import sys

import pytest

from cli import bench, main
from cli.words import UNAVAILABLE, Sorry


@pytest.mark.parametrize("name", list(bench.BENCHES))
def test_what_is_missing_is_told_plainly(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"bench.{name}", None)  # as where the source code is not
    assert main.main(["bench", name]) == UNAVAILABLE
    assert "Nothing was measured" in capsys.readouterr().err


def test_a_package_of_development_that_is_missing_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="dnslib")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(Sorry, match="package dnslib is not installed"):
        bench._main_of("scan")
