"""The log's public pages and files: they are what is published, name nobody, and need neither cookie nor database."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.__main__ import main
from audit.keeper import Keeper
from audit.kinds import KINDS, OWN
from audit.log import Event, append
from audit.note import COSIGNATURE, Note, cosign, public_of
from audit.sequencer import Sequencer
from audit.tables import Log
from audit.tiles import TileHashes, entry_at
from audit.tree import inclusion_proof
from portal.gate import PUBLIC
from tests.make import NOW
from tests.portal.conftest import PEOPLE, MakeSite, Site
from tests.portal.serving import serving
from tests.portal.test_endpoints import assert_only_our_markup
from tests.portal.test_operations import text_of

ORIGIN = "keychest.example/log"
HOSTILE = "<script>alert(1)</script> \u202egnp.exe"
LATER = NOW + timedelta(minutes=1)


def happen(site: Site, many: int = 1, kind: str = "domains.added.v1", *, at: datetime = NOW, **private: str | int | bool) -> None:
    actor = site.actors["owner"]
    with site.sessions.writing() as session:
        for each in range(many):
            public: dict[str, str | int | bool] = {"added": each + 1, "restored": 0, "role": "viewer", "minutes": 30}
            append(session, Event(kind, at, actor.name, actor.account_ref, public, {"names": f"canary-{each}.example.org"} | private))


def seal(site: Site, keeper: Keeper, now: datetime = LATER) -> Sequencer:
    sequencer = Sequencer(site.sessions, keeper, ORIGIN)
    sequencer.turn(now)
    return sequencer


@pytest.mark.slow
def test_the_files_are_served_as_they_are_published(logged: Site, keeper: Keeper) -> None:
    happen(logged, 300, email="canary@example.org")
    seal(logged, keeper)
    client = logged.client()
    paths = [path.relative_to(keeper.public).as_posix() for path in keeper.public.rglob("*") if path.is_file()]
    assert {"checkpoint", "tile/0/000", "tile/entries/000", "tile/0/001.p/45", "tile/1/000.p/1"} <= set(paths)
    for path in paths:
        answer = client.get(f"/log/{path}?whatever=1")
        assert (answer.status_code, answer.data) == (200, (keeper.public / path).read_bytes()), path
        tile = path != "checkpoint"
        assert answer.headers["Content-Type"] == ("application/octet-stream" if tile else "text/plain; charset=utf-8")
        assert answer.headers["Cache-Control"] == ("public, max-age=31536000, immutable" if tile else "public, max-age=2")
        assert client.get(f"/log/{path}", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
        assert "Set-Cookie" not in answer.headers
        assert "Cookie" not in answer.headers.get("Vary", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "tile/../checkpoint", "tile/0/../../checkpoint", "tile/0/%2e%2e/%2e%2e/checkpoint", "tile/0/1",
        "tile/0/0000", "tile/0/000.p/256", "tile/0/000%00",
        "tile/0/000.p/0", "tile/0/000.p/01", "tile/0/000.p", "tile/64/000", "tile/0/x000/000", "tile/entries/", "tile/", "key", "../key",
        "%2e%2e/key", "last-checkpoint-1", "2/checkpoint", "0/checkpoint", "02/checkpoint", f"{'9' * 5000}/checkpoint", "-1/checkpoint",
        "x/checkpoint", "2/tile/0/000", "continued", "entries/1/300", "entries/2/0", "entries/1/-1", "entries/1/01",
        f"entries/1/{'9' * 18}",
        f"entries/1/{'9' * 5000}", "entries/1/\u0661", "entries/1",
    ],
)  # fmt: skip
def test_nothing_else_is_served(logged: Site, keeper: Keeper, path: str) -> None:
    happen(logged)
    seal(logged, keeper)
    assert logged.client().get(f"/log/{path}").status_code in {400, 404}, path


@pytest.mark.slow
def test_the_pages_need_neither_cookie_nor_database_and_may_be_kept(logged: Site, keeper: Keeper) -> None:
    happen(logged, 3)
    seal(logged, keeper)
    logged.sessions.engine.dispose()
    Path(str(logged.sessions.engine.url.database)).unlink()
    for client in (logged.client(), logged.client("owner")):
        for path in ("/log", "/log/entries/1/2", "/log/checkpoint", "/log/tile/entries/000.p/4"):
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "Set-Cookie" not in answer.headers
            assert "Cookie" not in answer.headers.get("Vary", "")
            assert PEOPLE["owner"].encode() not in answer.data
            assert client.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304, path


@pytest.mark.slow
def test_the_page_tells_what_happened_in_coarse_words_newest_first(logged: Site, keeper: Keeper) -> None:
    happen(logged, 40)
    seal(logged, keeper)
    page = logged.client().get("/log").text
    text = text_of(page)
    assert re.findall(r'href="/log/entries/1/(\d+)"', page) == [str(each) for each in range(40, 10, -1)]
    assert "30 entries shown of 41" in text
    assert "a person" in text
    assert "added: 10 to 99" in text
    older = logged.client().get("/log?before=11").text
    assert re.findall(r'href="/log/entries/1/(\d+)"', older) == [str(each) for each in range(10, -1, -1)]
    assert KINDS["log.started.v1"].says in older
    assert 'href="/log?before=' not in older
    for odd in ("-1", "x", "9" * 30, "0", "\u0661", ""):
        assert logged.client().get("/log", query_string={"before": odd}).status_code == 200
    key = public_of(keeper.key(), ORIGIN).vkey
    assert key in text
    assert "Nobody outside cosigns this log" in text
    assert "What is not promised" in text


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 7, 256, 300])
def test_every_entry_s_proof_is_drawn_and_holds(logged: Site, keeper: Keeper, size: int) -> None:
    happen(logged, size - 1)
    seal(logged, keeper)
    hash_of = TileHashes(lambda path: (keeper.public / path).read_bytes(), size)
    for index in sorted({0, 1, size // 2, size - 2, size - 1} & set(range(size))):
        page = logged.client().get(f"/log/entries/1/{index}").text
        text = text_of(page)
        proof = inclusion_proof(hash_of, index, size)
        table = page[page.index("<tbody>") : page.index("</tbody>")]
        assert ["".join(code.split()) for code in re.findall(r"<code>([0-9A-F ]+)</code>", table)][1::2] == [h.hex().upper() for h in proof]
        assert page.count('class="axis"') == page.count('class="way"') == len(proof)
        assert "It holds" in text
        assert "which is the root of the checkpoint" in text
        assert f"verify http://localhost/log --entry {index}" in text
        body = entry_at(lambda path: (keeper.public / path).read_bytes(), index, size)
        assert body.decode() in text
    assert logged.client().get(f"/log/entries/1/{size}").status_code == 404


def test_a_changed_file_is_told(logged: Site, keeper: Keeper) -> None:
    happen(logged, 2)
    seal(logged, keeper)
    bundle = keeper.public / "tile/entries/000.p/3"
    bundle.write_bytes(bundle.read_bytes().replace(b'"added":"1 to 9"', b'"added":"1 to 8"'))
    text = text_of(logged.client().get("/log/entries/1/1").text)
    assert "This entry is not what was signed" in text
    assert "It does not hold" in text
    assert "It holds" not in text
    bundle.unlink()
    for path in ("/log", "/log/entries/1/1"):
        answer = logged.client().get(path)
        assert answer.status_code == 503
        assert "A published file is missing or damaged" in answer.text
        assert str(keeper.public) not in answer.text
    (keeper.public / "checkpoint").write_bytes(b"torn")
    assert logged.client().get("/log").status_code == 503


@pytest.mark.slow
def test_a_partial_tile_that_has_gone_meanwhile_is_read_from_the_full_one(logged: Site, keeper: Keeper) -> None:
    happen(logged, 199)
    sequencer = seal(logged, keeper)
    before = (keeper.public / "checkpoint").read_bytes()
    happen(logged, 100)
    sequencer.turn(LATER)
    (keeper.public / "checkpoint").write_bytes(before)
    assert not (keeper.public / "tile/0/000.p").exists()
    assert "It holds" in logged.client().get("/log/entries/1/150").text
    assert "of 200" in text_of(logged.client().get("/log").text)


def test_before_the_first_tree_head_the_page_says_so(logged: Site) -> None:
    answer = logged.client().get("/log")
    assert answer.status_code == 200
    assert "Nothing is published yet" in answer.text
    assert "What is not promised" in answer.text
    assert logged.client().get("/log/checkpoint").status_code == 404


def test_silence_is_told(make_site: MakeSite, keeper: Keeper) -> None:
    site = make_site(log_folder=keeper.public, now=lambda: NOW + timedelta(hours=2, minutes=2))
    seal(site, keeper, NOW)
    assert "The log is silent" in site.client().get("/log").text
    seal(site, keeper, NOW + timedelta(hours=1))
    assert "The log is silent" not in site.client().get("/log").text


def test_witnesses_who_signed_and_who_did_not(make_site: MakeSite, keeper: Keeper) -> None:
    keys = {name: Ed25519PrivateKey.generate() for name in ("w1.example", "w2.example", "w3.example", "other.example")}
    asked = tuple(
        (public_of(keys[name], name, COSIGNATURE).vkey, "http://x.example") for name in ("w1.example", "w2.example", "w3.example")
    )
    site = make_site(log_folder=keeper.public, log_witnesses=asked)
    seal(site, keeper)
    path = keeper.public / "checkpoint"
    note = Note.read(path.read_bytes())
    at_s = int(NOW.timestamp())
    wrong = replace(cosign(note.text, "w3.example", keys["w3.example"], at_s), bytes=b"\0" * 72)
    given = [cosign(note.text, name, keys[name], at_s) for name in ("w1.example", "other.example")]
    path.write_bytes(Note(note.text, (*note.signatures, *given, wrong)).raw)
    text = re.sub(r"<[^>]+>", " ", text_of(site.client().get("/log").text))
    assert re.search(r"w1\.example\s+Signed\s+23 Nov 2026, \d\d:\d\d\s*, by its own clock", text)
    assert re.search(r"w2\.example\s+Not yet\s+Has not signed this one", text)
    assert re.search(r"w3\.example\s+Does not hold", text)
    assert re.search(r"other\.example\s+Signed.*?not among those that are asked", text)


@pytest.mark.slow
def test_a_log_that_follows_another_one_tells_why_and_both_can_be_proven_as_the_page_says(
    logged: Site, keeper: Keeper, make_log: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    happen(logged, 5)
    seal(logged, keeper)
    make_log(logged, keeper, HOSTILE)
    page = logged.client().get("/log").text
    assert f"{ORIGIN}/2" in text_of(page)
    assert "Logs before this one" in page
    assert_only_our_markup(page)
    assert "&lt;script&gt;" in page
    assert "U+202E" in page
    for path in ("1/5", "2/0"):
        answer = logged.client().get(f"/log/entries/{path}")
        assert "It holds" in answer.text
        assert_only_our_markup(answer.text)
    assert "verify http://localhost/log --log 2 --entry 0" in text_of(answer.text)
    with serving(logged.app) as url:
        for log, index in ((1, 5), (2, 0)):
            assert main(["verify", f"{url}/log", "--log", str(log), "--entry", str(index)]) == 0, capsys.readouterr().out
        kept = str(keeper.folder / "seen.txt")
        assert [main(["verify", f"{url}/log", "--since", kept]) for _ in range(2)] == [0, 0]
    for path in ("2/checkpoint", "2/tile/0/000.p/1", "continued"):
        assert logged.client().get(f"/log/{path}").data == (keeper.public / path).read_bytes()
    assert logged.client().get("/log/continued").text == "2\n"
    assert logged.client().get("/log/2/continued").status_code == 404


@pytest.fixture
def make_log() -> Callable[..., None]:
    """Begins the log that follows the newest one, for a reason."""

    def begin(site: Site, keeper: Keeper, reason: str) -> None:
        with site.sessions.writing() as session:
            number = keeper.newest() + 1
            session.add(
                Log(number=number, origin=f"{ORIGIN}/{number}", begun_at=NOW, reason=reason, size=0, frontier=b"", note="", trouble="")
            )
        seal(site, keeper)

    return begin


@pytest.mark.slow
def test_a_key_that_was_changed_long_ago_is_not_guessed(logged: Site, keeper: Keeper) -> None:
    seal(logged, keeper)
    keeper.make_next_key()
    seal(logged, keeper)
    assert public_of(keeper.key(), ORIGIN).vkey in text_of(logged.client().get("/log").text)
    happen(logged, 300)
    seal(logged, keeper)
    text = text_of(logged.client().get("/log").text)
    assert public_of(keeper.key(), ORIGIN).vkey not in text
    assert "It was changed since the log began" in text


@pytest.mark.slow
def test_nothing_public_names_anybody(logged: Site, keeper: Keeper) -> None:
    for kind in sorted(KINDS.keys() - OWN):
        happen(logged, 1, kind, email="canary@example.org", user=logged.actors["viewer"].user_ref, reason="canary reason")
    seal(logged, keeper)
    size = len(KINDS) - len(OWN) + 1
    client = logged.client()
    seen = [client.get(path).data for path in ("/log", "/log?before=31", "/log/checkpoint")]
    seen += [client.get(f"/log/entries/1/{each}").data for each in range(0, 30, 5)]
    seen += [path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()]
    everything = b"".join(seen)
    assert size > 31
    refs = {each for actor in logged.actors.values() for each in (actor.account_ref, actor.user_ref)}
    for canary in ("canary", *PEOPLE.values(), *refs):
        assert canary.encode() not in everything, canary


@pytest.mark.slow
def test_pages_cost_the_same_however_long_the_log_is(logged: Site, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", noted)

    def files_read(path: str) -> int:
        read.clear()
        assert logged.client().get(path).status_code == 200
        return len(read)

    happen(logged, 600)
    sequencer = seal(logged, keeper)
    few = files_read("/log"), files_read("/log/entries/1/3")
    happen(logged, 2_500)
    sequencer.turn(LATER)
    assert (files_read("/log"), files_read("/log/entries/1/3")) <= (few[0] + 1, few[1] + 1)
    assert max(few) <= 6


def test_what_is_public_is_about_the_log_alone() -> None:
    assert {name for name in PUBLIC if name.startswith("log.")} == {
        f"log.{each}" for each in ("show", "entry", "checkpoint", "tile", "continued")
    }
