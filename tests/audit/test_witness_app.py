"""The witness over HTTP: the real process, by the real command line, asked by real requests."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from audit.note import COSIGNATURE, Verifier, public_of, read_signatures
from audit.witness import Witness
from audit.witness_app import application
from tests.witnessing import ORIGIN, WITNESS, make_log, make_witness, witness_process

LOG, FORK = make_log(), make_log(fork_at=3)
SECOND, THIRD = make_log("log.example/second"), make_log("log.example/third")
WORDS, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("witness")


@pytest.fixture(scope="module")
def witness(folder: Path) -> Witness:
    return make_witness(folder, LOG.vkey)


@pytest.fixture(scope="module")
def address(folder: Path, witness: Witness) -> Iterator[str]:
    with witness_process(folder, LOG.vkey, SECOND.vkey, THIRD.vkey) as found:
        yield found


@pytest.fixture
def line(address: str) -> Iterator[http.client.HTTPConnection]:
    found = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    yield found
    found.close()


def ask(
    line: http.client.HTTPConnection, body: bytes, method: str = "POST", path: str = "/add-checkpoint"
) -> tuple[int, str | None, bytes]:
    line.request(method, path, body=body)
    with line.getresponse() as response:
        return response.status, response.headers["Content-Type"], response.read()


def test_every_status_on_one_connection(line: http.client.HTTPConnection, witness: Witness) -> None:
    with witness.memory.locked():
        witness.memory.keep({})
    status, kind, body = ask(line, LOG.request(0, 5))
    (given,) = read_signatures(body.decode())
    assert (status, kind, body) == (200, WORDS, given.line.encode())
    assert Verifier.read(witness.vkey).holds(LOG.checkpoint(5).text, given.bytes)
    socket = line.sock
    assert ask(line, LOG.request(0, 7)) == (409, SIZE, b"5\n")
    assert ask(line, FORK.request(5, 5))[:2] == (409, WORDS)
    assert ask(line, FORK.request(5, 9))[:2] == (422, WORDS)
    assert ask(line, make_log("log.example/unknown").request(0, 5))[:2] == (404, WORDS)
    assert ask(line, make_log(key=bytes([1] * 32)).request(5, 7))[:2] == (403, WORDS)
    assert ask(line, b"old 05\n\n")[:2] == (400, WORDS)
    assert ask(line, b"")[:2] == (400, WORDS)
    assert ask(line, LOG.request(5, 7))[0] == 200
    assert line.sock is socket, "the connection is kept"


def test_a_body_is_bounded_whole_and_in_chunks(line: http.client.HTTPConnection) -> None:
    full = LOG.request(7, 8) + b"x" * (65_536 - len(LOG.request(7, 8)))
    assert ask(line, full)[0] == 400
    for name, value, sent in (
        ("Content-Length", "65537", b""),
        ("Transfer-Encoding", "chunked", b"fffff\r\n" + b"x" * (65_537 - 7)),
    ):  # it answers before the rest comes; nothing more is sent, so that the answer is not lost with it
        line.putrequest("POST", "/add-checkpoint")
        line.putheader(name, value)
        line.endheaders()
        line.send(sent)
        with line.getresponse() as response:
            assert response.status == 413, name
        line.close()
    raw = SECOND.request(0, 5)
    line.request("POST", "/add-checkpoint", body=iter([raw[:9], raw[9:]]))
    with line.getresponse() as response:
        assert response.status == 200


def test_the_application_itself_reads_no_more_than_the_bound(witness: Witness) -> None:
    said: list[str] = []
    answer = application(witness, lambda: datetime.now(UTC))
    for length in ("65537", "-1", "x", "\u0661"):
        asked = {"REQUEST_METHOD": "POST", "PATH_INFO": "/add-checkpoint", "CONTENT_LENGTH": length}  # there is nothing to read from
        answer(asked, lambda status, _: said.append(status))
    assert set(said) == {"413 Content Too Large"}


@pytest.mark.slow
def test_the_page_tells_who_this_is_and_what_it_saw(
    line: http.client.HTTPConnection, witness: Witness, folder: Path
) -> None:  # fmt: skip
    assert ask(line, LOG.request(0, 5))[0] in {200, 409}, "another test may have been here"
    status, kind, body = ask(line, b"", "GET", "/")
    said = body.decode()
    assert (status, kind) == (200, WORDS)
    assert f"This is {WITNESS}, a witness" in said
    assert f"\n{public_of(witness.key, WITNESS, COSIGNATURE).vkey}\n" in said
    seen = witness.memory.read()[ORIGIN].size
    assert f"- {ORIGIN}: {seen:,} entries, 20" in said
    assert "- log.example/third: nothing yet\n" in said
    assert ask(line, b"", "HEAD", "/") == (200, WORDS, b"")
    state = (folder / "state").read_bytes()
    (folder / "state").write_bytes(state[:-9])
    try:
        assert ask(line, b"", "GET", "/")[0] == 500
        assert ask(line, LOG.request(8, 9))[0] == 500
    finally:
        (folder / "state").write_bytes(state)


def test_there_is_nothing_else(line: http.client.HTTPConnection) -> None:
    for path in ("/state", "/add-checkpoint/", "/../key", "/%2e%2e/key", "/add-checkpoint%00"):
        assert ask(line, b"", "GET", path)[0] in {400, 404}, path
        assert ask(line, LOG.request(0, 5), "POST", path)[0] in {400, 404}, path
    for method, path in (("GET", "/add-checkpoint"), ("PUT", "/add-checkpoint"), ("POST", "/"), ("DELETE", "/")):
        assert ask(line, b"", method, path)[0] == 405
