"""`./keychest witness keygen|serve|once`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from audit.note import COSIGNATURE, Note, Verifier
from audit.witness_files import Memory
from cli.main import main
from cli.words import MISCONFIGURED, UNAVAILABLE, USAGE
from tests.witnessing import ORIGIN, WITNESS, make_log

LOG = make_log(entries=1_400)
FORK = make_log(entries=1_400, fork_at=200)
Said = tuple[int, str, str]


class Run:
    """The verb with a key and a state in one folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.code, self.vkey, _ = self.words("keygen", "--name", WITNESS, "--key", str(folder / "key"))

    def words(self, *words: str) -> Said:
        code = main(["witness", *words])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def once(self, source: object, *logs: str) -> Said:
        given = [word for vkey in logs or (LOG.vkey,) for word in ("--log", vkey)]
        return self.words("once", str(source), "--key", str(self.folder / "key"), "--state", str(self.folder / "state"), *given)

    @property
    def seen(self) -> int:
        return Memory(self.folder / "state").read()[ORIGIN].size

    @property
    def evidence(self) -> list[str]:
        return sorted(path.name.partition("-")[0] for path in self.folder.glob("state.evidence/*"))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path, capsys)


def test_keygen_prints_the_public_half_and_nothing_else(run: Run, tmp_path: Path) -> None:
    assert run.code == 0
    key = Verifier.read(run.vkey.removesuffix("\n"))
    assert (key.name, key.kind) == (WITNESS, COSIGNATURE)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "key").read_bytes()
    code, out, err = run.words("keygen", "--name", WITNESS, "--key", str(tmp_path / "key"))
    assert (code, out, "stays as it is" in err) == (1, "", True)
    assert (tmp_path / "key").read_bytes() == before
    assert run.words("keygen", "--name", "a b", "--key", str(tmp_path / "new"))[0] == USAGE
    assert run.words("keygen", "--name", "a", "--key", str(tmp_path / "no" / "new"))[0] == UNAVAILABLE
    assert not (tmp_path / "new").exists()


def test_once_cosigns_a_folder_as_it_grows(run: Run, tmp_path: Path) -> None:
    key = Verifier.read(run.vkey.removesuffix("\n"))
    for size in (1, 300, 300, 513, 1_024, 1_399, 1_400):
        LOG.publish(tmp_path / "log", size)
        code, out, err = run.once(tmp_path / "log")
        assert (code, f"Cosigned: {ORIGIN}, {size:,} entries" in err) == (0, True), err
        note = Note.read(out.encode())
        assert note.text == LOG.checkpoint(size).text
        assert [found.name for found, _ in note.signed_by([key, Verifier.read(LOG.vkey)])] == [ORIGIN, WITNESS]
    (tmp_path / "log" / "checkpoint").write_text(out)
    again = Note.read(run.once(tmp_path / "log")[1].encode())
    assert len(again.signatures) == 2, "its own older line is replaced"
    assert run.evidence == []


def test_once_takes_the_full_tile_where_the_partial_one_has_gone(run: Run, tmp_path: Path) -> None:
    LOG.publish(tmp_path / "log", 100)
    run.once(tmp_path / "log")
    LOG.publish(tmp_path / "log", 1_400)
    (tmp_path / "log" / "checkpoint").write_bytes(LOG.note(130).raw)
    assert run.once(tmp_path / "log")[0] == 0
    assert run.seen == 130


@pytest.mark.parametrize(
    ("size", "kind", "words"),
    [(400, "fork", "Another tree of 400"), (700, "proof", "does not show"), (300, "smaller", "goes back")],
)
def test_once_says_how_a_log_was_rewritten_and_keeps_the_evidence(run: Run, tmp_path: Path, size: int, kind: str, words: str) -> None:
    LOG.publish(tmp_path / "log", 400)
    assert run.once(tmp_path / "log")[0] == 0
    FORK.publish(tmp_path / "fork", size)
    code, out, err = run.once(tmp_path / "fork")
    assert (code, out, words in err, run.evidence) == (1, "", True, [kind])
    assert run.seen == 400
    LOG.publish(tmp_path / "log", 401)
    assert run.once(tmp_path / "log")[0] == 0, "the log as it was goes on"


def test_once_tells_what_it_could_not_read_from_what_is_wrong(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    begun = f"There was no {tmp_path / 'state'}: {WITNESS} has seen nothing yet. If it had, stop now and put the file back.\n"
    assert run.once(log)[::2] == (2, f"{begun}There is no folder {log}. Nothing was cosigned.\n")
    log.mkdir()
    assert run.once(log)[::2] == (2, "There is no checkpoint. Nothing was cosigned.\n")
    os.mkfifo(log / "checkpoint")
    assert run.once(log)[0] == 2
    (log / "checkpoint").unlink()
    LOG.publish(log, 20)
    assert run.once(log)[0] == 0
    LOG.publish(log, 30)
    tile = log / "tile" / "0" / "000.p" / "30"
    whole = tile.read_bytes()
    tile.unlink()
    assert run.once(log)[0] == 2
    tile.write_bytes(whole[:-1])
    code, _, err = run.once(log)
    assert (code, "959 bytes" in err) == (1, True)
    tile.write_bytes(bytes(32) + whole[32:])
    assert run.once(log)[0] == 1
    tile.write_bytes(whole)
    (log / "checkpoint").write_bytes(b"no note")
    assert run.once(log)[0] == 1
    (log / "checkpoint").write_bytes(LOG.note(10, [make_log(key=bytes([3] * 32)).key]).raw)
    code, _, err = run.once(log)
    assert (code, "not signed by a key" in err) == (1, True)
    (log / "checkpoint").write_bytes(make_log("log.example/two").note(30).raw)
    code, _, err = run.once(log)
    assert (code, "does not know the log" in err, run.seen) == (1, True, 20)


def test_wrong_files_and_words_end_before_anything_is_done(run: Run, tmp_path: Path) -> None:
    LOG.publish(tmp_path / "log", 5)
    assert run.once(tmp_path / "log", run.vkey.strip())[0] == MISCONFIGURED
    assert run.once(tmp_path / "log", "x")[0] == MISCONFIGURED
    assert run.once("http://log.example")[0] == USAGE
    (tmp_path / "state").write_bytes(b"{")
    code, out, err = run.once(tmp_path / "log")
    assert (code, out, "is damaged. Nothing is cosigned" in err) == (MISCONFIGURED, "", True)
    serve = ("serve", "--key", str(tmp_path / "key"), "--state", str(tmp_path / "state"), "--log", LOG.vkey)
    assert run.words(*serve)[0] == MISCONFIGURED
    assert run.words(*serve, "--listen", "8520")[0] == USAGE
    (tmp_path / "key").chmod(0o604)
    assert "chmod 600" in run.once(tmp_path / "log")[2]
    (tmp_path / "key").unlink()
    assert run.once(tmp_path / "log")[0] == UNAVAILABLE


@contextmanager
def published(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folder over HTTP, and which paths were asked for."""
    asked: list[str] = []

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            path = folder / self.path.removeprefix("/log/")
            self.send_response(503 if "broken" in self.path else 200 if path.is_file() else 404)
            self.end_headers()
            self.wfile.write(path.read_bytes() if path.is_file() else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_once_reads_a_log_over_http(run: Run, tmp_path: Path) -> None:
    LOG.publish(tmp_path / "log", 300)
    with published(tmp_path / "log") as (address, asked):
        assert run.once(f"{address}/log/")[0] == 0
        LOG.publish(tmp_path / "log", 600)
        code, out, _ = run.once(f"{address}/log")
        assert (code, Note.read(out.encode()).text) == (0, LOG.checkpoint(600).text)
        assert asked[:2] == ["/log/checkpoint", "/log/checkpoint"]
        assert set(asked) > {"/log/tile/0/001", "/log/tile/0/002.p/88"}
        assert not [path for path in asked if "entries" in path], "it does not read what is in a log"
        code, _, err = run.once(f"{address}/broken")
        assert (code, f"{address}/broken/checkpoint answered 503." in err) == (2, True)
    assert run.once(f"{address}/log")[0] == 2
