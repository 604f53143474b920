"""The sequencer as a process of its own: turn after turn, until SIGTERM. It alone holds the log's key."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from audit.keeper import Keeper, KeeperError
from audit.sequencer import Sequencer
from audit.witnesses import Witnesses
from config import SettingError, Settings
from core.actions.heartbeats import beat
from core.net.provider import trusting
from core.store.db import Sessions, make_engine

MISCONFIGURED: Final = 78
LOOK_S: Final = 0.5
"""Between two looks at the outbox: so soon what somebody did is in the log."""
BEAT: Final = timedelta(seconds=15)
AGAIN_S: Final = 5.0
"""After a turn that could not be made."""
log = logging.getLogger("keychest.sequencer")


def made(settings: Settings, data: Path | None = None) -> Sequencer:
    """The sequencer of an installation, its folder prepared. Raises SettingError and OSError."""
    keeper = Keeper(settings.log_at(data or settings.data))
    keeper.prepare()
    sessions = Sessions(make_engine(settings.database("audit")))
    return Sequencer(sessions, keeper, settings.origin(settings.public_url), witnesses_of(settings))


def witnesses_of(settings: Settings) -> Witnesses | None:
    """Who cosigns; None where nobody is asked. Raises SettingError where the operator's own roots cannot be read."""
    if not settings.log_witnesses:
        return None
    try:
        return Witnesses(settings.log_witnesses, settings.log_quorum, trusting(settings.extra_roots))
    except OSError as error:
        raise SettingError(f"KEYCHEST_EXTRA_ROOTS: {settings.extra_roots} cannot be used ({error.strerror or 'no certificate'}).") from None


def keep_standing(sequencer: Sequencer) -> None:
    """Write down what each witness said last, for the page that shows how the log stands. Raises OSError."""
    if isinstance(sequencer.witnesses, Witnesses):
        told = [
            {"name": each.name, "size": each.size, "at": each.at and each.at.isoformat(), "trouble": each.trouble}
            for each in sequencer.witnesses.standing()
        ]
        sequencer.keeper.keep_standing(json.dumps(told, indent=1).encode())


def run(sequencer: Sequencer, stop: threading.Event) -> None:
    """Turn after turn until `stop`, while no other sequencer works on this folder. What could not be done is logged, and tried again."""
    with sequencer.keeper.claimed() as alone:
        if not alone:
            log.warning("Another sequencer works on %s. This one waits.", sequencer.keeper.folder)
            stop.wait(AGAIN_S)
            return
        beaten, said = datetime.min.replace(tzinfo=UTC), ""
        while not stop.is_set():
            now = datetime.now(UTC)
            pause = LOOK_S
            try:
                sequencer.turn(now)
                keep_standing(sequencer)
                if not timedelta() <= now - beaten < BEAT:
                    with sequencer.sessions.writing() as session:
                        beat(session, "sequencer", pid=os.getpid(), now=now)
                    beaten = now
                said = ""
            except (SQLAlchemyError, OSError, KeeperError, ValueError) as error:
                if str(error) != said:
                    log.exception("Nothing was signed or published in this turn. It is tried again.")
                said, pause = str(error), AGAIN_S
            stop.wait(pause)


def main(_words: Sequence[str] = ()) -> int:
    """Run until SIGTERM. It takes no words. Exit codes: 0 stopped, 78 wrong settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        sequencer = made(Settings.from_environment(os.environ))
    except SettingError as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence is all there is to say
        return MISCONFIGURED
    while not stop.is_set():
        run(sequencer, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
