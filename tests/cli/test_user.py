"""`./keychest user drop-factor`: help for who lost device and codes."""

from pathlib import Path

import pytest

from cli import main, words
from core.store.factors import factor_of
from tests.cli.test_keys import fill


def test_the_factor_is_gone_and_who_has_none_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    monkeypatch.setenv("KEYCHEST_DATA", str(data))
    assert main.main(["db", "upgrade"]) == 0
    sessions, _ = fill(data)
    assert main.main(["user", "drop-factor", "Mira@Example.org"]) == 0
    assert "alone signs them in now" in capsys.readouterr().out
    with sessions.reading() as session:
        assert factor_of(session, 1) is None
        assert factor_of(session, 2) is not None
    for email in ("mira@example.org", "nobody@example.org"):
        assert main.main(["user", "drop-factor", email]) == words.USAGE
        assert "no user with this address who has a second factor" in capsys.readouterr().err
    sessions.engine.dispose()
