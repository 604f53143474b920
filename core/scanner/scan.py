"""A target in, observations out: resolve, ask the guard about every address, dial each literal, shake hands.

Every scan ends within its budget with a typed result; a failure is an observation too. Nothing here knows a database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from core.net import dial
from core.net.guard import Network, refusal
from core.net.optout import OptedOut
from core.net.resolve import Resolution, open_resolver, resolve
from core.perspective import LOCAL
from core.scanner.asleep import Sleep
from core.scanner.certificate import known_certificate
from core.scanner.facts import Failure, FailureKind, Observation, OtherKey, Scan, Stage, Target
from core.scanner.handshake import ECDSA, NO_APPLICATION_PROTOCOL, RSA, Budget, Served, shake_hands
from core.scanner.starttls import PROTOCOLS, upgrade
from core.scanner.turns import Turns

MOST_PROBES_AT_ONCE: Final = 4
OTHER_KEY_S: Final = 5.0
"""How long a server may take to show its other certificate, or to say that it has none."""
_ALPN: Final = (b"h2", b"http/1.1")
_OTHER_KIND: Final[Mapping[str | None, str]] = {"RSA": ECDSA, "EC": RSA, "Ed25519": RSA, "Ed448": RSA}
_SILENT: Final = frozenset({FailureKind.TIMEOUT, FailureKind.REFUSED})

Key = TypeVar("Key")
Now = Callable[[], datetime]
Resolve = Callable[[str], Awaitable[Resolution]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Where we look from and what a look may cost. `resolvers` like "127.0.0.1:53"; none: the system's.

    `opted_out` is not scanned at all. `before_dial` is asked with the literals of a name before the first of them is dialled; when
    it gives a sentence, none is, and that is what is told.
    """

    resolvers: tuple[str, ...] = ()
    perspective: str = LOCAL
    budget: Budget = field(default_factory=Budget)
    opted_out: OptedOut = field(default_factory=OptedOut)
    before_dial: Callable[[Sequence[str]], str] = lambda _addresses: ""


@dataclass(frozen=True, slots=True)
class _Means:
    """What the scans of a batch share."""

    ask: Resolve
    turns: Turns


async def scan_target(target: Target, outlook: Outlook, *, allow: Sequence[Network] = (), now: Now) -> Scan:
    """One scan. `allow` opens the private ranges the operator named; `now` gives aware UTC."""
    async with _open_asker(outlook) as ask:
        return await _scan(target, outlook, allow, now, _Means(ask, Turns(1)))


async def scan_all(
    targets: Sequence[tuple[Key, Target, Sequence[Network]]], outlook: Outlook, *, now: Now, in_flight: int = 200
) -> AsyncGenerator[tuple[Key, Scan], None]:
    """Scans as they end, `in_flight` at a time and fewer at one server; each name is looked up once.

    An error of ours in one scan leaves the others alone.

    What failed while this process itself was asleep is scanned again, once. Raises MemoryError: then no scan of this process says anything.
    """
    ended: asyncio.Queue[tuple[Key, Scan] | MemoryError] = asyncio.Queue(in_flight)
    sleep, turns = Sleep(), Turns(in_flight)
    async with _open_asker(outlook) as ask:

        async def look(key: Key, target: Target, allow: Sequence[Network]) -> None:
            async with turns.place():
                began_s = asyncio.get_running_loop().time()
                try:
                    scan = await _scan_or_say_why(target, outlook, allow, now, _Means(ask, turns))
                    if sleep.woke_at_s >= began_s and any(seen.failure for seen in scan.observations):
                        async with _open_asker(outlook) as anew:
                            scan = await _scan_or_say_why(target, outlook, allow, now, _Means(anew, turns))
                except MemoryError as error:
                    await ended.put(error)
                else:
                    await ended.put((key, scan))

        workers = [asyncio.create_task(look(*each)) for each in targets]
        workers.append(asyncio.create_task(sleep.notice()))
        try:
            for _ in targets:
                one = await ended.get()
                if isinstance(one, MemoryError):
                    raise one
                yield one
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


@asynccontextmanager
async def _open_asker(outlook: Outlook) -> AsyncIterator[Resolve]:
    """Looks each name up once, however many targets have it: they wait for the same answer."""
    asked: dict[str, asyncio.Task[Resolution]] = {}
    timeout_s = min(outlook.budget.dns_s, outlook.budget.total_s)
    async with open_resolver(outlook.resolvers) as dns:

        async def ask(name: str) -> Resolution:
            if name not in asked:
                asked[name] = asyncio.create_task(resolve(name, dns, timeout_s))
            return await asyncio.shield(asked[name])

        try:
            yield ask
        finally:
            for unfinished in asked.values():
                unfinished.cancel()
            await asyncio.gather(*asked.values(), return_exceptions=True)


async def _scan_or_say_why(target: Target, outlook: Outlook, allow: Sequence[Network], now: Now, by: _Means) -> Scan:
    try:
        return await _scan(target, outlook, allow, now, by)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - logged whole and told as a failure; the other scans go on
        _log.exception("a scan ended with an error of our own: %s port %d", target.name, target.port)
        words = "KeyChest itself failed while it scanned this name. Its log says how; other names were scanned."
        failure = Failure(FailureKind.PROTOCOL_ERROR, Stage.HANDSHAKE, words)
        return Scan(target, now(), (), (Observation(target.address, outlook.perspective, failure),))


async def _scan(target: Target, outlook: Outlook, allow: Sequence[Network], now: Now, by: _Means) -> Scan:
    if target.starttls and target.starttls not in PROTOCOLS:
        raise ValueError(f"{target.starttls!r} is not an upgrade protocol we speak")
    scanned_at, deadline = now(), asyncio.get_running_loop().time() + outlook.budget.total_s
    if words := outlook.opted_out.name_refusal([target.name]):
        return _not_dialled(target, scanned_at, (), words, outlook)
    found = Resolution(addresses=(target.address,)) if target.address else await by.ask(target.name)
    if found.failure is not None:
        failure = Failure(FailureKind(found.failure.kind.value), Stage.DNS, found.failure.message)
        return Scan(target, scanned_at, found.cname_chain, (Observation("", outlook.perspective, failure),))
    refused = _refused(found, allow, outlook.perspective)
    if refused:
        return Scan(target, scanned_at, found.cname_chain, refused, found.partial)
    if words := _unwanted(found, outlook) or outlook.before_dial(found.addresses):
        return _not_dialled(target, scanned_at, found.cname_chain, words, outlook)
    async with by.turns.at(found.addresses, target.port) as waited_s:
        probed = await _probe_all(found.addresses, target, outlook, allow, deadline + waited_s)
    seen = tuple(each for one in probed for each in one.seen)
    return Scan(target, scanned_at, found.cname_chain, seen, found.partial or any(one.partial for one in probed))


async def _probe_all(
    addresses: Sequence[str], target: Target, outlook: Outlook, allow: Sequence[Network], deadline: float
) -> Sequence[_Probed]:
    """A few addresses at a time."""
    few = asyncio.Semaphore(MOST_PROBES_AT_ONCE)

    async def probe(address: str) -> _Probed:
        async with few:
            return await _probe(address, target, outlook, allow, deadline)

    probes = [asyncio.create_task(probe(address)) for address in addresses]
    try:
        return await asyncio.gather(*probes)
    finally:
        for unfinished in probes:
            unfinished.cancel()


def _unwanted(found: Resolution, outlook: Outlook) -> str:
    """A sentence where a name on the way or an address at its end asked not to be scanned."""
    opted_out = outlook.opted_out
    return opted_out.name_refusal(found.cname_chain) or opted_out.address_refusal((*found.addresses, *found.beyond))


def _not_dialled(target: Target, scanned_at: datetime, cname_chain: tuple[str, ...], words: str, outlook: Outlook) -> Scan:
    failure = Failure(FailureKind.REFUSED_ADDRESS, Stage.GUARD, words)
    return Scan(target, scanned_at, cname_chain, (Observation("", outlook.perspective, failure),))


def _refused(found: Resolution, allow: Sequence[Network], perspective: str) -> tuple[Observation, ...]:
    """One refused observation for each address when any of them may not be dialled; nothing when all may.

    A name that mixes public and internal addresses is how a scanner is turned against its own network, so none is dialled. Of
    the addresses beyond those that are dialled, which may be thousands, the first that is denied is told.
    """
    reasons = {address: refusal(address, allow) for address in found.addresses}
    denied_beyond = next(((address, reason) for address in found.beyond if (reason := refusal(address, allow))), None)
    if denied_beyond:
        reasons |= dict([denied_beyond])
    if not any(reasons.values()):
        return ()
    beside = "This address was not dialled, because the name also has an address that we do not dial."
    return tuple(
        Observation(address, perspective, Failure(FailureKind.REFUSED_ADDRESS, Stage.GUARD, reason or beside))
        for address, reason in reasons.items()
    )


@dataclass(frozen=True, slots=True)
class _Probed:
    """What one address showed: its choice, and the other kind of key. `partial`: that one was there, and now nobody answered."""

    seen: tuple[Observation, ...]
    partial: bool = False


async def _probe(address: str, target: Target, outlook: Outlook, allow: Sequence[Network], deadline: float) -> _Probed:
    """One dial of one address; a second one, offering no protocol names, where a server sends us away for the first's."""

    async def dial_it(alpn: tuple[bytes, ...], key_asked: str = "") -> Served | Failure:
        return await _dial(address, target, outlook.budget, allow, deadline=deadline, alpn=alpn, key_asked=key_asked)

    alpn = () if target.starttls else _ALPN
    served = await dial_it(alpn)
    if isinstance(served, Failure) and served.kind is FailureKind.ALERT and NO_APPLICATION_PROTOCOL in served.message:
        alpn = ()
        served = await dial_it(alpn)
    first = _observation(address, outlook, served)
    kind = _OTHER_KIND.get(known_certificate(first.chain[0]).key_kind) if first.chain and target.other_key is not OtherKey.LEFT else None
    if kind is None:
        return _Probed((first,))
    other = _observation(address, outlook, await dial_it(alpn, kind), kind)
    if other.chain and other.chain[0] != first.chain[0] and _OTHER_KIND.get(known_certificate(other.chain[0]).key_kind) != kind:
        return _Probed((first, other))
    unheard = other.failure is not None and other.failure.kind in _SILENT
    return _Probed((first,), partial=unheard and target.other_key is OtherKey.EXPECTED)


def _observation(address: str, outlook: Outlook, served: Served | Failure, key_asked: str = "") -> Observation:
    if isinstance(served, Failure):
        return Observation(address, outlook.perspective, served, key_asked=key_asked)
    return Observation(address, outlook.perspective, None, served.tls, served.chain, served.ocsp_staple, served.scts, key_asked)


async def _dial(
    address: str, target: Target, budget: Budget, allow: Sequence[Network], *, deadline: float, alpn: tuple[bytes, ...], key_asked: str = ""
) -> Served | Failure:
    clock = asyncio.get_running_loop().time
    if key_asked:
        deadline = min(deadline, clock() + OTHER_KEY_S)
    left_s = deadline - clock()
    if left_s <= 0:
        return Failure(
            FailureKind.TIMEOUT, Stage.CONNECT, f"The {budget.total_s:.0f} seconds for this name were over before {address} was dialled."
        )
    opened = await dial.open_stream(address, target.port, min(budget.connect_s, left_s), allow)
    if isinstance(opened, dial.Failure):
        stage = Stage.GUARD if opened.kind is dial.Undialled.REFUSED_ADDRESS else Stage.CONNECT
        return Failure(FailureKind(opened.kind.value), stage, opened.message)
    with opened as stream:
        if target.starttls and (failure := await _upgrade(stream, target, max(0.0, min(budget.upgrade_s, deadline - clock())))):
            return failure
        timeout_s = max(0.0, min(budget.handshake_s, deadline - clock()))
        return await shake_hands(stream, target.name, budget, timeout_s=timeout_s, alpn=alpn, key_asked=key_asked)


async def _upgrade(stream: dial.Stream, target: Target, timeout_s: float) -> Failure | None:
    """Bring the connection to where TLS begins, or say why not."""
    try:
        async with asyncio.timeout(timeout_s):
            return await upgrade(stream, target.starttls, target.name)
    except TimeoutError:
        began = "It answered, but slowly." if stream.received_bytes else "It accepted the connection and said nothing."
        words = f"The server was not ready for TLS within {timeout_s:.0f} seconds. {began}"
        return Failure(FailureKind.TIMEOUT, Stage.STARTTLS, words)
    except OSError:
        return Failure(FailureKind.RESET, Stage.STARTTLS, "The server broke off the connection before TLS began.")
