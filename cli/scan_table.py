"""A verdict as a table for a terminal. What strangers wrote is shown as it is, with what cannot be seen spelled out."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from core.net.text import u_label, visible
from core.net.upgrades import WORDS
from core.scanner.certificate import Certificate
from core.scanner.facts import FailureKind, Finding, Status, Target
from core.scanner.verdict import JudgedObservation, Verdict

_SHAPES: Final = {Status.ERROR: ("✗ error", "bold red"), Status.WARN: ("▲ warn", "yellow"), Status.NOTICE: ("● notice", "blue")}
_OTHER: Final = ("? unknown", "magenta")
MOST_NAMES: Final = 8
DAY_S: Final = 86_400
_PARTIAL: Final = (
    "The name may have more addresses than these: the DNS answered for IPv4 or IPv6 only, or gave more than are looked at. Try again."
)


def print_table(verdict: Verdict, now: datetime) -> None:
    """One panel an address, then one line that says how the name stands, and one where not every address was looked at."""
    console = Console(highlight=False)
    target = verdict.scan.target
    console.print(_heading(target, verdict.scan.cname_chain))
    for judged in verdict.addresses:
        console.print(_panel(judged, now))
    console.print(_summary(verdict))
    if verdict.scan.partial:
        console.print(Text(_PARTIAL, "yellow"))


def _heading(target: Target, cnames: tuple[str, ...]) -> Text:
    people = u_label(target.name)
    heading = _shown(f"{people}:{target.port}", "bold")
    if target.starttls:
        heading.append(f"  {WORDS[target.starttls]} with STARTTLS")
    if people != target.name:
        heading.append(f"  ({target.name})", "dim")
    for cname in cnames:
        heading.append("  → ").append(_shown(cname))
    return heading


def _panel(judged: JudgedObservation, now: datetime) -> Panel:
    observation = judged.observation
    title = observation.address or "no address"
    if observation.key_asked:
        title += f", asked for {observation.key_asked}"
    if observation.failure is not None:
        failure = observation.failure
        body = Text.assemble(("✗ ", "bold red"), _shown(failure.message), (f"\n  {failure.kind.value} ({failure.stage.value})", "dim"))
        if failure.kind is FailureKind.REFUSED_ADDRESS:
            body.append("\n  Name the range in KEYCHEST_SCAN_ALLOW to dial it.")
        return Panel(body, title=title, title_align="left", border_style="red")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _facts(judged, now):
        table.add_row(label, value)
    for finding in judged.findings:
        table.add_row(*_finding(finding))
    return Panel(table, title=title, title_align="left", border_style="green" if judged.verified else "red")


def _facts(judged: JudgedObservation, now: datetime) -> list[tuple[str, Text]]:
    tls, leaf = judged.observation.tls, judged.leaf
    rows = [("trust", Text("✓ verified", "green") if judged.verified else Text("✗ not verified", "bold red"))]
    if tls is not None:
        rows.append(("protocol", _shown("  ".join(part for part in (tls.version, tls.cipher, tls.group, tls.alpn) if part))))
    if leaf is not None:
        rows += [
            ("subject", _shown(leaf.subject or "(empty)")),
            ("names", _names(leaf)),
            ("issuer", _shown(leaf.issuer or "(unreadable)")),
            ("valid", _validity(leaf, now)),
            ("key", _shown(leaf.key or "(unreadable)")),
            ("SHA-256", Text(leaf.sha256)),
        ]
    rows.append(("chain", _shown(" → ".join(cert.subject_cn or cert.subject or cert.sha256[:16] for cert in judged.chain))))
    return rows


def _names(leaf: Certificate) -> Text:
    shown = [*map(u_label, leaf.sans[:MOST_NAMES]), *leaf.other_sans[: max(0, MOST_NAMES - len(leaf.sans))]]
    rest = len(leaf.sans) + len(leaf.other_sans) - len(shown)
    return _shown(", ".join(shown) + (f" and {rest:,} more" if rest else "") if shown else "(none)")


def _validity(leaf: Certificate, now: datetime) -> Text:
    if leaf.not_before is None or leaf.not_after is None:
        return Text("(unreadable)")
    left_s = (leaf.not_after - now).total_seconds()
    days = int(abs(left_s) // DAY_S)
    when = f"{days} {'day' if days == 1 else 'days'} {'left' if left_s >= 0 else 'ago'}"
    return Text(f"{leaf.not_before:%Y-%m-%d %H:%M} to {leaf.not_after:%Y-%m-%d %H:%M} UTC ({when})")


def _finding(finding: Finding) -> tuple[Text, Text]:
    shape, style = _SHAPES.get(finding.status, _OTHER)
    said = _shown(finding.message)
    said.append("\n").append(_shown(finding.fix, "dim")).append(f"\n{finding.check}, {finding.severity.value}", "dim")
    return Text(shape, style), said


def _summary(verdict: Verdict) -> Text:
    observations = verdict.scan.observations
    failed = sum(1 for observation in observations if observation.failure)
    bad = sum(1 for finding in verdict.findings if finding.status is Status.ERROR)
    if failed == len(observations):
        return Text("No address gave a certificate.", "bold red")
    if failed or bad:
        parts = [f"{failed} of {verdict.scan.addresses} addresses failed"] if failed else []
        parts += [f"{bad} {'finding is' if bad == 1 else 'findings are'} an error"] if bad else []
        return Text(" and ".join(parts)[:1].upper() + " and ".join(parts)[1:] + ".", "bold red")
    return Text("Nothing is wrong.", "bold green") if not verdict.findings else Text("Nothing is an error; see the findings.", "green")


def _shown(text: str, style: str = "") -> Text:
    """Text of strangers: no markup is read in it, and U+202E and its like are spelled out."""
    built = Text(style=style)
    for escaped, run in visible(text):
        built.append(run, "reverse" if escaped else None)
    return built
