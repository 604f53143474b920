import json
import resource
import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from core import seal
from core.backups import escrow, escrow_mail
from core.backups.engine import BackupError
from core.backups.escrow import Contacts, Escrow
from core.backups.escrow_mail import Letter, Telling, Told, kept_marks, look_at_marks, tell
from core.net.mail import Server
from core.store.accounts import Account, Membership, User, user_by_email
from core.store.base import new_ref
from core.store.db import Sessions
from tests.make import NOW, make_actor, make_watches
from tests.postgres import free_port
from tests.servers import Behaviour, raw_server
from tests.stage import smtp_sink

HERE = "abcdefgh23456789"
REASON = "On 22 November a disk was lost.\nEverything up to 21 November, 03:00 UTC is back."
NASTY = "Harbour\u202elight\r\nBcc: eve@example.net"


def join(session: Session, account_id: int, email: str, role: str) -> Membership:
    """Somebody more in an account."""
    user = user_by_email(session, email)
    if user is None:
        user = User(ref=new_ref(), email=email, created_at=NOW, deleted_at=None)
        session.add(user)
        session.flush()
    membership = Membership(account_id=account_id, user_id=user.id, role=role, created_at=NOW, deleted_at=None)
    session.add(membership)
    session.flush()
    return membership


def account_of(session: Session, email: str, name: str) -> Account:
    account = session.get(Account, make_actor(session, email).account_id)
    assert account is not None
    account.name = name
    return account


def filled(sessions: Sessions) -> None:
    """Accounts of every sort, with the names they watch."""
    with sessions.writing() as session:
        first = account_of(session, "mira@example.org", "Harbourlight")
        join(session, first.id, "manager@example.org", "manager")
        join(session, first.id, "viewer@example.org", "viewer")
        join(session, first.id, "left@example.org", "manager").deleted_at = NOW
        orphaned = account_of(session, "gone@example.org", "Orphaned")
        join(session, orphaned.id, "viewer@example.org", "viewer")
        gone = user_by_email(session, "gone@example.org")
        assert gone is not None
        gone.deleted_at = NOW
        empty = account_of(session, "last@example.org", "Empty")
        last = user_by_email(session, "last@example.org")
        assert last is not None
        last.deleted_at = NOW
        assert empty.id
        removed = account_of(session, "removed@example.org", "Removed")
        removed.deleted_at = NOW
        join(session, account_of(session, "second@example.org", "Harbourlight").id, "mira@example.org", "owner")
        make_watches(session, make_actor(session, "lister@example.org"), "secret-host.example.org")


def gathered(sessions: Sessions) -> Escrow:
    with sessions.reading() as session:
        return escrow.gather(session, installation=HERE, at=NOW)


def test_it_says_whom_to_tell_for_each_live_account(sessions: Sessions) -> None:
    filled(sessions)
    found = gathered(sessions)
    assert (found.installation, found.at) == (HERE, NOW)
    assert found.accounts[:-1] == (
        Contacts("Harbourlight", ("mira@example.org", "manager@example.org")),
        Contacts("Orphaned", ("viewer@example.org",)),
        Contacts("Empty", ()),
        Contacts("Harbourlight", ("second@example.org", "mira@example.org")),
    )
    assert found.accounts[-1].addresses == ("lister@example.org",)


def test_what_is_sealed_holds_names_and_addresses_and_nothing_else(sessions: Sessions) -> None:
    filled(sessions)
    recovery = seal.make_identity()
    sealed = escrow.seal_escrow(gathered(sessions), seal.recipient_of(recovery))
    kept = json.loads(seal.unseal_small(sealed, [recovery]))
    assert kept.keys() == {"format", "installation", "at", "accounts"}
    assert all(each.keys() == {"name", "addresses"} for each in kept["accounts"])
    with sessions.reading() as session:
        names = {account.name for account in session.query(Account)}
        addresses = {user.email for user in session.query(User)}
    told = {each["name"] for each in kept["accounts"]}, {one for each in kept["accounts"] for one in each["addresses"]}
    assert told[0] <= names
    assert told[1] <= addresses - {"gone@example.org", "last@example.org", "removed@example.org", "left@example.org"}
    assert b"example.org" not in sealed
    assert escrow.open_escrow(sealed, [seal.make_identity(), recovery]) == gathered(sessions)


def test_an_empty_installation_has_an_escrow_too(sessions: Sessions) -> None:
    assert gathered(sessions) == Escrow(HERE, NOW, ())


def test_an_escrow_that_cannot_be_read_is_told() -> None:
    recovery = seal.make_identity()
    good = Escrow(HERE, NOW, (Contacts("Harbourlight", ("mira@example.org",)),))
    sealed = escrow.seal_escrow(good, seal.recipient_of(recovery))
    for place in range(0, len(sealed), max(1, len(sealed) // 39)):
        flipped = bytearray(sealed)
        flipped[place] ^= 1
        with pytest.raises(BackupError, match=r"^The escrow cannot be opened\. "):
            escrow.open_escrow(bytes(flipped), [recovery])
    with pytest.raises(BackupError) as caught:
        escrow.open_escrow(sealed, [seal.make_identity()])
    assert caught.value.trouble == "wrong key"
    for change in ({"at": "2026-11-23T09:00:00"}, {"at": "soon"}, {"accounts": [{"name": "x"}]}, {"accounts": ["x"]}, {"accounts": 7}):
        content = json.dumps(good.to_json() | change).encode()
        with pytest.raises(BackupError, match=r"^The escrow cannot be read: ") as caught:
            escrow.open_escrow(seal.seal_small(content, seal.recipient_of(recovery)), [recovery])
        assert caught.value.trouble == "damaged"


def telling_of(*accounts: tuple[str, Sequence[str]], reason: str = REASON) -> Telling:
    kept = Escrow(HERE, datetime(2026, 11, 21, 3, 0, tzinfo=UTC), tuple(Contacts(name, tuple(to)) for name, to in accounts))
    return Telling(kept, reason, "KeyChest at Example <kc@example.org>")


def many(count: int) -> Telling:
    return telling_of(*((f"Account {number}", [f"u{number:03}@example.org"]) for number in range(count)))


def send(telling: Telling, path: Path, url: str) -> list[Told]:
    with kept_marks(path, telling) as marks:
        return list(tell(telling, marks, Server.from_url(url), now=lambda: NOW))


def outcomes(told: Sequence[Told]) -> list[tuple[str, str]]:
    return [(each.letter.address, each.outcome) for each in told]


def test_each_address_gets_one_letter_however_many_accounts() -> None:
    telling = telling_of(("One", ["b@example.org", "a@example.org"]), ("Two", ["A@Example.org"]), ("One", ["a@example.org"]), ("None", []))
    assert telling.letters == (Letter("a@example.org", ("One", "Two")), Letter("b@example.org", ("One",)))


def test_a_mail_says_what_happened_what_is_kept_and_what_to_do(tmp_path: Path) -> None:
    telling = telling_of((NASTY, ["mira@example.org"]), ("Bücher", ["mira@example.org"]))
    with smtp_sink() as sink:
        assert outcomes(send(telling, tmp_path / "told", sink.url)) == [("mira@example.org", "sent")]
    ((recipient, mail),) = sink.mails
    assert (recipient, mail["Subject"], mail["To"]) == ("mira@example.org", "About your account at KeyChest", "mira@example.org")
    assert mail["From"] == "KeyChest at Example <kc@example.org>"
    assert mail["Date"].datetime == NOW
    assert mail["Message-ID"].endswith("@example.org>")
    assert (mail["Auto-Submitted"], mail["Bcc"]) == ("auto-generated", None)
    assert mail.get_content_type() == "text/plain"
    text = mail.get_content().replace("\r\n", "\n")
    assert text.startswith(REASON)
    for words in (
        "You are a contact of these accounts there:\n\n",
        "  Harbour<U+202E>light<U+000D><U+000A>Bcc: eve@example.net\n  Bücher\n\nWHAT IS KNOWN",
        "on 2026-11-21 03:00 UTC.",
        "WHAT TO DO\n- Until you hear from us again",
        "this installation: kc@example.org",
    ):
        assert words in text
    assert "-- " in text.splitlines()
    assert "http" not in text, "no link: nobody is to learn to follow one in such a mail"
    assert "this account there" in telling.text(Letter("x@example.org", ("One",)))


@pytest.mark.slow
def test_going_on_sends_nothing_twice(tmp_path: Path) -> None:
    telling, path = many(5), tmp_path / "told"
    with smtp_sink() as sink:
        assert [each.outcome for each in send(telling, path, sink.url)] == ["sent"] * 5
        assert [each.outcome for each in send(telling, path, sink.url)] == ["sent before"] * 5
    assert sorted(recipient for recipient, _ in sink.mails) == [letter.address for letter in telling.letters]
    assert len({mail["Message-ID"] for _, mail in sink.mails}) == 5
    assert path.stat().st_mode & 0o777 == 0o600


def smtp(refused: Sequence[str] = (), *, content: bytes = b"250 ok") -> Behaviour:
    """A mail server that refuses these recipients, and gives this answer to every mail; an empty one hangs up."""

    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        connection.sendall(b"220 hello\r\n")
        in_content = False
        for line in connection.makefile("rb"):
            if in_content and line != b".\r\n":
                continue
            word = line.split()[0].upper()
            in_content = word == b"DATA"
            said = b"354 go" if in_content else content if word == b"." else b"250 ok"
            if word == b"RCPT" and any(address.encode() in line for address in refused):
                said = b"550 nobody here"
            if not said:
                return
            connection.sendall(said + b"\r\n")

    return behave


@pytest.mark.slow
def test_who_is_refused_is_told_and_tried_again_after_the_others(tmp_path: Path) -> None:
    telling, path = many(14), tmp_path / "told"
    refused = [letter.address for letter in telling.letters[:12]]
    with raw_server(smtp(refused)) as server:
        url = f"smtp://127.0.0.1:{server.port}"
        first = outcomes(send(telling, path, url))
        assert [outcome for _, outcome in first] == ["not sent"] * 10 + ["not tried"] * 4
        second = outcomes(send(telling, path, url))
    assert second[:4] == [(refused[10], "not sent"), (refused[11], "not sent"), ("u012@example.org", "sent"), ("u013@example.org", "sent")]
    assert [outcome for _, outcome in second[4:]] == ["not sent"] * 10
    with smtp_sink() as sink:
        third = outcomes(send(telling, path, sink.url))
    assert sorted(recipient for recipient, _ in sink.mails) == refused
    assert sorted({outcome for _, outcome in third}) == ["sent", "sent before"]


@pytest.mark.slow
def test_a_server_that_is_away_marks_nobody_as_told(tmp_path: Path) -> None:
    telling, path = many(3), tmp_path / "told"
    told = send(telling, path, f"smtp://127.0.0.1:{free_port()}")
    assert [each.outcome for each in told] == ["not sent"] * 3
    assert all("cannot be used" in each.why for each in told)
    with smtp_sink() as sink:
        assert [each.outcome for each in send(telling, path, sink.url)] == ["sent"] * 3


def test_no_answer_is_unsure_and_never_sent_again(tmp_path: Path) -> None:
    telling, path = many(2), tmp_path / "told"
    with raw_server(smtp(content=b"")) as server:
        assert [each.outcome for each in send(telling, path, f"smtp://127.0.0.1:{server.port}")] == ["unsure"] * 2
    with smtp_sink() as sink:
        assert outcomes(send(telling, path, sink.url)) == [("u000@example.org", "unsure"), ("u001@example.org", "unsure")]
    assert sink.mails == []


def test_a_refused_content_is_sent_again(tmp_path: Path) -> None:
    telling, path = many(1), tmp_path / "told"
    with raw_server(smtp(content=b"451 later")) as server:
        (told,) = send(telling, path, f"smtp://127.0.0.1:{server.port}")
    assert (told.outcome, "451 later" in told.why) == ("not sent", True)
    with smtp_sink() as sink:
        assert [each.outcome for each in send(telling, path, sink.url)] == ["sent"]


def test_an_address_that_no_mail_can_bear_stops_nobody_else(tmp_path: Path) -> None:
    telling = telling_of(("One", ["a\r\nBcc: eve@example.net", "fine@example.org", "", "no address"]))
    with smtp_sink() as sink:
        told = dict(outcomes(send(telling, tmp_path / "told", sink.url)))
    assert [recipient for recipient, _ in sink.mails] == ["fine@example.org"]
    assert sorted(told.values()) == ["not sent"] * 3 + ["sent"]


@pytest.mark.parametrize("torn", ['{"mark": "sent", "addr', '{"mark": "about-to-send", "address": "u001@example.org"}'])
def test_a_line_that_was_half_written_is_cut_off(tmp_path: Path, torn: str) -> None:
    """A mark without its end was not on the disk when the next step would have been taken."""
    telling, path = many(2), tmp_path / "told"
    first = {"mark": "about-to-send", "address": "u000@example.org"}
    path.write_bytes(telling.head + json.dumps(first).encode() + b"\n" + torn.encode())
    assert look_at_marks(path, telling).newest == {"u000@example.org": "about-to-send"}
    with smtp_sink() as sink:
        assert outcomes(send(telling, path, sink.url)) == [("u001@example.org", "sent"), ("u000@example.org", "unsure")]
    assert [json.loads(line)["mark"] for line in path.read_bytes().splitlines()[1:]] == ["about-to-send", "about-to-send", "sent"]


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_a_first_line_that_was_half_written_is_begun_again(tmp_path: Path, kept: int) -> None:
    telling, path = many(1), tmp_path / "told"
    path.write_bytes(telling.head[:kept])
    with smtp_sink() as sink:
        assert [each.outcome for each in send(telling, path, sink.url)] == ["sent"]
    assert path.read_bytes().startswith(telling.head)


def test_marks_of_something_else_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    telling, path = many(2), tmp_path / "told"
    others = [telling_of(("Account 0", ["u000@example.org"])).head, many(2).head[:-3] + b"\n", b"age-encryption.org/v1", b"x\n", b"\0" * 9]
    others.append(Telling(telling.escrow, "another reason", telling.sender).head)
    for content in others:
        path.write_bytes(content)
        with smtp_sink() as sink, pytest.raises(BackupError, match="belongs to another telling") as caught:
            send(telling, path, sink.url)
        assert caught.value.trouble == "refused"
        assert (path.read_bytes(), sink.mails) == (content, [])
        with pytest.raises(BackupError, match="belongs to another telling"):
            look_at_marks(path, telling)
    for line in (b"no json\n", b"[]\n", b'{"mark": "maybe", "address": "u000@example.org"}\n', b'{"mark": "sent", "address": []}\n'):
        path.write_bytes(telling.head + b'{"mark": "sent", "address": "u000@example.org"}\n' + line)
        with smtp_sink() as sink, pytest.raises(BackupError, match="is damaged: line 3 is no mark") as caught:
            send(telling, path, sink.url)
        assert sink.mails == []


def test_two_runs_at_once_are_one(tmp_path: Path) -> None:
    telling, path = many(1), tmp_path / "told"
    with smtp_sink() as sink, kept_marks(path, telling), pytest.raises(BackupError, match="Another run is telling people"):
        send(telling, path, sink.url)
    assert sink.mails == []


def test_a_disk_that_fills_ends_the_telling_before_anything_leaves(tmp_path: Path) -> None:
    telling, path = many(3), tmp_path / "told"
    room = len(telling.head) + 80  # two whole lines take more
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with smtp_sink() as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))  # as on a full disk, the write itself is refused
        try:
            with pytest.raises(BackupError, match=r"u000@example\.org was told, and cannot be marked"):
                send(telling, path, sink.url)
            with pytest.raises(BackupError, match=r"u001@example\.org was not told"):
                send(telling, path, sink.url)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [recipient for recipient, _ in sink.mails] == ["u000@example.org"]
        assert outcomes(send(telling, path, sink.url)) == [
            ("u001@example.org", "sent"),
            ("u002@example.org", "sent"),
            ("u000@example.org", "unsure"),
        ]
    assert len(sink.mails) == 3


def test_marks_that_cannot_be_kept_are_told_before_anybody_is(tmp_path: Path) -> None:
    telling = many(1)
    for path in (tmp_path / "no" / "such" / "told", tmp_path):
        with smtp_sink() as sink, pytest.raises(BackupError, match="Nobody was told"):
            send(telling, path, sink.url)
        assert sink.mails == []
    with pytest.raises(BackupError, match="cannot be read"):
        look_at_marks(tmp_path, telling)
    marks = look_at_marks(tmp_path / "told", telling)
    assert marks.newest == {}
    with pytest.raises(TypeError, match="only looked at"):
        marks.put("u000@example.org", "sent")
    assert not (tmp_path / "told").exists()
    assert escrow_mail.spelled("a\u202eb") == "a<U+202E>b"
