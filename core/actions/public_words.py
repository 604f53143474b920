"""What strangers are told of an incident: words that are fit to be public, kept as an update, and mailed to those who asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.entry import Value
from core.actions.policy import Refused
from core.net.text import invisible, named, one_line
from core.status.told import COMPONENTS
from core.store.base import new_ref
from core.store.db import CHUNK
from core.store.letters import Letter
from core.store.named import named_in
from core.store.public_incidents import IMPACTS, PublicIncident, PublicUpdate, subscribers_to_tell

TITLE_MOST: Final = 200
WORDS_MOST: Final = 4_000
ACCOUNT_MOST: Final = 20_000
MAILED_WITHIN: Final = timedelta(days=2)


def fit_title(title: str) -> str:
    """The title in one line. Raises Refused."""
    shown = one_line(title)
    if not shown or len(shown) > TITLE_MOST:
        raise Refused(f"Write a title of 1 to {TITLE_MOST} characters, such as: E-mail is late. Nothing was changed.", "title")
    return shown


def fit_words(words: str, *, most: int = WORDS_MOST, field: str = "words") -> str:
    """The words as they were typed, line by line. Raises Refused for none, too many, and for what nobody can see."""
    lines = words.replace("\r\n", "\n").replace("\t", " ").replace("\u00a0", " ").split("\n")
    shown = "\n".join(line.rstrip() for line in lines).strip()
    if not shown or len(shown) > most:
        raise Refused(f"Write 1 to {most:,} characters: what people notice, and what is being done. Nothing was changed.", field)
    unseen = next((each for each in shown if each != "\n" and invisible(each)), "")
    if unseen:
        raise Refused(f"There is a character in it that nobody can see, {named(unseen)}. Take it out. Nothing was changed.", field)
    return shown


def fit_impact(impact: str) -> str:
    """How bad it is, in one of four words. Raises Refused."""
    if impact not in IMPACTS:
        raise Refused(f"Choose how bad it is: {', '.join(IMPACTS)}. Nothing was changed.", "impact")
    return impact


def fit_components(components: Sequence[str]) -> list[str]:
    """What it concerns, in the order of the page. Raises Refused."""
    unknown = [each for each in components if each not in COMPONENTS]
    if unknown or not components:
        raise Refused(f"Choose what it concerns: {', '.join(COMPONENTS)}. Nothing was changed.", "components")
    return [each for each in COMPONENTS if each in components]


def refuse_names(session: Session, *texts: str, anyway: bool) -> None:
    """Raises Refused where a text names what is somebody's here, unless it is meant."""
    word = "" if anyway else next((found for text in texts if (found := named_in(session, text))), "")
    if word:
        what = "the address of somebody here" if "@" in word else "a name that an account watches, or lies above or below one"
        raise Refused(f"“{word}” is {what}. Leave it out, or say that it is meant. Nothing was published.", "anyway")


def said_of(incident: PublicIncident) -> dict[str, Value]:
    """What the log shows of an incident: never a word of it."""
    return {
        "incident": incident.ref,
        "impact": incident.impact,
        "state": incident.state,
        "components": len(incident.components),
    }


def say(session: Session, incident: PublicIncident, *, state: str, words: str, now: datetime) -> None:
    """Keep an update; where the incident is public, its subscribers get a mail."""
    incident.state, incident.changed_at = state, now
    session.add(incident)
    session.flush()
    session.add(PublicUpdate(incident_id=incident.id, state=state, words=words, at=now, mailed_at=None))
    session.flush()
    if incident.published_at is not None:
        mail_newest(session, incident, now=now)


def make_public(session: Session, incident: PublicIncident, *, now: datetime) -> None:
    """Strangers see it from now on, and its subscribers get one mail with the newest word."""
    incident.published_at = incident.changed_at = now
    incident.publish_at = incident.withheld_at = None
    session.flush()
    mail_newest(session, incident, now=now)


def mail_newest(session: Session, incident: PublicIncident, *, now: datetime) -> None:
    """A letter with the newest update for each who confirmed; what was not mailed before counts as told by it."""
    of_it = (PublicUpdate.incident_id == incident.id, PublicUpdate.mailed_at.is_(None))
    newest = session.scalar(sa.select(sa.func.max(PublicUpdate.id)).where(*of_it))
    if newest is None:
        return
    session.execute(sa.update(PublicUpdate).where(*of_it).values(mailed_at=now))
    after = 0
    while some := subscribers_to_tell(session, after, CHUNK):
        session.execute(sa.insert(Letter), [_letter(newest, ref, email, now) for _, ref, email in some])
        after = some[-1][0]


def _letter(update_id: int, subscriber: str, email: str, now: datetime) -> dict[str, object]:
    """As `core.actions.letters.write_letter` makes one; many go in at once. Its words are read as it leaves."""
    return {
        "ref": new_ref(), "kind": "status_told", "email": email, "about": subscriber, "words": {"update": update_id}, "attempts": 0,
        "created_at": now, "due_at": now, "expires_at": now + MAILED_WITHIN, "outcome": "", "last_error": "",
    }  # fmt: skip
