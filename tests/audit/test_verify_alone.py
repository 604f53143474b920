"""The verifier as strangers run it: a few files of `audit/`, `cryptography`, and nothing else; from folders and web addresses."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import reading
from audit.__main__ import main
from audit.entry import make_entry
from audit.note import COSIGNATURE, public_of
from audit.tree import hashes_of, inclusion_proof, leaf_hash
from demo.pki import make_chain
from tests.audit_logs import (
    KEY,
    NOW,
    ORIGIN,
    WITNESS,
    WITNESS_KEY,
    after,
    bodies,
    checkpoint_of,
    log_of,
    put,
    started,
)
from tests.conftest import ROOT

ALONE = "__init__ __main__ entry held kinds leaves note opened reading tiles told tree verify vouched words".split()  # noqa: SIM905 - shorter
"""What the verifier consists of."""
BLOCKED = """
import runpy, sys
ours = sys.stdlib_module_names | {"audit", "cryptography", "_cffi_backend", "cffi"}
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in ours:
            raise ModuleNotFoundError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
sys.argv = ["audit", *sys.argv[1:]]
runpy.run_module("audit", run_name="__main__")
"""
VKEY = public_of(KEY, ORIGIN).vkey
WITNESS_VKEY = public_of(WITNESS_KEY, WITNESS, COSIGNATURE).vkey


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the verifier and nothing else of KeyChest."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "audit").mkdir()
    for name in ALONE:
        shutil.copy(ROOT / "audit" / f"{name}.py", folder / "audit")
    return folder


def run(folder: Path, *words: str | Path) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_it_needs_its_own_few_files_and_cryptography(alone: Path, tmp_path: Path) -> None:
    """Each outcome once by the real command line, with everything else kept from being imported."""
    log = put(log_of(bodies(300)), tmp_path / "log")
    code, said = run(alone, "verify", log, "--key", VKEY, "--since", tmp_path / "seen", "--entry", "270")
    assert code == 0, said
    assert said.startswith("All holds: keychest.example/log has 300 entries")
    assert (tmp_path / "seen").exists()
    (log / "tile" / "0" / "000").unlink()
    code, said = run(alone, "verify", log)
    assert (code, "tile/0/000 is missing" in said, said.splitlines()[0]) == (1, True, "Something is wrong with this log.")
    code, said = run(alone, "verify", tmp_path / "nowhere")
    assert (code, "is neither a folder nor a web address" in said) == (2, True)
    assert run(alone, "verify")[0] == 2
    kept = {path.name.removesuffix(".py") for path in (alone / "audit").iterdir()}
    assert kept == {*ALONE}, "nothing is written beside it"


def test_an_entry_is_told_in_words_with_its_bytes_and_its_proof_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for size, index in ((300, 0), (300, 255), (300, 299), (1, 0), (257, 256), (7, 5)):
        log = put(log_of(bodies(size)), tmp_path / f"{size}")
        assert main(["verify", str(log), "--entry", str(index)]) == 0
        said = capsys.readouterr().out
        assert f"Entry {index:,} of {ORIGIN}" in said
        assert bodies(size)[index].decode() in said
        assert "which is the root that the checkpoint signs" in said, (size, index)
    assert "An account began to watch names." in said
    assert "added    1 to 9" in said
    two = log_of(bodies(9)) | {"continued": b"2\n"}
    two |= {f"2/{path}": raw for path, raw in log_of([after(two), *bodies(5)[1:]], origin=f"{ORIGIN}/2").items()}
    log = put(two, tmp_path / "two")
    for words, origin in ((["--log", "1"], ORIGIN), ([], f"{ORIGIN}/2")):
        assert main(["verify", str(log), "--entry", "0", *words]) == 0
        assert f"Entry 0 of {origin}\nA log began." in capsys.readouterr().out
    for words in (["--entry", "5"], ["--entry", "-1"], ["--entry", "0", "--log", "3"]):
        assert main(["verify", str(log), *words]) == 2


def test_hostile_text_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steering = "\x1b]0;title\x07\u202eright\nAll holds"
    first = log_of(bodies(2))
    entries = [after(first, reason=steering)]
    files = first | {"continued": b"2\n"} | {f"2/{path}": raw for path, raw in log_of(entries, origin=f"{ORIGIN}/2").items()}
    log = put(files | {"tile/\x1b[31m": b""}, tmp_path / "log")
    assert main(["verify", str(log), "--entry", "0"]) == 1
    (log / "tile" / "\x1b[31m").unlink()
    assert main(["verify", str(log), "--entry", "0"]) == 0
    said = capsys.readouterr().out
    assert "title" in said
    assert not {"\x1b", "\x07", "\u202e"} & set(said)


@pytest.mark.slow
def test_what_was_seen_is_kept_only_when_all_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grown = bodies(320)
    seen = tmp_path / "seen"
    logs = {
        size: str(put(log_of(entries), tmp_path / f"{size}")) for size, entries in ((300, grown[:300]), (200, grown[:200]), (320, grown))
    }
    fork = str(put(log_of([*grown[:299], bodies(999)[998]]), tmp_path / "fork"))
    assert main(["verify", logs[300], "--since", str(seen)]) == 0
    kept = seen.read_bytes()
    for log, words in ((logs[200], "an old checkpoint was put back"), (fork, "together they prove that the log was forked")):
        assert main(["verify", log, "--since", str(seen)]) == 1
        said = capsys.readouterr().out
        assert words in said
        assert "stays as it was" in said
        assert seen.read_bytes() == kept
    assert main(["verify", logs[320], "--since", str(seen)]) == 0
    assert json.loads(seen.read_text())["logs"][ORIGIN]["size"] == 320
    assert "first use" not in capsys.readouterr().out
    assert main(["verify", logs[300], "--since", str(seen)]) == 1
    seen.write_text("{}")
    assert main(["verify", logs[300], "--since", str(seen)]) == 2
    assert seen.read_text() == "{}"
    assert main(["verify", logs[300], "--since", str(tmp_path / "no" / "folder")]) == 2
    assert "All holds, and it could not be kept for the next time." in capsys.readouterr().out


def test_keys_witnesses_and_quorum_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = bodies(20)
    log = str(put(log_of(entries) | {"checkpoint": checkpoint_of(entries, witnesses={WITNESS: WITNESS_KEY})}, tmp_path / "log"))
    other = public_of(Ed25519PrivateKey.generate(), "other.example", COSIGNATURE).vkey
    for code, words in (
        (0, ["--key", VKEY, "--witness", WITNESS_VKEY, "--quorum", "1"]), (1, ["--witness", other, "--quorum", "1"]),
        (1, ["--witness", other, "--witness", WITNESS_VKEY, "--quorum", "2"]), (0, ["--witness", other]), (2, ["--quorum", "1"]),
        (2, ["--witness", WITNESS_VKEY, "--witness", WITNESS_VKEY, "--quorum", "2"]), (2, ["--witness", VKEY]),
        (2, ["--key", WITNESS_VKEY]),
        (2, ["--key", "nonsense"]), (1, ["--key", public_of(WITNESS_KEY, ORIGIN).vkey]),
    ):  # fmt: skip
        assert main(["verify", log, *words]) == code, words
    assert f"{WITNESS} has seen this checkpoint at 2026-09-21 14:13:20 UTC" in capsys.readouterr().out


Told = dict[str, Any]


class Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served(answers: Callable[..., BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{'https://localhost' if tls else 'http://127.0.0.1'}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answering(status: int, body: bytes, **headers: str) -> type[BaseHTTPRequestHandler]:
    """Every path answers this."""

    class Answers(Quiet):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in ({"Content_Length": str(len(body))} | headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

    return Answers


@pytest.mark.slow
def test_a_log_is_read_from_a_web_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = log_of(bodies(300)) | {"continued": b"2\n"}
    two |= {f"2/{path}": raw for path, raw in log_of([after(two), *bodies(5)[1:]], origin=f"{ORIGIN}/2").items()}
    log = put(two, tmp_path / "web" / "log")
    with served(partial(Quiet, directory=str(tmp_path / "web"))) as address:
        for where in ("/log", "/log/"):
            assert main(["verify", address + where]) == 0
        assert f"{ORIGIN}/2 has 5 entries" in capsys.readouterr().out
        (log / "2" / "tile" / "0" / "000.p" / "5").unlink()
        assert main(["verify", f"{address}/log"]) == 1
        assert "2/tile/0/000.p/5 is missing" in capsys.readouterr().out
        assert main(["verify", f"{address}/nothing"]) == 2
    assert main(["verify", f"{address}/log"]) == 2


def test_a_log_with_a_certificate_of_a_private_ca_is_read_by_who_trusts_that_ca(tmp_path: Path) -> None:
    chain, files = make_chain(["localhost"], now=datetime.now(UTC)), log_of(bodies(5))
    for name, content in {"chain.pem": chain.pem, "key.pem": chain.key_pem, "roots.pem": chain.root.pem}.items():
        (tmp_path / name).write_bytes(content)
    ours, theirs = ssl.create_default_context(cafile=str(tmp_path / "roots.pem")), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    with served(partial(Quiet, directory=str(put(files, tmp_path / "log"))), theirs) as address:
        with reading.place_of(address, tls=ours) as place:
            assert place.read("checkpoint") == files["checkpoint"]
        with reading.place_of(address) as place, pytest.raises(reading.Unreadable, match="certificate"):
            place.read("checkpoint")


def test_a_server_that_leads_elsewhere_lies_or_does_not_end_is_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = put(log_of(bodies(5)), tmp_path / "log")
    monkeypatch.setattr(reading, "MOST_BYTES", 100_000)
    with served(partial(Quiet, directory=str(log))) as good:
        for status, body, headers, words in (
            (302, b"", {"Location": f"{good}/checkpoint"}, "Redirects are not followed"), (500, b"", {}, "answered 500"),
            (200, b"x", {"Content_Length": "9"}, "ended early"), (200, b"x" * 200_000, {}, "longer than"), (403, b"", {}, "answered 403"),
        ):  # fmt: skip
            with served(answering(status, body, **headers)) as address:
                assert main(["verify", address]) == 2, words
                assert words in capsys.readouterr().out
        monkeypatch.setattr(reading, "MOST_S", -1.0)
        assert main(["verify", good]) == 2
        assert "takes longer" in capsys.readouterr().out
        monkeypatch.setattr(reading, "MOST_S", 60.0)
        monkeypatch.setattr(reading, "MOST_BYTES_AT_ALL", 900)
        assert main(["verify", good]) == 2
        assert "were read from" in capsys.readouterr().out
        for odd in (f"{good}?a", f"{good}#a", good.replace("//", "//a:b@"), "http://", "http://127.0.0.1:99999"):
            assert main(["verify", odd]) == 2, odd
    with served(answering(200, b"<html>")) as address:
        assert main(["verify", address]) == 1, "a page is no checkpoint"


def activity(count: int = 5) -> Told:
    entries = [
        make_entry(
            "domains.added.v1", at=NOW, logged=NOW, actor="user:abc", account="acc", public={"added": 3}, private={"names": f"n{each}"}
        )
        for each in range(count)
    ]
    leaves = [started(), *(each.body for each in entries)]
    hash_of = hashes_of([leaf_hash(each) for each in leaves])
    told = [
        {"log": ORIGIN, "index": index, "entry": each.body.decode(), "sealed": each.sealed}
        | {"proof": [base64.b64encode(step).decode() for step in inclusion_proof(hash_of, index, len(leaves))]}
        for index, each in enumerate(entries, 1)
    ]
    return {
        "format": "keychest-activity/1",
        "logs": {ORIGIN: {"checkpoint": checkpoint_of(leaves).decode(), "keys": [VKEY]}},
        "entries": told,
    }


def test_a_downloaded_activity_is_opened_and_every_change_in_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "activity.json"

    def opened(told: object, *words: str) -> tuple[int, str]:
        path.write_text(told if isinstance(told, str) else json.dumps(told))
        return main(["open", str(path), *words]), capsys.readouterr().out

    code, said = opened(activity())
    assert code == 0
    assert "All holds: each of these entries" in said
    assert "trusted on first use" in said
    assert (
        "An account began to watch names. (keychest.example/log 5: domains.added.v1; account acc, actor user:abc, added 3, names n4)"
        in said
    )
    assert "first use" not in opened(activity(), "--key", VKEY)[1]
    assert opened(activity(), "--key", public_of(WITNESS_KEY, ORIGIN).vkey)[0] == 1
    less = activity()
    less["entries"][0]["sealed"] = {}
    assert "5 private fields are not in the file" in opened(less)[1]
    assert "3 entries were left out when it was made" in opened(activity() | {"left_out": 3})[1]
    found = 0
    changes: tuple[Callable[[Told, Told, Told], object], ...] = (
        lambda _, entry, __: entry.update(entry=entry["entry"].replace("person", "nobody")), lambda _, entry, __: entry.update(index=2),
        lambda _, entry, __: entry.update(index="3"), lambda _, entry, __: entry.update(index=True),
        lambda _, entry, __: entry.update(log="other"), lambda _, entry, __: entry["proof"].pop(),
        lambda _, entry, __: entry["proof"].append("AA=="), lambda _, entry, __: entry["proof"].reverse(),
        lambda _, entry, __: entry["sealed"]["names"].__setitem__(1, "other"), lambda _, entry, __: entry.update(sealed=[]),
        lambda _, entry, __: entry["sealed"]["names"].__setitem__(0, "00"), lambda _, entry, __: entry["sealed"].update(names="x"),
        lambda _, entry, __: entry["sealed"]["names"].__setitem__(0, "zz"), lambda _, entry, __: entry.update(entry=7),
        lambda _, entry, __: entry["sealed"].update(more=["00", "x"]), lambda _, entry, __: entry.pop("sealed"),
        lambda told, entry, _: told["entries"].append(entry), lambda told, _, __: told["entries"].append(7),
        lambda told, _, __: told.pop("entries"), lambda told, _, __: told.pop("logs"), lambda told, _, __: told.update(logs=[]),
        lambda _, __, log: log.update(keys=[]), lambda _, __, log: log.update(keys=[WITNESS_VKEY]),
        lambda _, __, log: log.update(checkpoint=log["checkpoint"].replace("\n6\n", "\n7\n")),
        lambda told, _, log: told["logs"].update(other=log), lambda _, __, log: log["keys"].append(WITNESS_VKEY),
    )  # fmt: skip
    for number, change in enumerate(changes):
        told = activity()
        change(told, told["entries"][2], told["logs"][ORIGIN])
        code, said = opened(told)
        assert (code, "Something is wrong with this file" in said) == (1, True), number
        found += 1
    assert found == len(changes) == 26
    for text in ("", "[]", "{}", json.dumps(activity() | {"format": "other"}), "[" * 99_999):
        assert opened(text)[0] == 2
    assert main(["open", str(tmp_path / "none")]) == 2


@pytest.mark.slow
def test_100_000_entries_are_verified_in_ten_seconds(alone: Path, tmp_path: Path) -> None:
    log = put(log_of(bodies(100_000)), tmp_path / "log")
    before = process_time()
    assert main(["verify", str(log), "--since", str(tmp_path / "seen")]) == 0
    took = process_time() - before
    assert took < 10
