import dataclasses
import itertools
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from audit.keeper import Keeper
from config import Settings
from core import seal
from core.backups import keys, kit
from core.backups.engine import BackupError
from core.backups.kit import Kit
from core.backups.secret_kinds import COOKIE_KEY, NOT_IN_KIT, SECRETS, Place, Secret, read_settings_lines
from core.envelope import FILE, KeyFile, kept_key
from core.envelope import Place as At
from core.exports.keys import bundle_key
from core.store.accounts import Account
from core.store.db import Sessions
from tests.make import NOW, make_actor
from tests.stage import installation

HERE = "abcdefgh23456789"
PASSPHRASE = "repo1-cipher-pass=correct horse"
SOMEWHERE = At("", "factors", "one")
SMTP = 'smtp://kc:it\'s $ecret; "really"@mail.example:25'


def place_in(folder: Path, settings: Mapping[str, str] | None = None) -> Place:
    """An installation with every kind of secret."""
    kept_key(folder / "secret-key")
    keys.drill_identity(folder)
    KeyFile(folder / FILE).seal(b"", SOMEWHERE)
    bundle_key(folder, "keys.example")
    keeper = Keeper(folder / "log")
    keeper.prepare()
    keeper.key()
    keeper.keep_erased([(1, 7)])
    config = folder / "pgbackrest.source"
    config.write_text(f"[global]\n{PASSPHRASE}\n")
    return Place(folder, settings if settings is not None else {"KEYCHEST_SMTP_URL": SMTP}, config)


def kit_of(place: Place, at: datetime = NOW) -> Kit:
    return kit.make_kit(place, installation=HERE, at=at)


def test_the_kit_holds_what_a_restored_installation_needs(tmp_path: Path) -> None:
    made = kit_of(place_in(tmp_path))
    assert dict(made.secrets) == {
        "bundle-keys": (tmp_path / "bundle-keys").read_bytes(),
        "cookie-key": (tmp_path / "secret-key").read_bytes(),
        "drill-key": seal.recipient_of(keys.drill_identity(tmp_path)).encode(),
        "log-key": (tmp_path / "log" / "key").read_bytes(),
        "log-erased": b"1 7\n",
        "pgbackrest-config": f"[global]\n{PASSPHRASE}\n".encode(),
        "settings": made.secrets["settings"],
        "wrapping-keys": (tmp_path / "wrapping-keys").read_bytes(),
    }
    assert read_settings_lines(made.secrets["settings"]) == {"KEYCHEST_SMTP_URL": SMTP}
    assert b"AGE-SECRET-KEY" not in b"".join(made.secrets.values()), "the private half stays here"
    assert "secret" not in repr(made).replace("secret-key", "")
    assert SMTP not in repr(place_in(tmp_path))


def test_what_an_installation_has_not_is_not_in_its_kit(tmp_path: Path) -> None:
    assert dict(kit_of(Place(tmp_path, {})).secrets) == {"settings": b""}
    assert not list(tmp_path.iterdir()), "asking makes nothing"


def test_the_setting_wins_over_the_file(tmp_path: Path) -> None:
    place = place_in(tmp_path, {"KEYCHEST_SECRET_KEY": "k" * 32})
    assert kit_of(place).secrets["cookie-key"] == b"k" * 32


def test_a_secret_that_cannot_be_read_stops_the_kit(tmp_path: Path) -> None:
    place = dataclasses.replace(place_in(tmp_path), pgbackrest_config=tmp_path / "gone.conf")
    with pytest.raises(BackupError, match=r"gone\.conf cannot be read \(there is no such file\)") as caught:
        kit_of(place)
    assert caught.value.trouble == "missing"
    (tmp_path / "secret-key").unlink()
    (tmp_path / "secret-key").mkdir()
    with pytest.raises(BackupError, match=r"secret-key cannot be read \(Is a directory\)"):
        kit_of(Place(tmp_path, {}))


def test_only_the_recovery_key_opens_it(tmp_path: Path) -> None:
    made, recovery = kit_of(place_in(tmp_path)), seal.make_identity()
    sealed = kit.seal_kit(made, seal.recipient_of(recovery))
    assert kit.open_kit(sealed, [recovery]) == made
    assert b"horse" not in sealed
    with pytest.raises(BackupError, match=r"^The recovery kit cannot be opened\. None of the keys") as caught:
        kit.open_kit(sealed, [keys.drill_identity(tmp_path)])
    assert caught.value.trouble == "wrong key"
    for place in range(0, len(sealed), max(1, len(sealed) // 39)):
        flipped = bytearray(sealed)
        flipped[place] ^= 1
        with pytest.raises(BackupError):
            kit.open_kit(bytes(flipped), [recovery])


def test_a_kit_that_is_none_is_told() -> None:
    recovery = seal.make_identity()
    for inner in ("{}", '{"format": "keychest-recovery-kit/2"}', '{"format": "keychest-recovery-kit/1"}', '{"format": 1}', "[1]"):
        with pytest.raises(BackupError, match=r"^The recovery kit cannot be read: "):
            kit.open_kit(seal.seal_small(inner.encode(), seal.recipient_of(recovery)), [recovery])
    wrong = kit_of(Place(Path("nowhere"), {})).to_json() | {"secrets": {"cookie-key": "not base64!"}}
    with pytest.raises(BackupError) as caught:
        kit.open_kit(seal.seal_small(str(wrong).replace("'", '"').encode(), seal.recipient_of(recovery)), [recovery])
    assert caught.value.trouble == "damaged"


def test_the_digest_changes_with_any_secret_and_with_nothing_else(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    first = kit.digest(kit_of(place))
    assert len(first) == 64
    assert first == kit.digest(kit_of(place, NOW + timedelta(days=3)))
    made = kit_of(place)
    assert kit.digest(kit.open_kit(kit.seal_kit(made, keys.recovery_recipient("", tmp_path, production=False)), [
        keys.development_recovery(tmp_path)[0]
    ])) == first  # fmt: skip
    others = [
        dataclasses.replace(made, installation="other"),
        *(dataclasses.replace(made, secrets=dict(made.secrets) | {name: value + b"x"}) for name, value in made.secrets.items()),
        *(dataclasses.replace(made, secrets={k: v for k, v in made.secrets.items() if k != name}) for name in made.secrets),
    ]
    assert len({first, *map(kit.digest, others)}) == 1 + len(others)


@pytest.mark.slow
@pytest.mark.usefixtures("real_hashing")
def test_the_public_list_tells_nothing_twice_and_matches_what_is_in_use(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    once, again = kit.fingerprints(kit_of(place)), kit.fingerprints(kit_of(place))
    assert once.keys() == {kind.name for kind in SECRETS}
    assert all(once[name] != again[name] for name in once), "a salt of its own each time: no list can be made ahead"
    assert all(text.startswith("scrypt$14$") for text in once.values())
    assert kit.compare(once, place) == kit.compare(again, place) == []


@pytest.mark.slow
def test_a_live_key_that_is_not_the_kits_is_told(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    listed = kit.fingerprints(kit_of(place))
    (tmp_path / "secret-key").write_text("another key, by which no cookie was signed")
    (tmp_path / keys.DRILL_KEY).unlink()
    told = kit.compare(listed, dataclasses.replace(place, settings={}))
    assert [sentence.partition(" (")[0] for sentence in told] == [
        "The cookie-key in use is not the one in the recovery kit",
        "The recovery kit holds the drill-key, and it is not here any more.",
        "The settings in use is not the one in the recovery kit",
    ]
    place = place_in(tmp_path)
    listed = kit.fingerprints(kit_of(place))
    assert [sentence.partition(" (")[0] for sentence in kit.compare({"settings": listed["settings"], "wrapping-key": "x"}, place)] == [
        "The recovery kit holds 'wrapping-key', which this version does not know.",
        "The cookie-key in use is not in the recovery kit",
        "The wrapping-keys in use is not in the recovery kit",
        "The bundle-keys in use is not in the recovery kit",
        "The log-key in use is not in the recovery kit",
        "The log-erased in use is not in the recovery kit",
        "The drill-key in use is not in the recovery kit",
        "The pgbackrest-config in use is not in the recovery kit",
    ]
    other_method = listed["cookie-key"].replace("scrypt", "sha256")
    for unreadable in ("", "x", "scrypt$14$zz$00", "scrypt$40$00$00", other_method, "scrypt$14$00"):
        (told_of,) = kit.compare(dict(listed) | {"cookie-key": unreadable}, place)
        assert told_of.startswith("The cookie-key in use is not the one in the recovery kit")
    (unread,) = kit.compare(listed, dataclasses.replace(place, pgbackrest_config=tmp_path / "gone.conf"))
    assert "gone.conf cannot be read" in unread


def test_it_is_laid_out_for_a_restored_installation(tmp_path: Path) -> None:
    settings = {
        "KEYCHEST_SMTP_URL": SMTP,
        "KEYCHEST_MAIL_FROM": "KeyChest <kc@example.org>",
        "KEYCHEST_DATA": "/old",
        "DATABASE_URL_PORTAL": "postgresql://kc:pw@old/kc",
        "REDIS_URL": "redis://old:6379/0",
    }
    (tmp_path / "old").mkdir()
    made = kit_of(place_in(tmp_path / "old", settings))
    written = kit.lay_out(made, tmp_path / "new")
    names = ["secret-key", "wrapping-keys", "bundle-keys", "key", "erased", "settings.env", "pgbackrest.conf"]
    assert [path.name for path in written] == names
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert kept_key(tmp_path / "new" / "secret-key") == (tmp_path / "old" / "secret-key").read_text()
    sealed = KeyFile(tmp_path / "old" / FILE).seal(b"a secret", SOMEWHERE)
    assert KeyFile(tmp_path / "new" / FILE).open(sealed, SOMEWHERE) == b"a secret"
    assert (tmp_path / "new" / "pgbackrest.conf").read_text() == f"[global]\n{PASSPHRASE}\n"
    shell = "set -a; . ./settings.env; exec env"
    told = subprocess.run(["sh", "-ec", shell], cwd=tmp_path / "new", env={"PATH": os.defpath}, capture_output=True, text=True, check=True)
    ours = dict(line.split("=", 1) for line in told.stdout.splitlines() if line.startswith(("KEYCHEST", "DATABASE", "REDIS")))
    assert ours == {"KEYCHEST_SMTP_URL": SMTP, "KEYCHEST_MAIL_FROM": "KeyChest <kc@example.org>"}
    content = (tmp_path / "new" / "settings.env").read_text()
    assert "# DATABASE_URL_PORTAL=postgresql://kc:pw@old/kc\n" in content
    assert "# KEYCHEST_DATA=/old\n" in content


def test_laying_out_overwrites_nothing(tmp_path: Path) -> None:
    made = kit_of(place_in(tmp_path))
    for name in ("secret-key", "settings.env", "pgbackrest.conf"):
        into = tmp_path / f"into-{name}"
        into.mkdir()
        (into / name).write_text("mine")
        (into / "keychest.db").write_text("restored")
        with pytest.raises(BackupError, match=rf"{name} exists already.*Nothing was written") as caught:
            kit.lay_out(made, into)
        assert caught.value.trouble == "refused"
        assert {path.name: path.read_text() for path in into.iterdir()} == {name: "mine", "keychest.db": "restored"}
    (tmp_path / "file").write_text("")
    with pytest.raises(BackupError, match="Nothing was left there"):
        kit.lay_out(made, tmp_path / "file")


def wrapped_by(sealed: bytes) -> Secret:
    """A kind of secret whose record is the name of an account, sealed."""

    def unwraps(session: Session, value: bytes) -> str:
        account = session.get(Account, 1)
        assert account is not None
        if not value:
            return "there is no key"
        try:
            plain = seal.unseal_small(bytes.fromhex(account.name), [seal.read_identity(value.decode())])
        except seal.SealError as error:
            return error.trouble
        return "" if plain == b"a wrapped thing" else "another thing"

    return Secret("wrapping-key", "it opens names", lambda _place: sealed, unwraps=unwraps)


def test_kit_and_restored_database_alone_unwrap_a_record(tmp_path: Path, sessions: Sessions) -> None:
    key, other = seal.make_identity(), seal.make_identity()
    with sessions.writing() as session:
        make_actor(session)
        account = session.get(Account, 1)
        assert account is not None
        account.name = seal.seal_small(b"a wrapped thing", seal.recipient_of(key)).hex()
    for held, said in ((key, []), (other, ["What the wrapping-key protects cannot be opened with this recovery kit: wrong key."])):
        kinds = (*SECRETS, wrapped_by(held.encode()))
        made = kit.make_kit(Place(tmp_path, {}), kinds, installation=HERE, at=NOW)
        with sessions.reading() as session:
            assert kit.unwrap_each(session, made, kinds) == said
    with sessions.reading() as session:
        told = kit.unwrap_each(session, kit_of(Place(tmp_path, {})), kinds)
    assert told == ["What the wrapping-key protects cannot be opened with this recovery kit: it is not in the kit."]


def test_every_secret_setting_is_carried(tmp_path: Path) -> None:
    secret = [spec for spec in dataclasses.fields(Settings) if spec.metadata["secret"]]
    assert len(secret) >= 6
    settings = {spec.metadata["env"]: f"the value of {spec.name} {number}" for number, spec in enumerate(secret)}
    whole = b"\n".join(kit_of(Place(tmp_path, settings)).secrets.values()).decode()
    assert [name for name, value in settings.items() if value not in whole] == []


def test_every_kind_is_told_apart_and_says_what_it_is_for() -> None:
    assert len({kind.name for kind in SECRETS}) == len(SECRETS)
    assert all(kind.purpose for kind in SECRETS)
    assert not {kind.file for kind in SECRETS} & NOT_IN_KIT.keys()
    assert COOKIE_KEY in SECRETS


NO_SECRETS = {
    "log": "what is published, and the last checkpoint, which was published too",
    "settings-seen": "keyed digests of settings",
    "status": "what was measured, and what is published",
    "address": "where the portal is",
    "exports": "what accounts took out, for a day",
    "imports": "files that people handed in, until they are applied or dropped",
    "backups": "sealed files",
    "broker": "a queue of names and row numbers, flushed at will",
    "keychest.db": "the database: a backup holds it",
    "keychest.db-shm": "as above",
    "keychest.db-wal": "as above",
    "logs": "what processes said",
    "outbox": "mails, as files",
    "scratch": "copies that are being sealed or compared",
    "up.lock": "the number of a process",
}
"""What else lies in a data folder, each with what it is."""


@pytest.mark.slow
def test_every_file_of_a_fresh_installation_is_in_the_kit_or_has_a_reason_not_to_be(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with installation(data, {}) as running:
        running.await_health()
        keys.drill_identity(data)
        keys.development_recovery(data)
        found = {path.relative_to(data) for path in itertools.chain(data.glob("*"), data.glob("keys/*"), data.glob("log/*"))}
        found -= {Path("keys"), Path("log")}
    covered = {kind.file for kind in SECRETS if kind.file} | NOT_IN_KIT.keys()
    assert covered <= found, "a kind reads, or a reason stands for, a file that no installation has"
    left = {path for path in found - covered if path.parts[0] not in NO_SECRETS}
    assert left == set(), "give it a kind in core/backups/secret_kinds.py, a reason in NOT_IN_KIT, or a line in NO_SECRETS"


def test_a_kit_is_of_its_time(tmp_path: Path) -> None:
    made = kit_of(Place(tmp_path, {}), datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
    assert made.to_json() == {
        "format": "keychest-recovery-kit/1",
        "made_at": "2026-11-23T09:00:00+00:00",
        "installation": HERE,
        "secrets": {"settings": ""},
    }
