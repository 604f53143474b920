"""`./keychest scan`: one look at what a name serves, told as a table or as JSON, with no database."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, Final

import click

from cli import place
from cli.words import MISCONFIGURED, Sorry
from core.net.lists import DIRECT, read_address, read_target
from core.net.names import NameRefused
from core.net.upgrades import PROTOCOLS
from core.scanner.certificate import Certificate
from core.scanner.facts import Finding, Observation, OtherKey, Scan, Status, Target
from core.scanner.path import Roots, RootsUnreadable
from core.scanner.scan import Outlook, scan_target
from core.scanner.verdict import JudgedObservation, Verdict, judge

WELL, TROUBLED, NO_CERTIFICATE = 0, 1, 2
_NAME_HELP: Final = "NAME is a host name; add :PORT where it is not 443."


class _Scan(click.Command):
    """Knows no short option, so that -x.example is told as the name that somebody meant it to be."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, after a look at words that are no options. Raises UsageError."""
        for word in args:
            if word.startswith("-") and "." in word.partition("=")[0]:
                raise click.UsageError(f"A name begins with a letter or a digit, not with a hyphen. {_NAME_HELP}", ctx)
        return super().parse_args(ctx, args)


@click.command(
    name="scan", cls=_Scan, epilog="Exit code: 0 nothing is wrong, 1 something is, 2 no address gave a certificate, 64 wrong words."
)
@click.argument("name", metavar="NAME[:PORT]")
@click.option(
    "--starttls",
    type=click.Choice([*PROTOCOLS, DIRECT]),
    help=f"The protocol that upgrades to TLS. By default what the port is known for; {DIRECT}: TLS at once.",
)
@click.option("--address", default="", metavar="IP", help="Dial this address only, and do not ask the DNS.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.pass_context
def scan_command(ctx: click.Context, name: str, starttls: str | None, address: str, *, as_json: bool) -> None:
    """Look once at what a host serves, without a database."""
    target = _target(name, starttls or "", address)
    settings = place.settings()
    try:
        roots = Roots.load(settings.extra_roots)
    except RootsUnreadable as error:
        raise Sorry(str(error), MISCONFIGURED) from None
    outlook = Outlook(resolvers=settings.resolvers)
    scan = asyncio.run(scan_target(target, outlook, allow=settings.scan_allow, now=_now))
    verdict = judge(scan, roots, _now())
    if as_json:
        print(json.dumps(as_object(verdict), indent=2))
    else:
        from cli.scan_table import print_table

        print_table(verdict, _now())
    ctx.exit(exit_code(verdict))


def _now() -> datetime:
    return datetime.now(UTC)


def _target(name: str, starttls: str, address: str) -> Target:
    try:
        literal = read_address(address) if address else ""
    except NameRefused as refused:
        raise click.UsageError(f"--address: {refused}") from None
    try:
        return Target(*read_target(name, starttls=starttls, address=literal).key, OtherKey.ASKED)
    except NameRefused as refused:
        raise click.UsageError(f"{refused} {_NAME_HELP}") from None


def exit_code(verdict: Verdict) -> int:
    """2: no address gave a certificate. 1: a finding is an error, or one of several addresses failed. 0: all is well."""
    observations = verdict.scan.observations
    if not any(observation.chain for observation in observations):
        return NO_CERTIFICATE
    failed = any(observation.failure for observation in observations)
    return TROUBLED if failed or any(finding.status is Status.ERROR for finding in verdict.findings) else WELL


def as_object(verdict: Verdict) -> dict[str, Any]:
    """What --json prints. Programs read this: keys are added, never renamed."""
    scan: Scan = verdict.scan
    return {
        "name": scan.target.name,
        "port": scan.target.port,
        "starttls": scan.target.starttls or None,
        "scanned_at": _rfc3339(scan.scanned_at),
        "addresses": [_address(judged) for judged in verdict.addresses],
    }


def _address(judged: JudgedObservation) -> dict[str, Any]:
    observation: Observation = judged.observation
    failure, tls = observation.failure, observation.tls
    return {
        "address": observation.address,
        "perspective": observation.perspective,
        "key_asked": observation.key_asked or None,
        "failure": failure and {"kind": failure.kind.value, "stage": failure.stage.value, "message": failure.message},
        "tls": tls and {"version": tls.version, "cipher": tls.cipher, "group": tls.group, "alpn": tls.alpn},
        "leaf": judged.leaf and _leaf(judged.leaf),
        "chain": list(observation.chain_sha256),
        "verified": judged.verified,
        "findings": [_finding(finding) for finding in judged.findings],
    }


def _leaf(leaf: Certificate) -> dict[str, Any]:
    return {
        "sha256": leaf.sha256,
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "sans": list(leaf.sans),
        "not_before": leaf.not_before and _rfc3339(leaf.not_before),
        "not_after": leaf.not_after and _rfc3339(leaf.not_after),
        "key": leaf.key,
        "serial": leaf.serial,
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {"check": finding.check, "severity": finding.severity.value, "status": finding.status.value, "message": finding.message}


def _rfc3339(instant: datetime) -> str:
    """RFC 3339 in UTC to the second, like 2026-11-23T04:05:06Z."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
