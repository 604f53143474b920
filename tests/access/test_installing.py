"""What install puts onto a host: nothing that anybody but root could change, shown before, the same a second time, and taken back whole."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import main
from core.access.installing import INSTALLED
from tests.conftest import ROOT
from tests.postgres import folder_of_its_own

PAM = "@include common-auth\n\nsession required pam_limits.so\n@include common-session\n"
CONFIG = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n"
WORDS = ("--name", "web-1", "--portal", "https://keychest.example.org")


@pytest.fixture
def root() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may install what PAM starts")
    with folder_of_its_own() as folder:
        common = "session required pam_unix.so\n"
        for path, text in (("etc/pam.d/sshd", PAM), ("etc/ssh/sshd_config", CONFIG), ("etc/pam.d/common-session", common)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        yield folder


def install(root: Path, *words: str) -> int:
    return main(["access", "install", "--root", str(root), *(words if "--remove" in words else (*WORDS, *words))])


def files(root: Path) -> dict[str, str]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths}


def test_it_shows_before_does_once_and_takes_back_all_but_the_key(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(root)
    assert install(root, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert files(root) == before
    assert install(root) == 0
    told = capsys.readouterr().out
    assert f"./keychest access trust web-1 'ssh-ed25519 {(root / 'var/lib/keychest-access/key.pub').read_text().split()[1]}'" in told
    made = files(root)
    for path in made.keys() - before.keys() - {name for name in made if name.startswith("var/lib/")}:
        assert f"+++ {root / path}" in shown
        assert all(f"+{line}" in shown for line in (root / path).read_text().splitlines())
    assert {name for name in before if before[name] != made[name]} == {"etc/pam.d/sshd"}
    assert install(root) == 0
    assert "Nothing was changed" in capsys.readouterr().out
    assert files(root) == made
    assert install(root, "--remove") == 0
    assert str(root / "var/lib/keychest-access") in capsys.readouterr().out
    left = files(root)
    assert {name: left[name] for name in left if not name.startswith("var/lib/")} == before
    assert {"var/lib/keychest-access/key", "var/lib/keychest-access/number"} <= set(left)
    assert not (root / "usr/local/lib/keychest-access").exists()


def test_what_pam_starts_is_roots_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root)
    library, state = root / "usr/local/lib/keychest-access", root / "var/lib/keychest-access"
    for path in (library, *library.rglob("*")):
        assert (path.stat().st_uid, path.stat().st_mode & 0o022) == (0, 0)
    assert [path.stat().st_mode & 0o777 for path in (state, state / "key", library / "keychest-access")] == [0o700, 0o600, 0o755]
    line = (root / "etc/pam.d/sshd").read_text().splitlines()
    assert line[3] == f"session optional pam_exec.so quiet {library}/keychest-access pam"
    assert line.index("session required pam_limits.so") > 3
    install(root, "--remove")
    capsys.readouterr()
    for path, mode, owner in ((root / "usr/local/lib", 0o775, 1234), (root / "usr/local", 0o757, 0), (root / "usr", 0o755, 1234)):
        os.chown(path, owner if mode == 0o755 else 0, 1234)
        path.chmod(mode)
        before = files(root)
        assert install(root) == 69
        assert "can be written by others than root" in capsys.readouterr().err
        assert files(root) == before
        os.chown(path, 0, 0)
        path.chmod(0o755)
    os.chown(root / "etc/pam.d/sshd", 1234, 0)
    assert install(root) == 69


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("etc/ssh/sshd_config", "UsePAM yes\n", "Include"),
        ("etc/ssh/sshd_config", CONFIG.replace("yes", "no"), "UsePAM yes"),
        ("etc/pam.d/common-session", "auth required pam_env.so user_readenv=1\n", "as they sign in"),
        ("etc/keychest-access.json", '{"host": "web-2"}', "reports as web-2"),
    ],
)
def test_a_host_that_would_not_report_is_refused(root: Path, capsys: pytest.CaptureFixture[str], path: str, text: str, said: str) -> None:
    (root / path).write_text(text)
    before = files(root)
    assert install(root) == 69
    assert said in capsys.readouterr().err
    assert files(root) == before


def test_sshd_may_be_told_of_pam_in_another_file(root: Path) -> None:
    (root / "etc/ssh/sshd_config").write_text(CONFIG.replace("UsePAM yes", ""))
    (root / "etc/ssh/sshd_config.d").mkdir()
    (root / "etc/ssh/sshd_config.d/50-vendor.conf").write_text("UsePAM yes\n")
    assert install(root) == 0


def test_an_address_without_tls_and_a_name_that_is_none_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--portal", "http://keychest.example.org"), ("--portal", "https://"), ("--name", "Web 1"), ("--service", "../x")):
        assert install(root, *words) == 69
        assert capsys.readouterr().err
    assert not (root / "usr").exists()


def test_where_pam_reads_a_file_of_the_users_it_starts_nothing_as_a_session_ends(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "etc/pam.d/common-session").write_text("session required pam_env.so user_readenv=1 envfile=/etc/default/locale\n")
    assert install(root) == 0
    assert "user_readenv=1" in capsys.readouterr().out
    assert "session optional pam_exec.so quiet type=open_session " in (root / "etc/pam.d/sshd").read_text()
    (root / "etc/pam.d/common-session").write_text("# session required pam_env.so user_readenv=1\n")
    assert install(root) == 0
    assert "session optional pam_exec.so quiet /" in (root / "etc/pam.d/sshd").read_text()


@pytest.mark.slow
def test_the_shell_that_begins_still_learns_x11s_secret(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root)
    (tmp_path / "xauth").write_text(f"#!/bin/sh\ncat >{tmp_path / 'heard'}\n")
    (tmp_path / "xauth").chmod(0o755)
    sshrc = root / "etc/ssh/sshrc"
    for display, expected in (("localhost:10.0", "add unix:10.0 MIT c00kie\n"), ("host:1", "add host:1 MIT c00kie\n")):
        environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DISPLAY": display}
        subprocess.run(("sh", "-eu", sshrc), input="MIT c00kie\n", text=True, env=environ, check=True)
        assert (tmp_path / "heard").read_text() == expected
    assert install(root, "--remove") == 0
    sshrc.write_text("umask 077\n")
    assert install(root) == 0
    assert "xauth" not in sshrc.read_text()
    assert sshrc.read_text().endswith("\numask 077\n")
    assert install(root, "--remove") == 0
    assert sshrc.read_text() == "umask 077\n"
    capsys.readouterr()


def test_on_the_host_it_needs_the_standard_library_of_python_3_9_alone() -> None:
    ours = {name.removesuffix(".py").replace("/", ".") for name in INSTALLED}
    for name in INSTALLED:
        tree = ast.parse((ROOT / name).read_text(), feature_version=(3, 9))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [str(node.module) if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports]
        assert [each for each in names if each not in ours and each.partition(".")[0] not in sys.stdlib_module_names] == [], name
    assert {f"core/access/{path.name}" for path in (ROOT / "core/access").glob("*.py")} - set(INSTALLED) == {"core/access/installing.py"}
