"""`./keychest escrow open FILE` and `escrow notify FILE`: after a loss, whom to tell, and telling them, from a sealed file and a key alone.

Neither needs a database, a broker or a portal: both run on any machine that has KeyChest, the file and the recovery key.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from cli import place
from cli.words import Sorry
from config import SettingError, Settings
from core.backups.engine import BackupError
from core.backups.escrow import Escrow, open_escrow
from core.backups.escrow_mail import Marks, Telling, Told, kept_marks, look_at_marks, spelled, tell
from core.backups.keys import RECOVERY_KEY, read_identities
from core.backups.plan import Plan
from core.backups.stored import apart, get_small
from core.net.mail import Server
from core.render import plural
from core.targets import TargetError

DONE, REFUSED, COULD_NOT_RUN = 0, 1, 2
_EPILOG: Final = (
    "Exit code: 0 done, 1 refused or somebody was not told (it says who), 2 the file or the key cannot be used, 64 wrong words."
)
_EXAMPLE: Final = "for example smtp+starttls://user:password@mail.example.org:587"
_WELL: Final = {"sent", "sent before"}

key_option = click.option(
    "--key", "key_file", type=click.Path(path_type=Path), metavar="KEYFILE", help="The private half of the recovery key, as age keeps it."
)


@click.group("escrow")
def escrow() -> None:
    """Tell people after a loss."""


@escrow.command("open", epilog=_EPILOG)
@click.argument("file", metavar="FILE|BACKUP")
@key_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@place.data_option
def open_command(file: str, key_file: Path | None, data: Path | None, *, as_json: bool) -> None:
    """Show the accounts in a sealed escrow FILE, and whom to tell for each."""
    found = _opened(file, key_file, _settings(data))
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
        return
    print(f"{plural(len(found.accounts), 'account')} of the installation {found.installation}, as of {_moment(found.at)}:")
    for each in found.accounts:
        print(f"  {spelled(each.account)}: {', '.join(map(spelled, each.addresses)) or 'nobody is left to tell'}")


@escrow.command("notify", epilog=_EPILOG)
@click.argument("file", metavar="FILE|BACKUP")
@key_option
@click.option("--reason", required=True, help="What happened, what is kept and what is not, in your own words: the mail begins with it.")
@click.option("--dry-run", is_flag=True, help="Print who would be told, and the text of one mail. Nothing is sent.")
@click.option("--send", is_flag=True, help="Send the mails, each address once. Run it again to go on where it ended.")
@click.option("--smtp", default="", metavar="URL", help="The mail server; else KEYCHEST_SMTP_URL, which keeps a password off the screen.")
@click.option("--sender", default="", metavar="ADDRESS", help="The sender; else KEYCHEST_MAIL_FROM.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The marks by which it goes on. Default: FILE.told",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@place.data_option
@click.pass_context
def notify(
    ctx: click.Context, *, file: str, key_file: Path | None, reason: str, dry_run: bool, send: bool, smtp: str, sender: str,
    state: Path | None, as_json: bool, data: Path | None,
) -> None:  # fmt: skip
    """Write to every contact in a sealed escrow FILE, each address once."""
    if dry_run == send:
        raise click.UsageError("Write --dry-run to see who would be told, or --send to tell them.")
    if not reason.strip():
        raise click.UsageError("--reason is what people will read first. Say what happened.")
    settings = _settings(data, smtp, sender)
    telling = Telling(_opened(file, key_file, settings), reason, settings.mail_from)
    state = state or (Path(f"{file}.told") if Path(file).exists() else settings.data / f"escrow-{telling.escrow.at:%Y%m%dT%H%M%SZ}.told")
    if dry_run:
        _show(telling, _looked_at(state, telling), as_json=as_json)
        return
    if not settings.smtp_url:
        raise Sorry(f"No mail server is set. Name one with --smtp, or set KEYCHEST_SMTP_URL; {_EXAMPLE}. Nobody was told.", REFUSED)
    ctx.exit(_send(telling, state, settings, as_json=as_json))


def find(file_or_ref: str, settings: Settings) -> bytes:
    """A sealed escrow: a file here, else that of a backup at the targets, by its reference or "newest". Raises Sorry."""
    path = Path(file_or_ref)
    if path.exists() or not file_or_ref.isalnum():
        try:
            return path.read_bytes()
        except OSError as error:
            raise Sorry(f"The escrow {file_or_ref} cannot be read ({error.strerror}). Nothing was opened.", COULD_NOT_RUN) from None
    said = []
    try:
        for target in apart(Plan(**settings.backups()).targets()):
            names = [entry.name for entry in target.names("escrow/") if file_or_ref == "newest" or file_or_ref in entry.name]
            if names:
                return get_small(target, names[-1])
            said.append(f"{target.shown} has none")
    except (TargetError, BackupError, SettingError) as error:
        said.append(str(error))
    why = f"there is no such file, and no escrow of that name at the targets: {'; '.join(said)}"
    raise Sorry(f"The escrow {file_or_ref} cannot be read ({why}). Nothing was opened.", COULD_NOT_RUN)


def _settings(data: Path | None, smtp: str = "", sender: str = "") -> Settings:
    """Settings, with what was given here checked as the setting of the same meaning is. Raises Sorry."""
    environ = dict(os.environ)
    for name, value in (("KEYCHEST_SMTP_URL", smtp), ("KEYCHEST_MAIL_FROM", sender)):
        if value:
            environ.pop(f"{name}_FILE", None)
            environ[name] = value
    try:
        return place.settings(environ, data=data)
    except Sorry as sorry:
        raise Sorry(str(sorry), COULD_NOT_RUN) from None


def _opened(file: str, key_file: Path | None, settings: Settings) -> Escrow:
    kept = settings.data / RECOVERY_KEY
    if key_file is None and (settings.production or not kept.exists()):
        raise Sorry("Name the file with the private half of the recovery key: --key KEYFILE. Nothing was opened.", COULD_NOT_RUN)
    try:
        return open_escrow(find(file, settings), read_identities(key_file or kept))
    except BackupError as error:
        raise Sorry(str(error), COULD_NOT_RUN) from None


def _looked_at(state: Path, telling: Telling) -> Marks:
    try:
        return look_at_marks(state, telling)
    except BackupError as error:
        raise Sorry(str(error), REFUSED) from None


def _show(telling: Telling, marks: Marks, *, as_json: bool) -> None:
    letters = telling.letters
    due = [letter for letter in letters if marks.newest.get(letter.address) in {None, "not-sent"}]
    before = [letter.address for letter in letters if marks.newest.get(letter.address) == "sent"]
    unsure = [letter.address for letter in letters if marks.newest.get(letter.address) == "about-to-send"]
    text = telling.text(due[0]) if due else ""
    if as_json:
        would = [dataclasses.asdict(letter) for letter in due]
        print(json.dumps({"would_send": would, "sent_before": before, "unsure": unsure, "text": text}, indent=2))
        return
    print(f"{plural(len(due), 'mail')} would be sent from {spelled(telling.sender)}. Nothing is sent by --dry-run.")
    for letter in due:
        print(f"  {spelled(letter.address)}: {', '.join(map(spelled, letter.accounts))}")
    for addresses, words in ((before, "was told before"), (unsure, "may have been told before, and is not told again by itself")):
        for address in addresses:
            print(f"  {spelled(address)} {words}")
    if due:
        print(f"\nTo {spelled(due[0].address)}:\n\n{text.rstrip()}")


def _send(telling: Telling, state: Path, settings: Settings, *, as_json: bool) -> int:
    """Send, say what became of each, and give the exit code."""
    became: list[Told] = []
    stopped, server = "", _server(settings.smtp_url)
    try:
        with kept_marks(state, telling) as marks:
            for told in tell(telling, marks, server, now=lambda: datetime.now(UTC)):
                became.append(told)
                if not as_json and told.outcome != "sent before":
                    print(f"{told.outcome}: {spelled(told.letter.address)}{f' - {spelled(told.why)}' if told.why else ''}", flush=True)
    except BackupError as error:
        stopped = str(error)
    _sum_up(became, stopped, state, as_json=as_json)
    return REFUSED if stopped or any(told.outcome not in _WELL for told in became) else DONE


def _server(url: str) -> Server:
    try:
        return Server.from_url(url)
    except ValueError as error:  # a port that is none
        raise Sorry(f"The mail server's address cannot be used: {error}; write one {_EXAMPLE}. Nobody was told.", COULD_NOT_RUN) from None


def _sum_up(became: Sequence[Told], stopped: str, state: Path, *, as_json: bool) -> None:
    if as_json:
        told = [{"address": each.letter.address, "outcome": each.outcome, "why": each.why} for each in became]
        print(json.dumps({"told": told, "stopped": stopped, "state": str(state)}, indent=2))
        return
    count = Counter(told.outcome for told in became)
    print(", ".join(f"{number:,} {outcome}" for outcome, number in sorted(count.items())) or "There is nobody to tell.")
    left = count["not sent"] + count["not tried"]
    if stopped:
        print(stopped)
    if left or stopped:
        print(f"Run the same command again to go on; {state} says who was told.")
    if count["unsure"]:
        print("Those who are unsure may have the mail or not. Look into the mail server's log, or write to them by hand.")


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
