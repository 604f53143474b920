from pathlib import Path

import pytest

from cli import main, place, settings, words


def test_the_listing_hides_secrets_and_shows_the_rest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KEYCHEST_SECRET_KEY", "canary-of-the-secret-key")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:canary-of-the-password@127.0.0.1/k")
    monkeypatch.setenv("KEYCHEST_SCAN_ALLOW", "10.0.0.0/8,fd00::/8")
    assert main.main(["settings"]) == 0
    shown = capsys.readouterr().out
    assert "canary" not in shown
    assert "KEYCHEST_SECRET_KEY = set, hidden" in shown
    assert "KEYCHEST_SCAN_ALLOW = 10.0.0.0/8,fd00::/8" in shown
    assert "KEYCHEST_ENVIRONMENT = production" in shown  # since the database is PostgreSQL


def test_markdown_is_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["settings", "--markdown"]) == 0
    assert capsys.readouterr().out == settings.markdown()


def test_a_wrong_setting_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KEYCHEST_PROT", "80")
    assert main.main(["settings"]) == words.MISCONFIGURED
    assert "KEYCHEST_PROT is not a setting" in capsys.readouterr().err


WRONG = ("", "--nothing", "fly", "up --port 70000", "up --port x", "up now", "user create", "db downgrade")


@pytest.mark.parametrize("given", WRONG)
def test_wrong_words_exit_64(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(given.split()) == words.USAGE
    told = capsys.readouterr()
    assert "--help" in told.err + told.out


def test_help_imports_no_verb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"{name} was imported"))
    assert main.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in main.VERBS)


@pytest.mark.parametrize("verb", [verb for verb in main.VERBS if verb != "scan"])
def test_every_verb_is_there(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([verb, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_the_data_folder_counts_from_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place.settings({}).data == place.PROJECT / "var"
    assert place.settings({}, data=Path("mine")).data == tmp_path / "mine"
    assert place.settings({"KEYCHEST_DATA": "mine"}).data == tmp_path / "mine"


def test_a_new_data_folder_is_private(tmp_path: Path) -> None:
    place.make_private(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_folder_with_other_things_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(words.Sorry, match="can be read by other users"):
        place.make_private(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_data_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(words.Sorry, match="cannot be used: Not a directory"):
        place.make_private(tmp_path / "file" / "data")


def test_one_claim_at_a_time(tmp_path: Path) -> None:
    with place.claimed(tmp_path), pytest.raises(words.Sorry, match=r"running on .* already \(process \d+\)"), place.claimed(tmp_path):
        pass
    with place.claimed(tmp_path):
        pass
