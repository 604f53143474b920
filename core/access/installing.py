"""What `./keychest access install` puts onto a host, and how it is taken back. Not part of what is installed.

Every change is a file's old text and its new one, worked out before anything is written, so that `--dry-run` shows just what would happen.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.access.delivery import checked_portal
from core.access.spool import Spool

HERE: Final = Path(__file__).resolve().parents[2]
INSTALLED: Final = ("core/__init__.py", *(f"core/access/{name}.py" for name in (
    "__init__", "delivery", "kernel", "pam", "recorder", "running", "said", "sessions", "spool", "tails", "texts",
)))  # fmt: skip
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
_BEGIN, _END = "# keychest-access: begin", "# keychest-access: end"
_BLOCK: Final = re.compile(rf"^{_BEGIN}\n.*?^{_END}\n", re.MULTILINE | re.DOTALL)
_READENV: Final = re.compile(r"^[^#\n]*pam_env\.so[^#\n]*user_readenv=1", re.MULTILINE)
_READENV_EARLY: Final = re.compile(r"^\s*-?auth\b[^#\n]*pam_env\.so[^#\n]*user_readenv=1", re.MULTILINE)
_INCLUDED: Final = re.compile(r"^\s*@include\s+(\S+)|^\s*-?\w+\s+(?:include|substack)\s+(\S+)", re.MULTILINE)
_XAUTH: Final = """\
if [ -n "${DISPLAY-}" ] && read -r keychest_protocol keychest_cookie; then # sshd does this itself only where there is no /etc/ssh/sshrc
    case $DISPLAY in
        localhost:*) printf 'add unix:%s %s %s\\n' "${DISPLAY#localhost:}" "$keychest_protocol" "$keychest_cookie" ;;
        *) printf 'add %s %s %s\\n' "$DISPLAY" "$keychest_protocol" "$keychest_cookie" ;;
    esac | xauth -q -
fi
"""


class CannotInstallError(Exception):
    """Why nothing was installed, in a sentence."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file that becomes another. `new` is None where it goes, `old` where it is not there yet."""

    path: Path
    old: str | None
    new: str | None
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Host:
    """A host as it is to be set up. Everything goes below `root`, and what is written refers to it there."""

    name: str
    portal: str
    root: Path = Path("/")
    service: str = "sshd"
    sshd_log: str = "journal"
    postgresql_log: str = ""
    superusers: Sequence[str] = ("postgres",)

    @property
    def library(self) -> Path:
        """The recorder itself."""
        return self.root / "usr/local/lib/keychest-access"

    @property
    def program(self) -> Path:
        """What PAM, shells and systemd start."""
        return self.library / "keychest-access"

    @property
    def settings(self) -> Path:
        """What the recorder is told."""
        return self.root / "etc/keychest-access.json"

    @property
    def state(self) -> Path:
        """Key, counter and spool: they stay when all else is taken back."""
        return self.root / "var/lib/keychest-access"


def changes(host: Host) -> list[Change]:
    """What is to be written, in this order: PAM and sshd learn of the recorder when it is there. Raises CannotInstallError."""
    _check_words(host)
    etc = host.root / "etc"
    pam, sshrc = etc / "pam.d" / host.service, etc / "ssh/sshrc"
    program, stack = host.program, _text(pam)
    _check_host(host, stack)
    found = [_change(host.library / name, (HERE / name).read_text()) for name in INSTALLED]
    found.append(_change(program, _program(host), 0o755))
    found.append(_change(host.settings, _settings(host)))
    found.append(_change(etc / "systemd/system/keychest-access.service", _unit(host)))
    found.append(_change(etc / "ssh/sshd_config.d/keychest-access.conf", _drop_in()))
    found.append(_change(sshrc, _sshrc(program, _text(sshrc))))
    found.append(_change(pam, _pam(program, stack or "", safe=not any(_READENV.search(text) for text in _stacks(host)))))
    return [each for each in found if each.old != each.new]


def removals(host: Host) -> list[Change]:
    """What takes all of it back, but for the host's state: PAM first."""
    etc = host.root / "etc"
    edited = [etc / "pam.d" / host.service, etc / "ssh/sshrc"]
    made = [etc / "ssh/sshd_config.d/keychest-access.conf", etc / "systemd/system/keychest-access.service", host.settings]
    found = []
    for path in edited:
        old = _text(path)
        new = _BLOCK.sub("", old) if old is not None else None
        found.append(Change(path, old, new or None))
    found += [Change(path, _text(path), None) for path in (*made, host.program, *(host.library / name for name in INSTALLED))]
    return [each for each in found if each.old != each.new]


def write(found: Iterable[Change], root: Path) -> None:
    """Make the changes, each whole or not at all. Raises CannotInstallError before the first where others could write there."""
    found = list(found)
    for path in (each.path for each in found):
        check_closed(path, root)
    for change in found:
        if change.new is None:
            change.path.unlink()
            continue
        change.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = change.path.with_name(f".{change.path.name}.keychest")
        part.write_text(change.new)
        part.chmod(stat.S_IMODE(change.path.stat().st_mode) if change.old is not None else change.mode)
        part.replace(change.path)


def clear(host: Host) -> None:
    """Remove the library's folders, which are empty now."""
    for folder in (host.library / "core/access", host.library / "core", host.library):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def make_state(host: Host) -> str:
    """Make key, counter and spool where they are not there yet; the public key. Raises CannotInstallError, OSError."""
    check_closed(host.state / "key", host.root)
    Spool(host.state, host.name).make()
    key = host.state / "key"
    if not key.exists():
        made = ("/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", str(key))
        subprocess.run(made, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - the system's
    kind, coded, *_ = key.with_suffix(".pub").read_text().split()
    return f"{kind} {coded}"


def check_closed(path: Path, root: Path) -> None:
    """That nobody but root may write there, or rename anything on the way to it. Raises CannotInstallError."""
    for each in {*_way(path, root), *_way(path.resolve(), root.resolve())}:
        try:
            found = each.lstat()
        except FileNotFoundError:
            continue
        open_to_others = not stat.S_ISLNK(found.st_mode) and (found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != 0))
        if found.st_uid != 0 or open_to_others:
            raise CannotInstallError(f"{each} can be written by others than root: what PAM starts must not be theirs. Nothing was changed.")


def _way(path: Path, root: Path) -> Iterator[Path]:
    yield path
    yield from (each for each in path.parents if each == root or root in each.parents)


def _check_words(host: Host) -> None:
    if not _NAME.fullmatch(host.name):
        raise CannotInstallError("A host's name consists of lower-case letters, digits, dots and hyphens, 64 at most: strangers read it.")
    try:
        checked_portal(host.portal)
    except ValueError as error:
        raise CannotInstallError(str(error)) from None
    if not re.fullmatch(r"[\w-]+", host.service):
        raise CannotInstallError(f"{host.service!r} is no name of a PAM service.")
    before = _text(host.settings)
    if before and json.loads(before).get("host") != host.name:
        raise CannotInstallError(
            f"This host reports as {json.loads(before).get('host')}. To give it another name, --remove first, and put {host.state} aside."
        )


def _check_host(host: Host, stack: str | None) -> None:
    config = host.root / "etc/ssh/sshd_config"
    words = _text(config) or ""
    everywhere = [words, *(path.read_text() for path in sorted((host.root / "etc/ssh/sshd_config.d").glob("*.conf")))]
    if stack is None:
        raise CannotInstallError(f"There is no /etc/pam.d/{host.service}: sshd with PAM is needed. Nothing was changed.")
    if any(_READENV_EARLY.search(text) for text in _stacks(host)):
        raise CannotInstallError(
            "PAM reads a file of the user's as they sign in (auth, pam_env, user_readenv=1). Take that out of it first."
        )
    if not re.search(r"^\s*Include\s+\S*sshd_config\.d/\*\.conf", words, re.MULTILINE | re.IGNORECASE):
        raise CannotInstallError(f"{config} does not read sshd_config.d. Begin it with: Include /etc/ssh/sshd_config.d/*.conf")
    if not any(re.search(r"^\s*UsePAM\s+yes", each, re.MULTILINE | re.IGNORECASE) for each in everywhere):
        raise CannotInstallError(f"{config} does not say `UsePAM yes`, nor does sshd_config.d: without PAM nobody is seen.")


def _stacks(host: Host) -> Iterator[str]:
    """The service's PAM stack, and those that it includes."""
    seen: set[str] = set()
    queue = [host.service]
    while queue:
        name = queue.pop()
        if name not in seen:
            seen.add(name)
            text = _text(host.root / "etc/pam.d" / name) or ""
            queue += [one or other for one, other in _INCLUDED.findall(text)]
            yield text


def _pam(program: Path, stack: str, *, safe: bool) -> str:
    """The stack with our line before every other of its sessions: what is started there has an environment that no user made.

    `safe`: as a session ends too. Where pam_env reads a file of the user's, its variables reach all that is started later, as root:
    LD_PRELOAD among them. There nothing is started as a session ends.
    """
    kept = _BLOCK.sub("", stack)
    only = "" if safe else " type=open_session"
    block = f"{_BEGIN}\nsession optional pam_exec.so quiet{only} {program} pam\n{_END}\n"
    first = re.search(r"^(-?session\b|@include\s+\S*session)", kept, re.MULTILINE)
    at = first.start() if first else len(kept)
    return kept[:at] + ("" if not at or kept[at - 1] == "\n" else "\n") + block + kept[at:]


def _sshrc(program: Path, old: str | None) -> str:
    kept = _BLOCK.sub("", old or "")
    say = f'if [ -n "${{KEYCHEST_REASON-}}" ]; then {program} say </dev/null >/dev/null 2>&1; fi\n'
    return f"{_BEGIN}\n{say}{'' if kept.strip() else _XAUTH}{_END}\n{kept}"


def _drop_in() -> str:
    return """\
# Of KeyChest's recorder: the reason that somebody sends along, and the processes of their sessions, which the log names from VERBOSE on.
# Without the last line a file of the user's would be read in the place of /etc/ssh/sshrc, and no reason be told.
AcceptEnv KEYCHEST_REASON
LogLevel VERBOSE
PermitUserRC no
"""


def _program(host: Host) -> str:
    return f"""\
#!/usr/bin/python3 -IS
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, {str(host.library)!r})
from core.access.recorder import main

sys.exit(main(sys.argv[1:], {str(host.settings)!r}))
"""


def _settings(host: Host) -> str:
    told = {
        "host": host.name, "portal": host.portal, "folder": str(host.state), "socket": str(host.root / "run/keychest-access/say.sock"),
        "service": host.service, "sshd_log": host.sshd_log, "postgresql_log": host.postgresql_log, "superusers": list(host.superusers),
    }  # fmt: skip
    return json.dumps(told, indent=1) + "\n"


def _unit(host: Host) -> str:
    words = (HERE / "deploy/keychest-access.service").read_text()
    return words.replace("/usr/local/lib/keychest-access", str(host.library)).replace("/var/lib/keychest-access", str(host.state))


def _change(path: Path, new: str, mode: int = 0o644) -> Change:
    return Change(path, _text(path), new, mode)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def as_root() -> bool:
    """Whether this process may do it."""
    return os.geteuid() == 0
