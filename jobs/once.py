"""One job, once, here: `python -m jobs.once back_up now`. For the terminal, which does not wait for a worker to be free."""

from __future__ import annotations

import logging
import os
import sys

from config import SettingError, Settings
from jobs.carrier import JOBS
from jobs.worker import MISCONFIGURED, USAGE, make_context

ONCE = ("back_up", "drill", "look")


def main(arguments: list[str]) -> int:
    """Run the job with these words. Exit codes: 0 it ran (what it found stands in the database), 64 wrong words, 78 wrong settings."""
    kind = next((kind for kind in JOBS if arguments and kind.name == arguments[0] and kind.name in ONCE), None)
    if kind is None:
        print(f"Name one job: {', '.join(ONCE)}.", file=sys.stderr)  # noqa: T201 - a terminal's answer
        return USAGE
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        context = make_context(Settings.from_environment(os.environ))
    except SettingError as error:
        print(error, file=sys.stderr)  # noqa: T201 - as above
        return MISCONFIGURED
    kind.function()(context, *arguments[1:])
    context.sessions.engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
