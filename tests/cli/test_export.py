"""Out and in at the terminal: a file that checks, a preview that changes nothing, and an import that does what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from core.exports.check import check
from core.exports.compare import differences
from core.store.db import Sessions, make_engine
from tests.bundles import changed
from tests.exporting import NAMES, make_rich
from tests.make import make_actor

pytestmark = pytest.mark.slow
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """A verb in this process: its exit code, and what it says."""
    monkeypatch.setenv("KEYCHEST_BASE_URL", "https://keys.example.org")

    def go(*words: str) -> tuple[int, str]:
        code = main([*words, "--data", str(tmp_path / "data")])
        told = capsys.readouterr()
        return code, told.out + told.err

    return go


def test_an_account_goes_out_and_comes_back_at_the_terminal(run: Run, migrated_sqlite: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "keychest.db").write_bytes(migrated_sqlite.read_bytes())
    sessions = Sessions(make_engine(f"sqlite:///{data / 'keychest.db'}"))
    owner, _ = make_rich(sessions)
    with sessions.writing() as session:
        other = make_actor(session, "somebody@else.example")
    sessions.engine.dispose()
    out = tmp_path / "out.zip"
    code, said = run("export", owner.account_ref, "--out", str(out), "--json")
    assert code == 0, said
    signer = json.loads(said)["signer"]
    assert check(out, signer).verdict == "genuine"
    assert run("export", owner.account_ref, "--out", str(out))[0] == 69
    assert run("export", "nobody", "--out", str(tmp_path / "x.zip"))[0] == 64
    assert not (tmp_path / "x.zip").exists()

    code, said = run("import", str(out), "--account", other.account_ref, "--preview", "--json")
    told = json.loads(said)
    assert (code, told["added"], told["changed"], told["skipped"], told["refused"], told["trust"]) == (0, len(NAMES), 0, 0, 0, "own")
    code, said = run("import", str(out), "--account", other.account_ref, "--apply")
    assert (code, f"added {len(NAMES)}" in said) == (0, True), said
    assert run("export", other.account_ref, "--out", str(tmp_path / "back.zip"))[0] == 0
    assert differences(out, tmp_path / "back.zip") == ()

    unsigned = changed(out, tmp_path / "unsigned.zip", sign=False)
    code, said = run("import", str(unsigned), "--account", other.account_ref, "--apply", "--json")
    assert (code, "Nobody here vouches" in json.loads(said)["error"]) == (1, True)
    assert run("import", str(unsigned), "--account", other.account_ref, "--apply", "--take-untrusted")[0] == 0
    assert run("import", str(out), "--account", other.account_ref)[0] == 64
    (tmp_path / "bad.zip").write_bytes(out.read_bytes()[:-40])
    code, said = run("import", str(tmp_path / "bad.zip"), "--account", other.account_ref, "--preview")
    assert (code, "Nothing was changed." in said) == (1, True)
