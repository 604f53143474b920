"""Single sign-on: who comes in by an identity, who does not, and what is told of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions import identities, team
from core.actions.accounts import NewSignIn, token_sha256
from core.actions.doors import ask_by_mail
from core.actions.factors import begin_app, confirm_app
from core.actions.operators import disable_user
from core.actions.passwords import check_password, kept_of
from core.actions.policy import Actor, NotAllowed, Refused
from core.envelope import FILE, KeyFile, NotOpenedError
from core.oidc import Begun, Vouched
from core.store.accounts import Membership, User, signed_in, user_by_email
from core.store.db import Sessions
from core.store.disablings import UserDisabling
from core.store.identities import Identity, OidcFlow, flow_place, purge_flows
from core.store.letters import Letter
from core.store.teams import invited
from tests.make import NOW, TERMINAL
from tests.people import PASSWORD, joined, person, proof, shown

ISSUER, CALLED = "https://login.example.org", "Harbourlight SSO"
NIA, MIRA = "nia@harbour.example.org", "mira@example.org"
SAYS = Vouched(ISSUER, "2482", NIA, NIA)


@dataclass
class House:
    """A database, and people who come by the provider."""

    sessions: Sessions
    keys: KeyFile
    begun: Begun = field(default_factory=lambda: Begun("", "state", "nonce", "v" * 64))

    def enter(self, vouched: Vouched = SAYS, sign_up: str = "invitation", **more: bool) -> NewSignIn:
        with self.sessions.writing() as session:
            return identities.enter_by_identity(session, vouched=vouched, called=CALLED, sign_up=sign_up, now=NOW, **more)  # type: ignore[arg-type]

    def connect(self, actor: Actor, vouched: Vouched = SAYS) -> str:
        with self.sessions.writing() as session:
            return identities.connect_identity(session, actor, vouched=vouched, called=CALLED, now=NOW)

    def disconnect(self, actor: Actor, email: str, password: str = PASSWORD) -> None:
        checked = proof(self.sessions, email, password)
        with self.sessions.writing() as session:
            ref = session.scalar(sa.select(Identity.ref).where(Identity.user_id == actor.user_id, Identity.deleted_at.is_(None))) or "none"
            identities.disconnect_identity(session, actor, ref=ref, called=CALLED, checked=checked, now=NOW)

    def begin(self, kind: identities.FlowKind = "enter", user_id: int | None = None) -> None:
        with self.sessions.writing() as session:
            identities.begin_flow(session, kind=kind, user_id=user_id, begun=self.begun, keys=self.keys, now=NOW)

    def take(self, kind: identities.FlowKind = "enter", user_id: int | None = None, state: str = "state", late: int = 0) -> tuple[str, str]:
        with self.sessions.writing() as session:
            at = NOW + timedelta(minutes=late)
            return identities.take_flow(session, kind=kind, user_id=user_id, state=state, keys=self.keys, now=at)

    def events(self) -> list[str]:
        with self.sessions.reading() as session:
            return list(session.scalars(sa.select(OutboxEvent.kind).order_by(OutboxEvent.id)))

    def mailed(self) -> list[tuple[str, str]]:
        with self.sessions.reading() as session:
            told = session.scalars(sa.select(Letter).where(Letter.kind == "told").order_by(Letter.id))
            return [(letter.email, letter.words["subject"]) for letter in told]


@pytest.fixture
def house(sessions: Sessions, tmp_path: Path) -> House:
    return House(sessions, KeyFile(tmp_path / FILE))


@pytest.fixture
def mira(house: House) -> Actor:
    with house.sessions.writing() as session:
        return person(session, MIRA)[0]


def test_a_way_counts_once_for_its_kind_and_its_person_within_minutes(house: House, mira: Actor) -> None:
    house.begin()
    with house.sessions.reading() as session:
        kept = session.scalars(sa.select(OidcFlow)).one()
        assert "v" * 64 not in kept.sealed
        assert kept.state_sha256 == token_sha256("state")
        with pytest.raises(NotOpenedError):
            house.keys.open(kept.sealed, flow_place("another"))
    for wrong in ({"state": "another"}, {"kind": "connect"}, {"user_id": mira.user_id}, {"late": 10}):
        with pytest.raises(Refused, match="was begun in another browser"):
            house.take(**wrong)
    assert house.take(late=9) == ("v" * 64, "nonce")
    with pytest.raises(Refused, match="was answered already"):
        house.take()
    house.begun = replace(house.begun, state="hers")
    house.begin("connect", mira.user_id)
    with pytest.raises(Refused):
        house.take("connect", (mira.user_id or 0) + 1, "hers")
    assert house.take("connect", mira.user_id, "hers")[1] == "nonce"
    with house.sessions.writing() as session:
        purge_flows(session, NOW + timedelta(minutes=5))
        assert session.scalar(sa.select(sa.func.count()).select_from(OidcFlow)) == 2
        purge_flows(session, NOW + timedelta(hours=1))
        assert session.scalar(sa.select(sa.func.count()).select_from(OidcFlow)) == 0


def test_one_way_lets_one_of_six_in_who_come_at_once(house: House) -> None:
    house.begin()
    came: list[bool] = []

    def come() -> None:
        try:
            came.append(bool(house.take()))
        except Refused:
            came.append(False)

    coming = [threading.Thread(target=come) for _ in range(6)]
    for each in coming:
        each.start()
    for each in coming:
        each.join()
    assert sorted(came) == [False] * 5 + [True]


def test_who_is_new_gets_an_account_where_everybody_may_come(house: House) -> None:
    with house.sessions.writing() as session:
        ask_by_mail(session, "sign_up", email=NIA, now=NOW)
    fresh = house.enter(replace(SAYS, email="Nia@Harbour.example.org"), "open", stay=True)
    assert (fresh.factor_due, fresh.stay) == (False, True)
    with house.sessions.reading() as session:
        found = signed_in(session, token_sha256(fresh.token), NOW)
        assert found is not None
        assert (found.email, found.role, found.installation_role) == (NIA, "owner", "")
        assert kept_of(session, NIA).password_hash == ""
        assert session.scalars(sa.select(Letter.outcome).where(Letter.kind == "sign_up")).one() == "gone"
    assert house.events() == ["user.signed_up.v1", "identity.connected.v1", "user.signed_in.v1"]
    assert house.mailed() == [(NIA, "Harbourlight SSO is connected to KeyChest")]
    again = house.enter(replace(SAYS, email=""))
    assert again.user_id == fresh.user_id
    assert house.events()[3:] == ["user.signed_in.v1"]


@pytest.mark.parametrize("sign_up", ["invitation", "closed"])
def test_who_is_new_and_not_let_in_is_told_who_can(house: House, sign_up: str) -> None:
    with pytest.raises(Refused, match=f"knows you as {NIA}, and nobody here does"):
        house.enter(sign_up=sign_up)
    assert house.events() == []


def test_an_invitation_to_the_confirmed_address_lets_in_and_is_used_up(house: House, mira: Actor) -> None:
    with house.sessions.writing() as session:
        team.invite(session, mira, email=NIA, role="viewer", days=7, now=NOW)
        team.invite(session, mira, email="eve@example.org", role="owner", days=7, now=NOW)
    with pytest.raises(Refused, match="confirmed as yours"):
        house.enter(replace(SAYS, email=""))
    with pytest.raises(Refused, match="nobody here does"):
        house.enter(sign_up="closed")
    fresh = house.enter()
    with house.sessions.reading() as session:
        found = signed_in(session, token_sha256(fresh.token), NOW)
        assert found is not None
        assert (found.account_id, found.role) == (mira.account_id, "viewer")
        assert [each.email for each in invited(session, mira.account_id or 0, NOW)] == ["eve@example.org"]


def test_who_is_here_is_not_connected_by_an_address_alone(house: House, mira: Actor) -> None:
    for sign_up in ("open", "invitation", "closed"):
        with pytest.raises(Refused, match="Sign in as before once, then connect Harbourlight SSO"):
            house.enter(replace(SAYS, email=MIRA.upper()), sign_up)
    with house.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Identity)) == 0


def test_connected_it_signs_in_whatever_address_the_provider_has(house: House, mira: Actor) -> None:
    assert house.connect(mira, replace(SAYS, email="", shown="<b>nia</b>")) == "<b>nia</b>"
    fresh = house.enter(replace(SAYS, email="changed@elsewhere.example"))
    assert fresh.user_id == mira.user_id
    assert house.mailed() == [(MIRA, "Harbourlight SSO is connected to KeyChest")]
    with house.sessions.reading() as session:
        assert session.scalars(sa.select(Identity.last_used_at)).one() == NOW
    with pytest.raises(Refused, match="connected to Harbourlight SSO already"):
        house.connect(mira, replace(SAYS, subject="another"))
    with pytest.raises(Refused):
        house.enter(replace(SAYS, issuer="https://elsewhere.example", email=""))


def test_what_is_somebody_else_s_is_not_connected_and_nobody_connects_without_themselves(house: House, mira: Actor) -> None:
    house.connect(mira)
    with house.sessions.writing() as session:
        vera = joined(session, mira, "vera@example.org", "viewer")[0]
    with pytest.raises(Refused, match="connected to somebody else here"):
        house.connect(vera)
    with pytest.raises(NotAllowed):
        house.connect(Actor(terminal=True))
    right, wrong = proof(house.sessions, MIRA), proof(house.sessions, MIRA, "wrong")
    with house.sessions.writing() as session:
        assert identities.require_own_password(session, mira, checked=right) == mira.user_id
        with pytest.raises(Refused, match="not your password"):
            identities.require_own_password(session, mira, checked=wrong)


def test_who_has_a_second_factor_is_asked_for_it(house: House, mira: Actor) -> None:
    house.connect(mira)
    checked = proof(house.sessions, MIRA)
    with house.sessions.writing() as session:
        app = begin_app(session, mira, checked=checked, keys=house.keys, now=NOW)
        confirm_app(session, mira, keys=house.keys, code=shown(app.secret, NOW), keep=0, now=NOW)
    fresh = house.enter()
    assert fresh.factor_due
    assert "user.signed_in.v1" not in house.events()
    with house.sessions.reading() as session:
        assert signed_in(session, token_sha256(fresh.token), NOW) is None


def test_disconnected_it_signs_in_no_more_and_who_has_no_password_keeps_it(house: House, mira: Actor) -> None:
    house.connect(mira)
    with pytest.raises(Refused, match="not your password"):
        house.disconnect(mira, MIRA, "wrong")
    house.disconnect(mira, MIRA)
    assert house.mailed()[-1] == (MIRA, "Harbourlight SSO is disconnected from KeyChest")
    assert house.events()[-1] == "identity.disconnected.v1"
    with pytest.raises(Refused):
        house.enter()
    with pytest.raises(Refused, match="disconnected already"):
        house.disconnect(mira, MIRA)
    nia = house.enter(replace(SAYS, subject="nia"), "open")
    with pytest.raises(Refused, match="not your password"):
        house.disconnect(Actor(user_id=nia.user_id, user_ref="x"), NIA, "")
    assert house.connect(mira), "what was let go may come back"


def test_who_is_gone_does_not_get_in_and_may_come_back_as_another(house: House, mira: Actor) -> None:
    house.connect(mira)
    with house.sessions.writing() as session:
        out = UserDisabling(user_id=mira.user_id, disabled_at=NOW, disabled_by=None, enabled_at=None, enabled_by=None)
        session.add(out)
    with pytest.raises(Refused, match="signs nobody in here any more"):
        house.enter(sign_up="open")
    with pytest.raises(Refused, match="You are here already"):
        house.enter(replace(SAYS, subject="another", email=MIRA), "open")
    with house.sessions.writing() as session:
        session.merge(out).enabled_at = NOW
        session.get_one(User, mira.user_id).deleted_at = NOW
    with pytest.raises(Refused, match="signs nobody in here any more"):
        house.enter(sign_up="open")
    with house.sessions.writing() as session:
        back = person(session, MIRA)[0]
    house.connect(back)
    assert house.enter().user_id == back.user_id


def test_who_is_disabled_does_not_get_in_by_the_provider(house: House, mira: Actor) -> None:
    house.connect(mira)
    with house.sessions.writing() as session:
        disable_user(session, TERMINAL, user_ref=mira.user_ref, now=NOW)
    with pytest.raises(Refused, match="signs nobody in here any more"):
        house.enter(sign_up="open")


def test_an_owner_by_the_provider_alone_is_an_owner_who_can_sign_in(house: House, mira: Actor) -> None:
    with house.sessions.writing() as session:
        team.invite(session, mira, email=NIA, role="owner", days=7, now=NOW)
    house.enter()
    with house.sessions.writing() as session:
        team.leave(session, mira, now=NOW)
        nia = user_by_email(session, NIA)
        assert nia is not None
        left = sa.select(Membership.user_id).where(Membership.account_id == mira.account_id, Membership.deleted_at.is_(None))
        assert session.scalars(left).all() == [nia.id]


def test_six_who_are_new_and_the_same_become_one(house: House) -> None:
    came: list[int] = []
    told: list[str] = []

    def come() -> None:
        try:
            came.append(house.enter(sign_up="open").user_id)
        except Refused as refused:
            told.append(str(refused))

    coming = [threading.Thread(target=come) for _ in range(6)]
    for each in coming:
        each.start()
    for each in coming:
        each.join()
    assert len(set(came)) == 1
    assert len(came) + len(told) == 6
    assert all("in the same moment" in each for each in told)
    with house.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Identity)) == 1


def test_a_password_is_kept_from_who_has_none(house: House) -> None:
    house.enter(sign_up="open")
    with house.sessions.reading() as session:
        kept = kept_of(session, NIA)
    assert not check_password(kept, "").right
