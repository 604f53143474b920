"""What a plan says is weak about itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.backups.plan import Plan


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=of-the-tests\n", ""),
        ("repo1-path=/somewhere\n", "The repository is not encrypted"),
        ("repo1-host=backup.example\n", "does not hold the passphrase of the repository, so the recovery kit does not either"),
    ],
    ids=["encrypted", "plain", "on the host alone"],
)
def test_a_repository_whose_passphrase_is_not_at_hand_is_a_weakness(tmp_path: Path, lines: str, told: str) -> None:
    config = tmp_path / "pgbackrest.conf"
    config.write_text(f"[global]\n{lines}\n[keychest]\npg1-path={tmp_path}\n")
    plan = Plan(tmp_path, production=False, database_url="postgresql://a@localhost/b", pgbackrest_config=str(config))
    assert told in " ".join(plan.weaknesses())
    assert ("passphrase" in " ".join(plan.weaknesses()) or "encrypted" in " ".join(plan.weaknesses())) is bool(told)


def test_a_configuration_that_cannot_be_read_is_told_elsewhere(tmp_path: Path) -> None:
    plan = Plan(tmp_path, production=False, database_url="postgresql://a@localhost/b", pgbackrest_config=str(tmp_path / "none"))
    assert [words for words in plan.weaknesses() if "one target only" not in words] == []
