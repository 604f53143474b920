"""`./keychest access install`: have a host report every access to it. docs/access.md."""

from __future__ import annotations

import difflib
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

import click

from cli.words import UNAVAILABLE, USAGE, Sorry
from core.access.installing import CannotInstallError, Change, Host, as_root, changes, clear, make_state, removals, write

_LOGS = ("var/log/auth.log", "var/log/secure")


@click.command("install")
@click.option("--name", default="", help="What the host is called; strangers read it in the status feed.")
@click.option("--portal", default="", metavar="URL", help="Where the portal is, by https.")
@click.option("--sshd-log", default="", metavar="FILE|journal", help="Where sshd's log is; as a rule found by itself.")
@click.option("--postgresql-log", default="", metavar="FILE", help="PostgreSQL's log, where superusers are to be told too.")
@click.option("--superuser", "superusers", multiple=True, metavar="NAME", help="A superuser of PostgreSQL, once for each.  [postgres]")
@click.option("--service", default="sshd", show_default=True, help="What sshd's PAM service is called.")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), default=Path("/"), help="Put everything below it, to try.")
@click.option("--dry-run", is_flag=True, help="Show every line that would be written, and write none.")
@click.option("--remove", is_flag=True, help="Take it all back, but for key and spool.")
def install_command(  # noqa: PLR0917 - click's options
    name: str,
    portal: str,
    sshd_log: str,
    postgresql_log: str,
    superusers: tuple[str, ...],
    service: str,
    root: Path,
    dry_run: bool,
    remove: bool,
) -> None:
    """Have this host report every access to it, or take that back (--remove)."""
    root = root.absolute()
    found = next((str(root / each) for each in _LOGS if (root / each).exists()), "journal")
    host = Host(name, portal.rstrip("/"), root, service, sshd_log or found, postgresql_log, superusers or ("postgres",))
    if not (remove or (name and portal)):
        raise Sorry("Say with --name what the host is called, and with --portal where its reports go. Nothing was changed.", USAGE)
    if not (dry_run or as_root()):
        raise Sorry("Only root may do this: PAM starts it as root. --dry-run shows what it is. Nothing was changed.", UNAVAILABLE)
    try:
        planned = removals(host) if remove else changes(host)
        if dry_run:
            _show(planned)
        elif remove:
            _take_back(host, planned)
        else:
            _set_up(host, planned)
    except CannotInstallError as error:
        raise Sorry(str(error), UNAVAILABLE) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise Sorry(f"It did not finish: {error}. Run it again, or take it back with --remove.", UNAVAILABLE) from None


def _set_up(host: Host, planned: list[Change]) -> None:
    public_key = make_state(host)
    write(planned, host.root)
    for change in planned:
        print(f"{'changed' if change.old is not None else 'wrote'} {change.path}")
    if not planned:
        print("Everything is there already. Nothing was changed.")
    if any("type=open_session" in (change.new or "") for change in planned):
        print("PAM reads a file of the user's here (pam_env, user_readenv=1), so it starts nothing as a session ends: the recorder looks.")
    print("\nNext, on this host (a session that is open stays open):")
    print("    sshd -t && systemctl daemon-reload && systemctl enable --now keychest-access && systemctl reload ssh")
    print("And on the portal's machine:")
    print(f"    ./keychest access trust {host.name} {shlex.quote(public_key)}")


def _take_back(host: Host, planned: list[Change]) -> None:
    write(planned, host.root)
    clear(host)
    for change in planned:
        print(f"{'removed' if change.new is None else 'changed'} {change.path}")
    if not planned:
        print("Nothing of it is here. Nothing was changed.")
    print(f"\n{host.state} stays, with the host's key and what was not delivered. Remove it yourself if you want neither.")
    print("Next: systemctl daemon-reload; systemctl reload ssh. If the recorder still runs: systemctl stop keychest-access")


def _show(planned: Iterable[Change]) -> None:
    """Each file as it is, and as it would be."""
    for change in planned:
        old, new = (change.old or "").splitlines(), (change.new or "").splitlines()
        names = (str(change.path) if change.old is not None else "/dev/null", str(change.path) if change.new is not None else "/dev/null")
        print("\n".join(difflib.unified_diff(old, new, *names, lineterm="")))
    print("\nNothing was changed.")
