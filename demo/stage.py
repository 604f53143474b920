"""Setting the stage: the world's files, the account, its names, and a past of 90 days written by the code that records real scans."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.accounts import set_up_operator
from core.actions.domains import add_domains
from core.actions.passwords import hash_password
from core.actions.policy import Actor
from core.actions.record_scan import Result, record_scans
from core.channels.mail import SUBJECTS
from core.net.names import Listed, u_label
from core.perspective import LOCAL
from core.scanner.certificate import known_certificate
from core.scanner.facts import Failure, FailureKind, Observation, OtherKey, Scan, Stage, Target, Tls
from core.scanner.handshake import RSA
from core.scanner.path import Roots
from core.scanner.verdict import judge
from core.store.accounts import Account, first_account, user_by_email
from core.store.endpoints import Endpoint, ScanTally, Schedule
from core.store.incidents import Notice
from core.store.watches import Watch
from demo import MARK
from demo.cast import EMAIL, PASSWORD, Part, World
from demo.pki import DAY
from demo.public import Act, public_past

PAST: Final = 90 * DAY
PORT: Final = 8443
INSTALLED: Final = timedelta(hours=3)
"""A new certificate is on its server so long after it begins."""
_TLS: Final = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "h2")
_DOWN: Final = Failure(FailureKind.TIMEOUT, Stage.CONNECT, "{} did not answer on port {} within 5 seconds.")


@dataclass(frozen=True, slots=True)
class Moment:
    """One look in the past: when, at whom, and what each address showed."""

    at: datetime
    part: Part
    seen: tuple[tuple[str, tuple[bytes, ...] | Failure], ...]


def write_world(world: World, folder: Path, made_at: datetime) -> dict[str, Any]:
    """Write chains, keys, the root and `demo.json` into the data folder; what stands in that."""
    files = folder / "demo"
    files.mkdir(mode=0o700)
    (files / "root.pem").write_bytes(world.root.pem)
    servers = []
    for part in world.parts:
        beside = beside_key = ""
        if part.beside:
            beside, beside_key = f"demo/{part.label}-beside.pem", f"demo/{part.label}-beside.key"
            _write_pair(folder / beside, folder / beside_key, *part.beside)
        for number, address in enumerate(part.addresses):
            chain = key = ""
            if part.chains:
                chain, key = f"demo/{part.label}-{number}.pem", f"demo/{part.label}-{number}.key"
                _write_pair(folder / chain, folder / key, part.chains[number], part.keys[number])
            if part.serve != "closed":
                files_of = {"chain": chain, "key": key, "beside": beside, "beside_key": beside_key}
                servers.append({"address": address, "serve": part.serve} | files_of)
    zone = {part.name: [f"{part.alias}."] if part.alias else list(part.addresses) for part in world.parts if part.alias or part.addresses}
    plan = {"made_at": made_at.isoformat(), "port": _port(servers), "dns_port": _free_port(), "zone": zone, "servers": servers}
    (folder / MARK).write_text(json.dumps(plan, indent=1))
    return plan


def _write_pair(chain: Path, key: Path, ders: Sequence[bytes], key_pem: bytes) -> None:
    chain.write_bytes(_pem(ders))
    key.touch(mode=0o600)
    key.write_bytes(key_pem)


def _pem(ders: Sequence[bytes]) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in ders)


def _port(servers: Sequence[dict[str, str]]) -> int:
    """8443 where it is free on all addresses, else another: then spot checks, which know web and mail ports alone, do not reach them."""
    for server in servers:
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((server["address"], PORT))
            except OSError:
                return _free_port()
    return PORT


def _free_port() -> int:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_account(session: Session, setup_token: str, now: datetime) -> Actor:
    """The demonstration's operator, with an account of their own."""
    set_up_operator(session, token=setup_token, email=EMAIL, password_hash=hash_password(PASSWORD), now=now)
    user = user_by_email(session, EMAIL)
    account = session.get(Account, first_account(session, user.id)) if user is not None else None
    if user is None or account is None:
        raise RuntimeError("the demonstration's account was not made")
    return Actor(user_id=user.id, user_ref=user.ref, account_id=account.id, account_ref=account.ref, role="owner")


def write_past(session: Session, actor: Actor, world: World, port: int, now: datetime) -> None:
    """Watch the names since 90 days ago, and record what was made up for the time since. Mails of that time count as sent.

    What the public was told meanwhile stands between it, so that the log is in the order of time.
    """
    began = now - PAST
    listed = [Listed(part.name, port, part.upgrade, part.addresses[0] if part.fixed else "") for part in world.parts]
    add_domains(session, actor, listed=listed, private_ranges=True, now=began)
    roots = Roots.of([world.root.certificate])
    ids = {name: row for row, name in session.execute(sa.select(Endpoint.id, Endpoint.name))}
    looks: list[Act] = [
        (moment.at, partial(_look, moment, ids[moment.part.name], port, roots)) for moment in moments(world, port, began, now)
    ]
    with TemporaryDirectory() as keys:
        for _, act in sorted([*looks, *public_past(now, Path(keys))], key=lambda each: each[0]):
            act(session)
    _settle(session, now)


def moments(world: World, port: int, began: datetime, now: datetime) -> Iterator[Moment]:
    """Every look that saw something new: the first one, renewals, an end that came near, troubles, and their ends."""
    first = began + timedelta(minutes=2)
    for part in world.parts:
        at = part.addresses or world.parts[0].addresses[: len(part.chains)]
        if not part.chains:
            yield Moment(first, part, tuple((address, _down(address, port)) for address in at if part.addresses))
            continue
        present = tuple(zip(at, part.chains, strict=True))
        served = [(now - days * DAY + INSTALLED, chain) for days, chain in part.past]
        oldest = (part.past[0][1],) if part.past else part.chains
        begins = [max(first, min(_begin(oldest) + INSTALLED, now - 2 * DAY)), *(moment for moment, _ in served)]
        shown = [*(tuple((address, chain) for address in at) for _, chain in served), present]
        yield from (Moment(moment, part, seen) for moment, seen in zip(begins, shown, strict=True))
        yield from (Moment(moment, part, present) for moment in _turns(part) if begins[-1] < moment < now)
        for days, chain in part.trouble:
            came = now - days * DAY
            around = next((seen for moment, seen in zip(reversed(begins), reversed(shown), strict=True) if moment <= came), present)
            yield Moment(came, part, tuple((address, chain or _down(address, port)) for address in at))
            yield Moment(came + timedelta(hours=7), part, around)


def _begin(chains: Sequence[Sequence[bytes]]) -> datetime:
    """When the newest of these leaves begins."""
    return max(leaf.not_before for chain in chains if (leaf := known_certificate(chain[0])).not_before is not None)


def _turns(part: Part) -> Iterator[datetime]:
    """When people are told of an end that comes near, and the end itself, each a minute later."""
    for chain in (*part.chains, *(part.beside or ())[:1]):
        leaf = known_certificate(chain[0])
        if leaf.not_before is not None and leaf.not_after is not None:
            lifetime = leaf.not_after - leaf.not_before
            yield from (leaf.not_after - share + timedelta(minutes=1) for share in (lifetime / 3, lifetime / 6, lifetime / 12, 0 * DAY))


def _down(address: str, port: int) -> Failure:
    return replace(_DOWN, message=_DOWN.message.format(address, port))


def _look(moment: Moment, endpoint_id: int, port: int, roots: Roots, session: Session) -> None:
    _send_until(session, moment.at)
    part = moment.part
    observations = tuple(
        Observation(address, LOCAL, what) if isinstance(what, Failure) else Observation(address, LOCAL, None, _TLS, what)
        for address, what in moment.seen
    ) or (Observation("", LOCAL, Failure(FailureKind.NO_SUCH_NAME, Stage.DNS, f"The DNS knows no name {part.name} (NXDOMAIN).")),)
    if part.beside and (known_certificate(part.beside[0][0]).not_before or moment.at) < moment.at:
        reached = [address for address, what in moment.seen if not isinstance(what, Failure)]
        observations += tuple(Observation(address, LOCAL, None, _TLS, part.beside[0], key_asked=RSA) for address in reached)
    target = Target(part.name, port, part.upgrade, other_key=OtherKey.ASKED)
    scan = Scan(target, moment.at, (), observations)
    session.execute(sa.update(Schedule).where(Schedule.endpoint_id == endpoint_id).values(lease_until=moment.at + timedelta(minutes=3)))
    result = Result(endpoint_id, 0, judge(scan, roots, moment.at))
    record_scans(session, [result], interval=timedelta(hours=8), spread=lambda: 1.0, now=moment.at)


def _send_until(session: Session, moment: datetime) -> None:
    """Mails that were due before this moment are kept as if they had left then."""
    unsent = sa.select(Notice, Endpoint).join(Watch, Watch.id == Notice.watch_id).join(Endpoint, Endpoint.id == Watch.endpoint_id)
    unsent = unsent.where(Notice.cancelled_at.is_(None), Notice.sent_at.is_(None), Notice.due_at < moment)
    for notice, endpoint in session.execute(unsent):
        notice.handed_at = notice.sent_at = notice.due_at
        notice.kept, notice.subject = True, SUBJECTS[notice.kind].format(name=f"{u_label(endpoint.name)}:{endpoint.port}")


def _settle(session: Session, now: datetime) -> None:
    """Mails of the past are kept; every name is due now, and the looks of each day are counted."""
    _send_until(session, now)
    session.execute(sa.update(Schedule).values(next_scan_at=now, urgent=True, requested_at=now, lease_until=None))
    names = session.scalar(sa.select(sa.func.count()).select_from(Endpoint)) or 0
    chance = random.Random(90)  # noqa: S311 - a made-up past, the same each time
    for days in range(1, PAST.days):
        day = f"{now - days * DAY:%Y-%m-%d}"
        session.merge(ScanTally(day=day, perspective=LOCAL, made=names * 3 + chance.randint(0, 9)))
