"""What is erased stays erased, and every proof holds; what is counted by the hour, and committed to one by one."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from audit.counting import digest_of
from audit.erasing import erase_counted, erase_private, private_of_account
from audit.keeper import Keeper
from audit.log import Event, append
from audit.sequencer import Sequencer
from audit.tables import CountedEvent, Erasure, PrivatePart
from core.store.db import Sessions
from tests.turns import NOW, ORIGIN, events, restored, told, trouble


def test_erasing_takes_salts_and_values_and_every_proof_holds_also_after_a_restore(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper
) -> None:
    events(sessions, 1, 2)
    events(sessions, 3, account="another2another2")
    sequencer.turn(NOW)
    before = told(keeper)
    with sessions.reading() as session:
        kept = [
            (part.index, part.at, part.kind, part.actor, part.account_ref, part.sealed) for part in session.scalars(sa.select(PrivatePart))
        ]
    with sessions.writing() as session:
        assert erase_private(session, private_of_account(session, "abcdefghjkmnpqrs"), NOW) == 2
    sequencer.turn(NOW)
    assert told(keeper) == before
    assert keeper.erased() == {(1, 1), (1, 2)}
    assert (keeper.folder / "erased").read_text() == "1 1\n1 2\n"
    with sessions.writing() as session:  # a backup of before comes back
        session.execute(sa.delete(Erasure))
        session.execute(sa.delete(PrivatePart))
        for index, at, kind, actor, account, sealed in kept:
            session.add(PrivatePart(log=1, index=index, at=at, kind=kind, actor=actor, account_ref=account, sealed=sealed))
    keeper.keep_erased([(1, 1), (1, 2), (1, 50)])  # the last one is of an entry that the backup has not
    Sequencer(sessions, keeper, ORIGIN).turn(NOW)
    with sessions.reading() as session:
        parts = session.scalars(sa.select(PrivatePart).order_by(PrivatePart.index)).all()
        assert [part.index for part in parts] == [0, 3]
        assert set(session.execute(sa.select(Erasure.log, Erasure.index))) == {(1, 1), (1, 2), (1, 50)}
    assert keeper.erased() == {(1, 1), (1, 2), (1, 50)}
    assert "canary-1" not in json.dumps([part.sealed for part in parts])


def test_what_was_erased_is_erased_again_before_anybody_says_why_and_never_in_another_installation(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper, tmp_path: Path
) -> None:
    events(sessions, *range(1, 10))
    sequencer.turn(NOW)
    with sessions.writing() as session:
        erase_private(session, [(1, 2)], NOW)
        kept = [
            (part.index, part.at, part.kind, part.actor, part.account_ref, part.sealed) for part in session.scalars(sa.select(PrivatePart))
        ]
    sequencer.turn(NOW)
    restored(sessions, keeper, 6)
    with sessions.writing() as session:
        session.execute(sa.delete(Erasure))
        _, at, kind, actor, account, sealed = kept[1]
        session.add(PrivatePart(log=1, index=2, at=at, kind=kind, actor=actor, account_ref=account, sealed=sealed))

    def left() -> list[int]:
        with sessions.reading() as session:
            return list(session.scalars(sa.select(PrivatePart.index).order_by(PrivatePart.index)))

    other = Keeper(tmp_path / "other")
    other.prepare()
    shutil.copytree(keeper.public, other.public, dirs_exist_ok=True)
    bundle = other.public / "tile" / "entries" / "000.p" / "10"
    bundle.write_bytes(bundle.read_bytes().replace(b'"v":1', b'"v":2', 1))
    other.keep_erased([(1, 1), (1, 2), (1, 3)])
    other.keep_last(1, (keeper.folder / "last-checkpoint-1").read_bytes())
    assert Sequencer(sessions, other, ORIGIN).turn(NOW) == 0
    assert left() == [0, 1, 2, 3, 4, 5], "a folder of another installation erases nothing here"
    assert Sequencer(sessions, keeper, ORIGIN).turn(NOW + timedelta(minutes=2)) == 0
    assert trouble(sessions)
    assert left() == [0, 1, 3, 4, 5]


def test_sign_ins_are_counted_by_the_hour_and_committed_to_one_by_one(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    with sessions.writing() as session:
        for each in range(12):
            append(session, Event("user.signed_in.v1", NOW, "user:zyxwvutsrqpnmkjh", public={"factor": ""}))
            append(
                session, Event("sign_in.failed.v1", NOW, "nobody", private={"user": "zyxwvutsrqpnmkjh" if each == 3 else f"canary{each}"})
            )
        append(session, Event("user.signed_out.v1", NOW + timedelta(minutes=59, seconds=40), "user:zyxwvutsrqpnmkjh"))
    assert sequencer.turn(NOW) == 1
    assert sequencer.turn(NOW + timedelta(minutes=59)) == 0
    assert sequencer.turn(NOW + timedelta(minutes=59, seconds=30)) == 1
    hour = told(keeper)[-1]
    assert hour["kind"] == "sign_ins.counted.v1"
    with sessions.reading() as session:
        rows = session.scalars(sa.select(CountedEvent).where(CountedEvent.index == 1).order_by(CountedEvent.id)).all()
        assert session.scalar(sa.select(sa.func.count()).where(CountedEvent.index.is_(None))) == 1
    digest = hashlib.sha256(b"".join(bytes.fromhex(row.commitment) for row in rows)).hexdigest()
    assert hour["said"] == {"signed_in": "10 to 99", "signed_out": "0", "failed": "10 to 99", "hour": "2026-11-28T12Z", "digest": digest}
    assert len(rows) == 24
    told_of = {"at": "2026-11-28T12:00:30.000+00:00", "kind": "user.signed_in.v1", "actor": "user:zyxwvutsrqpnmkjh"}
    value = json.dumps(told_of | {"public": {"factor": ""}, "private": {}}, sort_keys=True, separators=(",", ":")).encode()
    assert rows[0].commitment == hashlib.sha256(bytes.fromhex(rows[0].salt) + value).hexdigest()
    with sessions.writing() as session:
        assert erase_counted(session, "zyxwvutsrqpnmkjh") == 13
    with sessions.reading() as session:
        left = session.scalars(sa.select(CountedEvent).where(CountedEvent.index == 1).order_by(CountedEvent.id)).all()
        waits = session.scalars(sa.select(CountedEvent).where(CountedEvent.index.is_(None))).one()
    assert digest_of([row.commitment for row in left]) == digest
    assert [row.salt == "" for row in left] == [each % 2 == 0 or each == 7 for each in range(24)]
    assert "zyxwvutsrqpnmkjh" not in json.dumps([[row.actor, row.public, row.private] for row in left])
    assert waits.actor == "user:zyxwvutsrqpnmkjh"
