from pathlib import Path

import pytest

import wsgi
from cli import main, place, settings, words
from config import SettingError, Settings


def test_the_listing_hides_secrets_and_shows_the_rest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KEYCHEST_SECRET_KEY", "canary-of-the-secret-key-of-this-test")
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


REFUSED = (
    ("REDIS_URL", "canary", "redis://127.0.0.1:6379/0"),
    ("REDIS_URL", "http://canary", "redis://127.0.0.1:6379/0"),
    ("DATABASE_URL", "mysql://me:canary@127.0.0.1/k", "postgresql://user:password@host/name or sqlite:///"),
    ("DATABASE_URL_WORKER", "sqlite://", "postgresql://"),
    ("KEYCHEST_SECRET_KEY", "canary" * 5, "32 characters"),
    ("KEYCHEST_MAIL_FROM", "KeyChest", "<keychest@example.org>"),
    ("KEYCHEST_RESOLVERS", "127.0.0.1:0", "127.0.0.1:53"),
    ("KEYCHEST_PORT", "http", "example 8000"),
    ("KEYCHEST_TRUSTED_PROXIES", "yes", "example 1."),
    ("KEYCHEST_OIDC_ISSUER", "http://canary.example.org", "https://login.example.org/realms/people"),
    ("KEYCHEST_OIDC_ISSUER", "https://me:canary@login.example.org", "https://login.example.org/realms/people"),
    ("KEYCHEST_OIDC_ISSUER", "https://login.example.org/?canary", "https://login.example.org/realms/people"),
    ("KEYCHEST_OIDC_NAME", "canary" * 7, "Harbourlight SSO"),
)


@pytest.mark.parametrize(("name", "value", "example"), REFUSED)
def test_a_value_that_cannot_be_is_told_with_a_right_one(
    name: str, value: str, example: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert main.main(["settings"]) == words.MISCONFIGURED
    told = capsys.readouterr().err
    assert told.startswith(f"{name}: ")
    assert example in told
    assert "canary" not in told


ACCEPTED = {
    "REDIS_URL": ("redis://127.0.0.1:6379/0", "rediss://:p@broker.example/1", "unix:///run/valkey.sock?db=0"),
    "DATABASE_URL": ("postgres://h/n", "postgresql:///n?host=/run/postgresql", "postgresql+psycopg://u@h/n", "sqlite:////var/k.db"),
    "KEYCHEST_MAIL_FROM": ("KeyChest <keychest@localhost>", "keychest@example.org"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ACCEPTED.items() for value in values])
def test_right_values_are_taken(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert main.main(["settings"]) == 0


def test_the_listing_shows_the_folder_that_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["settings", "--data", str(tmp_path)]) == 0
    assert f"KEYCHEST_DATA = {tmp_path}\n" in capsys.readouterr().out


SIGN_ON = {
    "KEYCHEST_OIDC_ISSUER": "https://login.example.org/",
    "KEYCHEST_OIDC_CLIENT_ID": "keychest",
    "KEYCHEST_OIDC_CLIENT_SECRET": "canary-of-the-client-secret",
}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"KEYCHEST_OIDC_CLIENT_SECRET": ""}, "belong together"),
        ({"KEYCHEST_OIDC_ISSUER": ""}, "belong together"),
        ({"KEYCHEST_OIDC_ISSUER": "http://localhost:9000", "KEYCHEST_ENVIRONMENT": "production"}, "reached without TLS"),
        ({"KEYCHEST_DEMO": "on"}, "A demonstration knows no provider"),
    ],
)
def test_single_sign_on_is_set_whole_or_not_at_all(changed: dict[str, str], told: str) -> None:
    with pytest.raises(SettingError, match=told) as raised:
        Settings.from_environment(SIGN_ON | changed)
    assert "canary" not in str(raised.value)


def test_the_provider_is_made_as_it_was_set_and_its_secret_is_in_what_the_kit_holds(tmp_path: Path) -> None:
    settings = Settings.from_environment({**SIGN_ON, "KEYCHEST_BASE_URL": "https://kc.example.org", "KEYCHEST_DATA": str(tmp_path)})
    made = wsgi.parts(settings).provider
    assert made is not None
    assert (made.issuer, made.name, made.callback) == (
        "https://login.example.org/", "login.example.org", "https://kc.example.org/sign-in/oidc/callback"
    )  # fmt: skip
    assert SIGN_ON.items() <= settings.backups()["settings"].items()
    assert "canary" not in repr(made)
    with pytest.raises(SettingError, match="KEYCHEST_EXTRA_ROOTS: /nowhere cannot be used"):
        wsgi.parts(Settings.from_environment({**SIGN_ON, "KEYCHEST_DATA": str(tmp_path), "KEYCHEST_EXTRA_ROOTS": "/nowhere"}))


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
