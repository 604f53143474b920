"""No secret and nothing of another account goes out, wherever it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from core.actions.domains import add_domains
from core.exports.lines import instant
from core.store.db import Sessions
from tests.exporting import HOUR, NAMES, export, make_rich, members, values
from tests.make import NOW
from tests.people import person
from tests.planted import MARKS, plant
from tests.scenes import roots_of, scan_all


@pytest.mark.parametrize("deleted", [False, True])
def test_no_secret_and_nothing_of_another_account_goes_out(sessions: Sessions, tmp_path: Path, deleted: bool) -> None:
    owner, _ = make_rich(sessions)
    with sessions.writing() as session:
        planted = plant(session, owner, deleted=deleted)
    wanted = {
        "api_tokens.token_sha256", "calendars.token_sha256", "certificates.der", "domain_cards.note", "exports.file", "factors.sealed",
        "imported_observations.line", "invitations.email", "notices.body", "users.email", "users.password_hash",
    }  # fmt: skip
    assert wanted <= planted
    export(sessions, owner, tmp_path / "a.zip", now=NOW + 10 * HOUR)
    for member, content in members(tmp_path / "a.zip").items():
        for mark in MARKS:
            at = content.lower().find(mark)
            assert at < 0, f"{member}: {content[max(at - 200, 0) : at + 200]!r}"


def test_what_was_seen_before_the_account_watched_is_not_told(sessions: Sessions, tmp_path: Path) -> None:
    """Somebody else watched the name for hours, and saw another certificate; what holds still is told as of the beginning."""
    _, chain = make_rich(sessions)
    began = NOW + 10 * HOUR
    with sessions.writing() as session:
        late, _ = person(session, "eve@elsewhere.example")
        add_domains(session, late, listed=[NAMES[0]], private_ranges=False, now=began)
    scan_all(sessions, {NAMES[0].name: {"192.0.2.1": chain.ders}}, roots_of(chain), NOW + 11 * HOUR)
    export(sessions, late, tmp_path / "a.zip", now=NOW + 12 * HOUR)
    found = members(tmp_path / "a.zip")
    seen = {(each["address"], each["seen_at"]) for each in values(found["observations.jsonl"])}
    assert seen == {("192.0.2.1", instant(began))}, "192.0.2.2 was gone when it began"
    assert len(values(found["chains.jsonl"])) == 1
    assert {each["sha256"] for each in values(found["certificates.jsonl"])} == {hashlib.sha256(der).hexdigest() for der in chain.ders}
    assert not any(word in b"".join(found.values()) for word in (b"mira", b"Renewed", b"shop.harbour"))
