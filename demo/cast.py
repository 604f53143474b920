"""Who plays: every name of the demonstration, what its server serves, and what a newcomer should see of it.

All names end in harbourlight.example, which nobody can own (RFC 2606); all addresses lie in 127.77.0.0/16, on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from demo.pki import DAY, Chain, Forged, make_intermediate, make_leaf, make_root

ZONE: Final = "harbourlight.example"
NETWORK: Final = "127.77.0.0/16"
EMAIL: Final = f"demo@{ZONE}"
PASSWORD: Final = "watch every harbour light"
LIFETIME: Final = 90 * DAY
PAST_DAYS: Final = 90


@dataclass(frozen=True, slots=True)
class Part:
    """One name. `state` is how it stands once it was looked at; `servers` says what each of its addresses does.

    `serve`: tls, tls10, client, slow, silent, http, reset, closed, or an upgrade protocol. `trouble`: hours of a made-up trouble in
    the past, as days ago and what was served in it, () for nothing. `past`: what was served before, oldest first, each with the days
    ago at which it was replaced. `beside`: a chain and its key that every address also has, for clients that know RSA alone.
    """

    label: str
    state: str
    serve: str = "tls"
    chains: tuple[tuple[bytes, ...], ...] = ()
    keys: tuple[bytes, ...] = ()
    addresses: tuple[str, ...] = ()
    alias: str = ""
    fixed: bool = False
    trouble: tuple[tuple[int, tuple[bytes, ...]], ...] = ()
    past: tuple[tuple[float, tuple[bytes, ...]], ...] = ()
    beside: tuple[tuple[bytes, ...], bytes] | None = None

    @property
    def name(self) -> str:
        """The whole name."""
        return f"{self.label}.{ZONE}"

    @property
    def upgrade(self) -> str:
        """The upgrade protocol, "" for TLS at once."""
        return self.serve if self.serve in {"smtp", "imap", "pop3", "ftp", "sieve", "nntp"} else ""


@dataclass(frozen=True, slots=True)
class World:
    """The root that this installation trusts, an issuer below it, and who plays."""

    root: Forged
    parts: tuple[Part, ...]


def make_world(now: datetime) -> World:
    """Forge it all, around `now`."""
    return _Stage(now.replace(microsecond=0)).world()


class _Stage:
    """Where the cast is put together: authorities made once, addresses handed out in turn."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.root = make_root("Harbourlight Root", now=now)
        self.issuer = make_intermediate(self.root, "Harbourlight Issuing CA 1", now=now)
        self.old_root = make_root("Harbourlight Old Root", key="rsa2048", now=now)
        self.old_issuer = make_intermediate(self.root, "Harbourlight Old CA", key="rsa2048", now=now)
        self._next = 0

    def world(self) -> World:
        parts = (*self._well(), *self._ending(), *self._wrong(), *self._weak(), *self._odd(), *self._silent(), *self._upgrading())
        return World(self.root, parts)

    def address(self) -> str:
        self._next += 1
        return f"127.77.0.{self._next}"

    def chain(self, names: Sequence[str], *, days_left: float = 55, lifetime: timedelta = LIFETIME, **leaf: object) -> Chain:
        ends = self.now + days_left * DAY + timedelta(hours=2)
        given: dict[str, object] = {"not_after": ends, "not_before": ends - lifetime, "issuer": self.issuer, "now": self.now} | leaf
        return Chain(make_leaf(names, **given), (self.issuer,), self.root)  # type: ignore[arg-type]  # the rest is make_leaf's to check

    def part(
        self, label: str, state: str, serve: str = "tls", *, count: int = 1, days_left: float = 55, lifetime: timedelta = LIFETIME,
        key: str = "p256", also: Sequence[str] = (), down: int = 0, expired: int = 0,
    ) -> Part:  # fmt: skip
        """A name whose addresses all serve one chain, renewed when a third of its time was left.

        `down` and `expired`: so many days ago it was away, or served what had ended.
        """
        names = [f"{each}.{ZONE}" for each in (label, *also)]
        shown = self.chain(names, days_left=days_left, lifetime=lifetime, key=key)
        past: list[tuple[float, tuple[bytes, ...]]] = []
        began = days_left - lifetime / DAY
        while began > -PAST_DAYS:
            before = self.chain(names, days_left=began + lifetime / DAY / 3, lifetime=lifetime, key=key)
            past.insert(0, (-began, before.ders))
            began -= lifetime / DAY * 2 / 3
        trouble: list[tuple[int, tuple[bytes, ...]]] = [(down, ())] if down else []
        if expired:
            trouble.append((expired, self.chain(names, days_left=-expired - 0.2).ders))
        places = tuple(self.address() for _ in range(count))
        return Part(label, state, serve, (shown.ders,) * count, (shown.key_pem,) * count, places, trouble=tuple(trouble), past=tuple(past))

    def served(self, label: str, state: str, ders: tuple[bytes, ...], key: bytes, serve: str = "tls") -> Part:
        return Part(label, state, serve, (ders,), (key,), (self.address(),))

    def _well(self) -> list[Part]:
        parts = [
            self.part("www", "ok", count=4, also=["blog"]),
            self.part("docs", "ok", expired=38),
            self.part("id", "ok", key="p384"),
            self.part("shop", "ok", key="rsa2048", down=12),
            self.part("status", "ok", days_left=5, lifetime=6 * DAY),
            self.part("vpn", "ok", "client"),
        ]
        apps, standby = self.chain([f"*.apps.{ZONE}"]), self.chain([f"standby.{ZONE}"])
        idn = "xn--mnchen-3ya"
        parts += [
            self.served("billing.apps", "ok", apps.ders, apps.key_pem),
            self.part(idn, "ok"),
            replace(parts[0], label="blog", alias=f"www.{ZONE}", addresses=()),
            Part("standby", "ok", "tls", (standby.ders,), (standby.key_pem,), (self.address(),), fixed=True),
        ]
        return parts

    def _ending(self) -> list[Part]:
        forgotten = self.chain([f"webmail.{ZONE}"], days_left=22, key="rsa2048", usage=("digital_signature", "key_encipherment"))
        return [
            replace(self.part("webmail", "soon", days_left=70), beside=(forgotten.ders, forgotten.key_pem)),
            self.part("tickets", "bad", days_left=2),
            self.part("events", "soon", days_left=11),
            self.part("press", "soon", days_left=24),
            self.part("intranet", "bad", days_left=-3),
        ]

    def _wrong(self) -> list[Part]:
        other = self.chain([f"payments.{ZONE}"])
        alone = make_leaf([f"printer.{ZONE}"], now=self.now)
        stranger = make_root("Somebody Else Root", now=self.now)
        partner = make_leaf([f"partner.{ZONE}"], stranger, now=self.now)
        api, cdn, cn = self.chain([f"api.{ZONE}"]), self.chain([f"cdn.{ZONE}"]), self.chain([f"old-api.{ZONE}"], san=None)
        launch = self.chain([f"launch.{ZONE}"], not_before=self.now + 6 * DAY, not_after=self.now + 96 * DAY)
        return [
            self.served("launch", "bad", launch.ders, launch.key_pem),
            self.served("pay", "bad", other.ders, other.key_pem),
            self.served("printer", "bad", (alone.der,), alone.key_pem),
            self.served("partner", "bad", (partner.der, stranger.der), partner.key_pem),
            self.served("api", "bad", (api.leaf.der,), api.key_pem),
            self.served("cdn", "ok", (cdn.leaf.der, self.root.der, self.issuer.der), cdn.key_pem),
            self.served("old-api", "bad", cn.ders, cn.key_pem),
        ]

    def _weak(self) -> list[Part]:
        old = (self.old_issuer.der,)
        small = self.chain([f"till.{ZONE}"], key="rsa1024")
        sha1 = self.chain([f"ledger.{ZONE}"], issuer=self.old_issuer, hash="sha1", key="rsa2048")
        long = self.chain([f"archive.{ZONE}"], lifetime=800 * DAY, days_left=500)
        authority = self.chain([f"build.{ZONE}"], ca=True)
        no_server = self.chain([f"agent.{ZONE}"], eku=("clientAuth",))
        return [
            self.served("till", "bad", small.ders, small.key_pem),
            self.served("ledger", "bad", (sha1.leaf.der, *old), sha1.key_pem),
            self.served("archive", "bad", long.ders, long.key_pem),
            self.served("build", "bad", authority.ders, authority.key_pem),
            self.served("agent", "bad", no_server.ders, no_server.key_pem),
            self.part("kiosk", "ok", "tls10", key="rsa2048"),
        ]

    def _odd(self) -> list[Part]:
        fleet = self.chain([f"fleet.{ZONE}", *(f"boat-{number:03d}.fleet.{ZONE}" for number in range(1, 1000))])
        fresh, stale = self.chain([f"checkout.{ZONE}"]), self.chain([f"checkout.{ZONE}"], days_left=8)
        edwards = self.chain([f"lab.{ZONE}"], key="ed25519")
        return [
            self.served("fleet", "ok", fleet.ders, fleet.key_pem),
            Part(
                "checkout",
                "soon",
                "tls",
                (fresh.ders, stale.ders),
                (fresh.key_pem, stale.key_pem),
                (self.address(), self.address()),
                past=((LIFETIME / DAY - 55, stale.ders),),
            ),
            self.served("lab", "ok", edwards.ders, edwards.key_pem),
        ]

    def _silent(self) -> list[Part]:
        return [
            *(Part(label, "unk", serve, addresses=(self.address(),)) for label, serve in (
                ("sensor", "slow"), ("crane", "silent"), ("staging", "closed"), ("meter", "http"), ("gate", "reset"),
            )),
            Part("lost", "unk", "closed"),
            Part("inside", "unk", "closed", addresses=("10.77.0.1",)),
        ]  # fmt: skip

    def _upgrading(self) -> list[Part]:
        return [
            self.part("mx", "ok", "smtp", down=55),
            self.part("imap", "soon", "imap", days_left=13),
            self.part("pop", "ok", "pop3"),
            self.part("files", "ok", "ftp"),
            self.part("filters", "ok", "sieve"),
            self.part("news", "bad", "nntp", days_left=-1),
        ]
