"""`./keychest witness keygen|serve|once`: cosign somebody else's log, on a machine that they do not run."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import waitress.server  # type: ignore[import-untyped]  # it has no types

from audit.note import MOST_BYTES, NoteError
from audit.reading import Folder, Missing, Unreadable
from audit.witness import Witness, known_logs
from audit.witness_app import MOST_BODY, application
from audit.witness_files import Memory, WitnessError, make_key, read_key
from audit.witness_look import Fetch, UnreadError, look
from cli import place
from cli.words import MISCONFIGURED, UNAVAILABLE, USAGE, Sorry
from core.net.provider import Tls, Unanswered, ask, on_this_machine, trusting

_FOUND, _ABSENT = 200, (404, 410)
_PORTS = 65_535
key_option = click.option("--key", "key_file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File with the key.")
state_option = click.option(
    "--state", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File that keeps what was seen of each log."
)
log_option = click.option("--log", "vkeys", metavar="VKEY", multiple=True, required=True, help="Key of a log; give it once for each key.")


@click.group("witness")
def witness() -> None:
    """Cosign the log of somebody else, on a machine of your own (docs/witness.md)."""


@witness.command("keygen")
@click.option("--name", required=True, help="What the witness is called, for example witness.example.org/keychest.")
@key_option
def keygen_command(name: str, key_file: Path) -> None:
    """Make a key, and print its public half for whoever runs the log."""
    try:
        print(make_key(key_file, name).vkey)
    except FileExistsError:
        raise Sorry(f"{key_file} is there already, and stays as it is. Nothing was made.") from None
    except WitnessError as error:
        raise Sorry(f"{error} Nothing was made.", USAGE) from None
    except OSError as error:
        raise Sorry(f"{key_file} cannot be written ({error.strerror}). Nothing was made.", UNAVAILABLE) from None


@witness.command("serve")
@key_option
@state_option
@log_option
@click.option("--listen", default="127.0.0.1:8520", show_default=True, metavar="HOST:PORT", help="Where to listen; port 0: any free one.")
def serve_command(key_file: Path, state: Path, vkeys: tuple[str, ...], listen: str) -> None:
    """Answer logs that ask for cosignatures, until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    host, port = _listens(listen)
    found = _witness(key_file, state, vkeys)
    try:
        server: Any = waitress.server.create_server(
            application(found, lambda: datetime.now(UTC)),
            host=host,
            port=port,
            threads=4,
            ident="",
            max_request_body_size=MOST_BODY + 1,
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        raise Sorry(f"Nobody can listen on {listen} ({error.strerror}). Choose another with --listen.", UNAVAILABLE) from None
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    print(f"{found.name} listens on http://{_written(host)}:{server.effective_port}. Its key: {found.vkey}", file=sys.stderr, flush=True)
    server.run()


@witness.command("once")
@click.argument("source", metavar="URL-or-folder")
@key_option
@state_option
@log_option
def once_command(source: str, key_file: Path, state: Path, vkeys: tuple[str, ...]) -> int:
    """Look once at a log as it is published; print the cosigned checkpoint. Exit 0 cosigned, 1 wrong (says how), 2 could not be read."""
    found = _witness(key_file, state, vkeys)
    looked = look(found, _fetcher(source), datetime.now(UTC))
    print(looked.words, file=sys.stderr)
    if looked.note:
        click.echo(looked.note, nl=False)
    return looked.verdict


def _witness(key_file: Path, state: Path, vkeys: Sequence[str]) -> Witness:
    """The witness of these files. Where there is no state it begins without one, and says so."""
    try:
        name, key = read_key(key_file)
        found = Witness(name, key, known_logs(vkeys), Memory(state.absolute()))
        if found.memory.begin():
            print(f"There was no {state}: {name} has seen nothing yet. If it had, stop now and put the file back.", file=sys.stderr)
        else:
            found.memory.read()
    except (WitnessError, NoteError) as error:
        raise Sorry(str(error), MISCONFIGURED) from None
    except OSError as error:
        raise Sorry(f"{error.filename} cannot be used ({error.strerror}). Nothing was cosigned.", UNAVAILABLE) from None
    return found


def _listens(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not port.isascii() or int(port) > _PORTS:
        raise Sorry(f"{listen!r} is no address to listen on. Write one like 127.0.0.1:8520 or [::1]:8520.", USAGE)
    return host.strip("[]"), int(port)


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _fetcher(source: str) -> Fetch:
    """How the files of a log are read: from a folder, or by HTTPS."""
    if "://" not in source:
        return lambda path: _from_folder(Path(source), path)
    if urlsplit(source).scheme != "https" and not (urlsplit(source).scheme == "http" and on_this_machine(source)):
        raise Sorry(f"{source} is no https address. Without TLS anybody between could show another log.", USAGE)
    extra_roots = place.settings().extra_roots
    try:
        tls = trusting(extra_roots)
    except OSError as error:
        raise Sorry(f"KEYCHEST_EXTRA_ROOTS: {extra_roots} cannot be used ({error.strerror or 'no certificate'}).", MISCONFIGURED) from None
    return lambda path: _from_address(f"{source.rstrip('/')}/{path}", tls)


def _from_folder(folder: Path, path: str) -> bytes | None:
    if not folder.is_dir():
        raise UnreadError(f"There is no folder {folder}.")
    try:
        return Folder(folder).read(path)
    except Missing:
        return None
    except Unreadable as error:
        raise UnreadError(str(error)) from None


def _from_address(url: str, tls: Tls) -> bytes | None:
    try:
        answer = ask(url, tls=tls, headers={"Accept": "*/*"}, most_bytes=MOST_BYTES)
    except Unanswered as error:
        raise UnreadError(f"{url} gave {error}.") from None
    if answer.status in _ABSENT:
        return None
    if answer.status != _FOUND:
        raise UnreadError(f"{url} answered {answer.status}.")
    return answer.body
