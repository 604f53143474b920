"""`./keychest incident`: what the public is told, from the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli import main, words


@pytest.mark.slow
def test_an_incident_is_told_from_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    assert main.main(["db", "upgrade"]) == 0
    capsys.readouterr()

    def listed() -> list[dict[str, Any]]:
        assert main.main(["incident", "list", "--json"]) == 0
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return found

    assert listed() == []
    late = ["incident", "open", "Mail is late", "--component", "notifications", "--component", "log", "--impact", "major"]
    assert main.main([*late, "--words", "It waits."]) == 0
    assert "is public" in capsys.readouterr().out
    (one,) = listed()
    ref = one["ref"]
    assert (one["standing"], one["impact"], one["components"]) == ("public", "major", ["notifications", "log"])
    for verb, sentence in (
        (["update", ref, "--state", "identified", "--words", "Found."], "stands with the incident"),
        (["resolve", ref, "--words", "Over."], "It is over."),
        (["account", ref, "--words", "A queue was full."], "The account is public."),
    ):
        assert main.main(["incident", *verb]) == 0
        assert sentence in capsys.readouterr().out
    (one,) = listed()
    assert [each["words"] for each in one["updates"]] == ["Over.", "Found.", "It waits."]
    assert one["account"] == "A queue was full."
    work = ["incident", "plan", "Work", "--component", "portal", "--words", "A new version.", "--from", "2099-11-30T22:00"]
    assert main.main([*work, "--until", "2099-11-30T23:00+01:00"]) == words.USAGE, "it ends as it begins"
    assert main.main([*work, "--until", "2099-11-30T23:00"]) == 0
    assert main.main([*work, "--until", "tomorrow"]) == words.USAGE
    assert "tomorrow is no time" in capsys.readouterr().err
    assert {each["planned_from"] for each in listed()} == {None, "2099-11-30T22:00:00+00:00"}
    for verb in (
        ["publish", ref],
        ["withhold", ref],
        ["resolve", "nothing", "--words", "x"],
        ["update", ref, "--state", "new", "--words", "x"],
    ):
        assert main.main(["incident", *verb]) == words.USAGE, verb
    assert main.main(["user", "create", "mira@example.org"]) == 0
    assert main.main([*late, "--words", "mira@example.org says so."]) == words.USAGE
    assert "--anyway says so" in capsys.readouterr().err
    assert main.main([*late, "--words", "mira@example.org says so.", "--anyway"]) == 0
    assert main.main(["incident", "list"]) == 0
    shown = capsys.readouterr().out
    assert "everybody" in shown
    assert ref in shown, "it is typed into the next command"
