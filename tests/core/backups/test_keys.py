import io
import threading
from pathlib import Path

import pytest

from core import seal
from core.backups import keys
from core.backups.engine import BackupError
from core.seal import Identity


def refusal(path: Path) -> BackupError:
    with pytest.raises(BackupError) as caught:
        keys.read_identities(path)
    assert str(caught.value).endswith("Nothing was opened.")
    assert str(path) in str(caught.value)
    return caught.value


def test_keys_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    identity = keys.drill_identity(tmp_path)
    recovery, made = keys.development_recovery(tmp_path)
    assert made
    assert keys.drill_identity(tmp_path) == identity != recovery
    assert keys.development_recovery(tmp_path) == (recovery, False)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {"drill-key": 0o600, "recovery-key": 0o600}
    assert keys.read_identities(tmp_path / keys.RECOVERY_KEY) == [recovery]
    assert f"# public key: {seal.recipient_of(recovery)}\n" in (tmp_path / keys.RECOVERY_KEY).read_text()


def test_many_at_once_get_the_same_key(tmp_path: Path) -> None:
    start = threading.Barrier(16)
    found: list[tuple[Identity, bool]] = []

    def ask() -> None:
        start.wait()
        found.append(keys.development_recovery(tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len({identity for identity, _ in found}) == 1
    assert [made for _, made in found].count(True) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["recovery-key"]


def test_a_key_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file where the folder goes")
    with pytest.raises(BackupError, match=r"cannot be written \(.+\)\. Nothing was backed up\.") as caught:
        keys.drill_identity(tmp_path)
    assert caught.value.trouble == "refused"


def test_a_key_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    keys.drill_identity(tmp_path)
    (tmp_path / keys.DRILL_KEY).write_text("")
    with pytest.raises(BackupError, match="holds no key"):
        keys.drill_identity(tmp_path)
    assert (tmp_path / keys.DRILL_KEY).read_text() == ""


def test_whom_backups_are_sealed_to(tmp_path: Path) -> None:
    mine = seal.recipient_of(seal.make_identity())
    for production in (True, False):
        assert keys.recovery_recipient(f" {mine} ", tmp_path, production=production) == mine
    assert not (tmp_path / "keys").exists()
    with pytest.raises(BackupError, match=r"\./keychest backup keygen.*KEYCHEST_BACKUP_RECOVERY_KEY") as caught:
        keys.recovery_recipient("", tmp_path, production=True)
    assert caught.value.trouble == "refused"
    assert not (tmp_path / "keys").exists()
    made = keys.recovery_recipient("", tmp_path, production=False)
    assert made == seal.recipient_of(keys.development_recovery(tmp_path)[0])


def test_a_recovery_key_that_is_no_recipient_is_refused_without_being_shown(tmp_path: Path) -> None:
    private = seal.make_identity()
    for wrong in (private, "age1oops"):
        for production in (True, False):
            with pytest.raises(BackupError, match=r"^KEYCHEST_BACKUP_RECOVERY_KEY: .*age1 and 58") as caught:
                keys.recovery_recipient(wrong, tmp_path, production=production)
            assert wrong not in str(caught.value)
            assert caught.value.trouble == "refused"


def test_a_key_file_of_age_is_read(tmp_path: Path) -> None:
    first, second = seal.make_identity(), seal.make_identity()
    path = tmp_path / "key.txt"
    path.write_text(f"# created: 2026-11-23\n# public key: {seal.recipient_of(first)}\n{first}\n\n  # the other\n{second}  \n")
    assert keys.read_identities(path) == [first, second]


def test_a_key_file_that_is_none_is_told_without_its_content(tmp_path: Path) -> None:
    path, identity = tmp_path / "key.txt", seal.make_identity()
    assert "No such file" in str(refusal(path))
    for content, words in (
        (b"", "holds no key"),
        (b"# only words\n", "holds no key"),
        (b"\xff\xfe", "not text"),
        (f"\n{identity[:-1]}\n".encode(), "line 2"),
        (f"{identity}\n{seal.recipient_of(identity)}\n".encode(), "line 2: this is the public half"),
    ):
        path.write_bytes(content)
        refused = refusal(path)
        assert words in str(refused)
        assert refused.trouble == "wrong key"
        assert identity[:40] not in str(refused)


def test_a_small_sealed_file_that_is_not_the_one_wanted_is_told_by_name() -> None:
    identity, other = seal.make_identity(), seal.make_identity()

    def trouble(sealed: bytes) -> tuple[str, str]:
        with pytest.raises(BackupError, match=r"^The box cannot be (opened|read)[.:] ") as caught:
            keys.open_object(sealed, [identity], what="The box", kind="box/1")
        return caught.value.trouble, str(caught.value)

    def boxed(content: bytes, key: Identity = identity) -> bytes:
        return seal.seal_small(content, seal.recipient_of(key))

    good = boxed(b'{"format": "box/1", "in": 7}')
    assert keys.open_object(good, [other, identity], what="The box", kind="box/1") == {"format": "box/1", "in": 7}
    assert trouble(boxed(b"{}", other))[0] == "wrong key"
    assert trouble(good[:40])[0] == trouble(b"")[0] == "truncated"
    assert trouble(good[:-1] + bytes([good[-1] ^ 1]))[0] == "damaged"
    assert trouble(boxed(b"no json"))[0] == trouble(boxed(b"\xff"))[0] == "damaged"
    assert trouble(boxed(b"[]"))[0] == "unknown schema"
    assert "its format is 'box/2', and this version reads 'box/1'" in trouble(boxed(b'{"format": "box/2"}'))[1]


def test_the_key_file_opens_what_was_sealed_to_it(tmp_path: Path) -> None:
    recipient = keys.recovery_recipient("", tmp_path, production=False)
    sealed, plain = io.BytesIO(), io.BytesIO()
    seal.seal(io.BytesIO(b"rows"), sealed, [recipient, seal.recipient_of(keys.drill_identity(tmp_path))])
    for name in (keys.RECOVERY_KEY, keys.DRILL_KEY):
        sealed.seek(0)
        plain = io.BytesIO()
        seal.unseal(sealed, plain, keys.read_identities(tmp_path / name))
        assert plain.getvalue() == b"rows"
