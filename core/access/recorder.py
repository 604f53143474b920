"""`keychest-access pam|say|run`: the recorder on a host of production.

`pam` is started by PAM and keeps one report. `say` is started by a shell that begins, and tells why. `run` goes on for ever.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TURN_S = 1.0
_MOST_S = 2
log = logging.getLogger("keychest-access")


def main(words: Sequence[str], settings_file: str) -> int:
    """What is written at the terminal, by PAM and by systemd."""
    verb = words[0] if words else ""
    if verb not in {"pam", "say", "run"}:
        print("keychest-access pam|say|run: started by PAM, by a shell that begins, and by systemd.", file=sys.stderr)  # noqa: T201 - a terminal
        return 64
    if verb == "run":
        return _run(_settings(settings_file))
    signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(0))
    signal.alarm(_MOST_S)  # whatever happens from here on
    try:
        settings = _settings(settings_file)
        if verb == "say":
            from core.access.said import say

            say(settings["socket"], os.environ.get("KEYCHEST_REASON", ""))
        else:
            from core.access.pam import note

            note(Path(settings["folder"]), settings["host"], os.environ, time.time())
    except (OSError, ValueError, KeyError):
        return 0  # nobody is kept out, and no shell is held up, because of this
    return 0


def _run(settings: Mapping[str, Any]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from core.access.running import Recorder

    recorder, ended = Recorder(settings), threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    recorder.begin()
    log.info("%s reports to %s; the newest number is %d.", recorder.host, settings["portal"], recorder.spool.last())
    while not ended.wait(_TURN_S):
        try:
            recorder.turn()
        except OSError as error:
            log.warning("%s could not be used (%s). It is tried again.", error.filename or "Something", error.strerror)
    recorder.end()
    return 0


def _settings(path: str) -> dict[str, Any]:
    told = json.loads(Path(path).read_text(encoding="utf-8"))
    return {"superusers": [], "postgresql_log": "", "sshd_log": "journal", "service": "sshd", **told}
