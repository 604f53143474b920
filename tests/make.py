"""Plain factories for rows and facts that tests begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from core.actions.accounts import create_user
from core.actions.claim_scans import claim_due
from core.actions.domains import Added, add_domains
from core.actions.policy import Actor
from core.actions.record_scan import Recorded, Result, record_scans
from core.net.names import Listed
from core.perspective import LOCAL
from core.scanner.facts import Failure, FailureKind, Observation, Scan, Stage, Target, Tls
from core.scanner.path import Roots
from core.scanner.verdict import judge
from core.store.accounts import Account, first_account, user_by_email

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TERMINAL = Actor(terminal=True)
TLS = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "")
REFUSED = Failure(FailureKind.REFUSED, Stage.CONNECT, "The connection was refused.")


def make_actor(session: Session, email: str = "mira@example.org", role: str = "owner", now: datetime = NOW) -> Actor:
    """A member of a fresh account of their own, with this role."""
    create_user(session, TERMINAL, email=email, operator=False, now=now)
    user = user_by_email(session, email)
    assert user is not None
    account = session.get(Account, first_account(session, user.id))
    assert account is not None
    return Actor(user_id=user.id, user_ref=user.ref, account_id=account.id, account_ref=account.ref, role=role)


def make_watches(session: Session, actor: Actor, *names: str, now: datetime = NOW) -> tuple[Added, ...]:
    """Names listed, each at port 443 or as name:port."""
    listed = [Listed(name.partition(":")[0], int(name.partition(":")[2] or 443)) for name in names]
    return add_domains(session, actor, listed=listed, private_ranges=False, now=now)


def make_scan(name: str, seen: dict[str, Sequence[bytes] | Failure], *, at: datetime = NOW, port: int = 443) -> Scan:
    """A scan in which each address served a chain or failed."""
    observations = tuple(
        Observation(address, LOCAL, what) if isinstance(what, Failure) else Observation(address, LOCAL, None, TLS, tuple(what))
        for address, what in seen.items()
    )
    return Scan(Target(name, port), at, (), observations)


def run_scans(
    session: Session, what: Callable[[int], Scan], *, roots: Roots, now: datetime = NOW, interval: timedelta = timedelta(hours=8)
) -> Recorded:  # fmt: skip
    """Claim all that is due and record what `what` says was seen of each endpoint."""
    recorded = late = 0
    for urgent in (True, False):
        claims = claim_due(session, perspective=LOCAL, urgent=urgent, most=1000, lease=timedelta(minutes=3), now=now)
        results = [Result(claimed.endpoint_id, claimed.claim, judge(what(claimed.endpoint_id), roots, now)) for claimed in claims]
        done = record_scans(session, results, interval=interval, spread=lambda: 1.0, now=now)
        recorded, late = recorded + done.recorded, late + done.late
    return Recorded(recorded, late)
