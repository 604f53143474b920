"""The verbs of `./keychest`. A verb's modules are imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import importlib
import sys

import click

from cli.words import USAGE, Sorry

INTERRUPTED = 130

# verb -> (module, command in it, what --help says of it)
VERBS: dict[str, tuple[str, str, str]] = {
    "up": ("cli.up", "up", "Start everything here and keep it running."),
    "demo": ("cli.demo", "demo", "Try it: made-up names, certificates and servers, all on this machine."),
    "test": ("cli.test", "test", "Check the code: lint, types, contracts, templates, all tests."),
    "bench": ("cli.bench", "bench", "Measure what things cost on this machine."),
    "scan": ("cli.scan", "scan_command", "Look once at what a host serves, without a database."),
    "settings": ("cli.settings", "settings", "List every setting, what it is now, and what it is for."),
    "db": ("cli.db", "db", "Look after the database."),
    "backup": ("cli.backup", "backup", "Make backups, and see what there is."),
    "drill": ("cli.drill", "drill", "Prove a backup: restore it into a scratch place and compare."),
    "restore": ("cli.restore", "restore_command", "Restore a backup into a new place."),
    "escrow": ("cli.escrow", "escrow", "After a loss: whom to tell, and telling them."),
    "witness": ("cli.witness", "witness", "Cosign the log of somebody else, on a machine of your own."),
    "user": ("cli.user", "user", "Look after users."),
    "keys": ("cli.keys", "keys", "Make a new key, and wrap every secret by it."),
    "log": ("cli.log", "log", "Look after the log: how it stands, a new key, after a restore."),
    "status": ("cli.status", "status", "Put the status feed on another machine, and watch a portal from there."),
    "access": ("cli.access", "access", "Who has access to production: hosts, what they report, and why."),
    "shell": ("cli.shell", "shell", "Python on the store, with a reason that everybody reads."),
    "incident": ("cli.incident", "incident", "Tell the public of incidents and of planned work."),
    "account": ("cli.account", "account", "List the accounts there are."),
    "export": ("cli.export", "export_command", "Write all that an account holds into one signed file."),
    "import": ("cli.bring", "import_command", "Bring a file into an account: an export, a list, a table."),
    "routes": ("cli.routes", "routes", "List every route of the portal and who is let in."),
}


class Verbs(click.Group):
    """A group that knows its verbs by name and imports one only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs in the order a newcomer needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The verb itself, imported."""
        if cmd_name not in VERBS:
            return None
        module, name, _ = VERBS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """One line a verb, without importing any."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, says) for verb, (_, _, says) in VERBS.items()])


@click.command(cls=Verbs, no_args_is_help=True)
def keychest() -> None:
    """KeyChest watches the certificates of the names you list."""


def main(arguments: list[str] | None = None) -> int:
    """Run a verb. Exit codes: the verb's own; 64 for wrong words; 130 when interrupted."""
    try:
        code = keychest.main(arguments, prog_name="./keychest", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "./keychest"
        print(f"{error.format_message()} `{where} --help` tells what can be written.", file=sys.stderr)
        return USAGE
    except click.ClickException as error:
        print(error.format_message(), file=sys.stderr)
        return error.code if isinstance(error, Sorry) else error.exit_code
    except click.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0
