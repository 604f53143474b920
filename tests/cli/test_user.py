"""`./keychest user`: help for who lost device and codes, and who is kept out."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli import main, words
from core.actions.accounts import accept_welcome
from core.store.db import Sessions, make_engine
from core.store.disablings import open_disabling
from core.store.factors import factor_of
from tests.cli.test_keys import fill
from tests.people import HASH


@pytest.mark.slow
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


@pytest.mark.slow
def test_somebody_is_kept_out_and_let_in_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    monkeypatch.setenv("KEYCHEST_DATA", str(data))
    assert main.main(["db", "upgrade"]) == 0
    sessions, _ = fill(data)

    def kept_out() -> list[int]:
        with sessions.reading() as session:
            return [number for number in (1, 2) if open_disabling(session, number)]

    for _ in range(2):  # a second time changes nothing
        assert main.main(["user", "disable", "Mira@Example.org"]) == 0
        assert "Nothing lets Mira@Example.org in any more" in capsys.readouterr().out
        assert kept_out() == [1]
    assert main.main(["user", "enable", "mira@example.org"]) == 0
    assert kept_out() == []
    for verb in ("disable", "enable"):
        assert main.main(["user", verb, "nobody@example.org"]) == words.USAGE
        assert "There is no user with the address nobody@example.org." in capsys.readouterr().err
    sessions.engine.dispose()


@pytest.mark.slow
def test_the_last_operator_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    assert main.main(["user", "create", "op@example.org", "--operator"]) == 0
    engine = make_engine(f"sqlite:///{tmp_path / 'data' / 'keychest.db'}")
    with Sessions(engine).writing() as session:
        token = capsys.readouterr().out.split()[-1].rpartition("/")[2]
        accept_welcome(session, token=token, password_hash=HASH, now=datetime.now(UTC))
    assert main.main(["user", "disable", "op@example.org"]) == words.USAGE
    assert "the only operator who can sign in" in capsys.readouterr().err
    with Sessions(engine).reading() as session:
        assert open_disabling(session, 1) is None
    engine.dispose()
