"""What of a verdict strangers are told: what the server shows to everybody, and nothing by which a network could be explored.

Refused, filtered and unreachable are one answer (threats: a portal that tells them apart is a port scanner for everybody), and an
address that is not public is not named: it may come from a resolver that knows a network inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any, Final

from core.scanner.certificate import Certificate
from core.scanner.facts import Failure, FailureKind, Observation, Stage
from core.scanner.handshake import Budget
from core.scanner.scan import MOST_PROBES_AT_ONCE
from core.scanner.summary import summarise, worst_first
from core.scanner.verdict import JudgedObservation, Verdict
from core.scanner.wording import short

BUDGET: Final = Budget(total_s=18.0, dns_s=4.0, connect_s=4.0, upgrade_s=5.0, handshake_s=6.0)
MOST_NAMES_SHOWN: Final = 50
UNREACHED: Final = "It could not be reached from here on this port."
NOT_PUBLIC: Final = "This name leads to an address that is not on the public Internet, and only public ones are dialled."


def is_unreached(failure: Failure | None) -> bool:
    """Whether no connection came about: what strangers may not tell apart."""
    return failure is not None and failure.stage is Stage.CONNECT


def shown_after_s(verdict: Verdict) -> float:
    """Seconds from the beginning of the scan before the answer may be shown, 0 for at once.

    Where an address was not reached, all that its kind of failure could have taken: a refusal comes at once, silence after seconds.
    """
    if not any(is_unreached(each.failure) for each in verdict.scan.observations):
        return 0.0
    turns = ceil(verdict.scan.addresses / MOST_PROBES_AT_ONCE)
    return min(BUDGET.dns_s + turns * BUDGET.connect_s, BUDGET.total_s) + 1.0


def words_for(seen: Observation) -> str:
    """The sentence that a stranger reads for a failure, "" where there is none."""
    if seen.failure is None:
        return ""
    if is_unreached(seen.failure):
        return UNREACHED
    return NOT_PUBLIC if _hidden(seen) else seen.failure.message


def answer_of(verdict: Verdict) -> dict[str, Any]:
    """The answer, as JSON values: state, sentence, addresses, certificates by digest, and findings with the addresses they are about."""
    summary = summarise(replace(verdict, addresses=tuple(map(_told, verdict.addresses))))
    leaves = {each.leaf.sha256: each for each in verdict.addresses if each.leaf is not None}
    return {
        "state": summary.state,
        "sentence": summary.sentence,
        "cause": next((finding.cause for finding in verdict.findings if finding.message in summary.sentence), ""),
        "ends_at": summary.ends_at.isoformat() if summary.ends_at else "",
        "cname_chain": list(verdict.scan.cname_chain),
        "addresses": [_address(each) for each in verdict.addresses if each.observation.address and not _hidden(each.observation)],
        "certificates": [_certificate(each, each.leaf) for each in leaves.values() if each.leaf is not None],
        "findings": _findings(verdict),
        "rules": verdict.ruleset,
    }


def _told(each: JudgedObservation) -> JudgedObservation:
    """With the words that strangers read in place of a failure's own."""
    seen = each.observation
    if seen.failure is None:
        return each
    return replace(each, observation=replace(seen, failure=replace(seen.failure, message=words_for(seen))))


def _hidden(seen: Observation) -> bool:
    """Whether the guard refused this very address."""
    return seen.failure is not None and seen.failure.kind is FailureKind.REFUSED_ADDRESS and bool(seen.address)


def _address(each: JudgedObservation) -> Mapping[str, str]:
    seen = each.observation
    if seen.failure is not None:
        return {"address": seen.address, "words": words_for(seen), "certificate": "", "protocol": "", "asked": ""}
    protocol = f"{seen.tls.version}, {seen.tls.cipher}" if seen.tls else ""
    leaf = each.leaf.sha256 if each.leaf else ""
    return {"address": seen.address, "words": "", "certificate": leaf, "protocol": protocol, "asked": seen.key_asked}


def _certificate(each: JudgedObservation, leaf: Certificate) -> Mapping[str, Any]:
    return {
        "sha256": leaf.sha256,
        "subject": short(leaf.subject) if leaf.subject else "",
        "issuer": short(leaf.issuer),
        "not_before": leaf.not_before.isoformat() if leaf.not_before else "",
        "not_after": leaf.not_after.isoformat() if leaf.not_after else "",
        "key": leaf.key or "",
        "names": list(leaf.sans)[:MOST_NAMES_SHOWN],
        "names_count": len(leaf.sans),
        "verified": each.verified,
        "chain": [short(cert.subject) for cert in each.chain[1:]],
    }


def _findings(verdict: Verdict) -> list[Mapping[str, Any]]:
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    for finding in worst_first(verdict.findings):
        words = {name: getattr(finding, name) for name in ("check", "certificate", "status", "message", "cause", "fix")}
        group = groups.setdefault((finding.check, finding.certificate, finding.message), words | {"addresses": []})
        group["addresses"].append(finding.address)
    return list(groups.values())
