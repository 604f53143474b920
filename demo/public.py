"""A past of the status feed: what was measured, what the public was told, and who was on a host that is none.

It is made as it would come: incidents by the actions that open and end them, accesses as reports that a host's own key signs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from core.actions import public_incidents as told
from core.actions.access import take_delivery, trust_host
from core.actions.policy import Actor
from core.actions.reported import Signed
from core.reported import FORM, NAMESPACE, read_beat, read_report
from core.status.looking import BY_BOOK, BY_FILES, BY_WRITING
from core.status.measuring import DAYS, Measured, Probe
from core.store.access import host_named
from demo.pki import DAY

HOST: Final = "web-1.demo"
DISTURBED: Final = 34
"""So many days ago pages were not served for a while."""
_TERMINAL: Final = Actor(terminal=True)
_MINUTE: Final = timedelta(minutes=1)
_DAY_S: Final = 86_400.0
_PROBES: Final = {
    "portal": Probe("ok", "Pages are served.", "by asking it for a page, from a process of its own"),
    "scanning": Probe("ok", "Checks are made in time.", BY_BOOK),
    "notifications": Probe("ok", "Mail leaves in time.", BY_BOOK),
    "database": Probe("ok", "It stores and gives back.", BY_WRITING),
    "backups": Probe("unmeasured", "There is no backup yet.", BY_BOOK),
    "log": Probe("ok", "What happens is sealed and published within seconds.", BY_FILES),
}
_ODD: Final[dict[str, dict[int, tuple[float, float]]]] = {
    "portal": {DISTURBED: (540.0, 720.0), 77: (300.0, 0.0)},
    "scanning": {DISTURBED: (1_260.0, 0.0), 61: (1_980.0, 0.0)},
    "notifications": {12: (1_140.0, 0.0), DISTURBED: (1_260.0, 0.0)},
    "database": {DISTURBED: (540.0, 720.0)},
    "backups": {45: (5_400.0, 0.0)},
}
"""Seconds late and down, by how many days ago."""
_BACKUPS_SINCE: Final = 66
"""Days ago: nobody measured backups before."""
Act = tuple[datetime, Callable[[Session], None]]
"""What was done, and when."""

_ACCOUNT: Final = """\
What people noticed: from 14:07 UTC pages took longer and longer, and from 14:15 none was served for twelve minutes. At 14:28 all was well.

Why: a question about the whole past held the one place from which the database is written to. Everything else waited.

What we did: we ended that question. Checks and mails that had waited were made up for by 14:41. None was lost.

What is different now: such questions are read from a copy, and whatever waits for more than two seconds gives up and says so."""


def measured(now: datetime) -> dict[str, Measured]:
    """Ninety days of every component until now: calm, but for those in _ODD."""
    since = {"ok": now - 90 * DAY}
    return {key: Measured(probe, since.get(probe.state, now), now, dict(_days(key, now))) for key, probe in _PROBES.items()}


def _days(key: str, now: datetime) -> Iterator[tuple[date, tuple[float, float, float]]]:
    today = (now - datetime.combine(now.date(), time(), now.tzinfo)).total_seconds()
    first = _BACKUPS_SINCE if key == "backups" else DAYS - 1
    for ago in range(first, -1, -1):
        yield (now - ago * DAY).date(), (_DAY_S if ago else today, *_ODD.get(key, {}).get(ago, (0.0, 0.0)))


def public_past(now: datetime, folder: Path) -> Iterator[Act]:
    """Everything that a page of 90 days shows of incidents and accesses, to be done in the order of its times.

    `folder`: an empty one, where the host's key is meanwhile. Without ssh-keygen on this machine there is no host.
    """
    yield from _disturbance(_on(now, DISTURBED, 14, 7))
    begins = _on(now, -3, 22, 0)
    yield now - 2 * DAY, lambda session: _plan(session, begins, now - 2 * DAY)
    if shutil.which("ssh-keygen"):
        yield from _accesses(now, folder)


def _on(now: datetime, ago: int, hour: int, minute: int) -> datetime:
    return (now - ago * DAY).replace(hour=hour, minute=minute, second=0, microsecond=0)


def _plan(session: Session, begins: datetime, now: datetime) -> None:
    told.plan_maintenance(
        session,
        _TERMINAL,
        title="The database moves to faster disks",
        words="Pages are served all the while. Checks wait for a few minutes at most, and are made up for.",
        components=("database", "scanning"),
        planned_from=begins,
        planned_until=begins + timedelta(hours=1),
        now=now,
    )


def _disturbance(began: datetime) -> Iterator[Act]:
    """Twelve minutes without pages, from the first word to the account of it."""
    ref: list[str] = []

    def opened(session: Session) -> None:
        ref.append(
            told.open_public_incident(
                session,
                _TERMINAL,
                title="Slow pages, and some not served",
                words="Pages take very long, and some are not served at all. We are looking for the reason.",
                impact="major",
                components=("portal", "scanning", "notifications", "database"),
                now=began + 3 * _MINUTE,
            )
        )

    def updated(minutes: int, state: str, words: str) -> Act:
        at = began + minutes * _MINUTE
        return at, lambda session: told.update_public_incident(session, _TERMINAL, ref=ref[0], state=state, words=words, now=at)

    yield began + 3 * _MINUTE, opened
    yield updated(14, "identified", "One question to the database holds up all others. We are ending it.")
    yield updated(21, "monitoring", "Pages are served again. Checks and mails that waited are being made up for.")
    over, accounted = began + 49 * _MINUTE, began + 26 * 60 * _MINUTE
    words = "Nothing waits any more. No check and no mail was lost."
    yield over, lambda session: told.resolve_public_incident(session, _TERMINAL, ref=ref[0], words=words, now=over)
    yield accounted, lambda session: told.write_post_mortem(session, _TERMINAL, ref=ref[0], account=_ACCOUNT, now=accounted)


def _accesses(now: datetime, folder: Path) -> Iterator[Act]:
    """A host from its first day on: somebody on it in the disturbance, a file copied, nobody knows why, and one who is there now."""
    host, first = _Host(folder / "key"), now - 89 * DAY
    yield first, lambda session: host.trusted(session, first)
    why, files = "Pages are not served: look at the database", "Copied the new pictures of the front page"
    yield from host.visit("s-1", _on(now, DISTURBED, 14, 18), 41, reason=why)
    yield from host.visit("s-2", now - 9 * DAY, 4, kind="sftp", reason=files)
    yield from host.visit("s-3", now - 3 * DAY, 17)
    yield from host.visit("s-4", now - 25 * _MINUTE, 0)
    yield now, lambda session: host.heard(session, now, [], ["s-4"])


@dataclass
class _Host:
    """A host as the portal meets it: each thing it reports is signed by its own key."""

    key: Path
    beats: int = 0
    numbers: int = 0

    def trusted(self, session: Session, at: datetime) -> None:
        """The portal believes it from now on."""
        _keygen("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self.key))
        trust_host(session, _TERMINAL, name=HOST, public_key=self.key.with_suffix(".pub").read_text(), now=at)

    def visit(self, name: str, at: datetime, minutes: int, *, kind: str = "ssh", reason: str = "") -> Iterator[Act]:
        """Somebody comes, says why or does not, and leaves after so many minutes; 0: is there still."""

        def came(session: Session) -> None:
            who = {"user": "sam", "role": "administrator"} if kind == "ssh" else {"user": "kim", "role": "user"}
            reports = [self._report("opened", at, session=name, kind=kind, **who, **{"from": "192.0.2.7"})]
            if reason:
                reports.append(self._report("reason", at + timedelta(seconds=9), session=name, reason=reason))
            self.heard(session, at + timedelta(seconds=10), reports, [name])

        yield at, came
        if minutes:
            left = at + minutes * _MINUTE
            yield left, lambda session: self.heard(session, left, [self._report("closed", left, session=name)], [])

    def heard(self, session: Session, at: datetime, reports: list[Signed], still: list[str]) -> None:
        """A heartbeat, with what it brought; the sessions that are `still` open."""
        self.beats += 1
        beat = self._text(at, beat=self.beats, last=self.numbers, boot="boot-1", open=still)
        host = host_named(session, HOST)
        if host is None or take_delivery(session, host_id=host.id, beat=read_beat(beat, HOST), reports=reports, now=at).trouble:
            raise RuntimeError(f"what {HOST} told was not taken")

    def _report(self, what: str, at: datetime, **more: str) -> Signed:
        self.numbers += 1
        text = self._text(at, number=self.numbers, what=what, **more)
        return Signed(read_report(text, HOST), text, _keygen("-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(self.key), told=text))

    def _text(self, at: datetime, **more: object) -> str:
        spelled = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json.dumps({"form": FORM, "host": HOST, "at": spelled, **more}, sort_keys=True, separators=(",", ":"))


def _keygen(*words: str, told: str = "") -> str:
    """What ssh-keygen says to this text."""
    whole = ("ssh-keygen", *words)
    return subprocess.run(whole, input=told.encode(), capture_output=True, check=True).stdout.decode()  # noqa: S603 - our own words
