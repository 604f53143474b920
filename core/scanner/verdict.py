"""What a scan means: every check over every address, and nothing that a check can break."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain as joined

from core.scanner.certificate import Certificate, known_certificate
from core.scanner.checks import CHECKS, RULESET
from core.scanner.facts import Finding, Observation, Scan
from core.scanner.handshake import RSA
from core.scanner.path import Roots, VerifiedPath, verify_path
from core.scanner.subject import Check, Subject

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JudgedObservation:
    """An observation and what it means. `leaf` and `path` are None where the probe gave no certificate; `chain` is as served."""

    observation: Observation
    leaf: Certificate | None
    chain: tuple[Certificate, ...]
    path: VerifiedPath | None
    findings: tuple[Finding, ...]

    @property
    def verified(self) -> bool:
        """A path exists and the name matches. Weaknesses that the judge lets pass are findings all the same."""
        return self.path is not None and self.path.verified


@dataclass(frozen=True, slots=True)
class Verdict:
    """A scan, judged by one version of the rules. What has no finding passed or did not apply."""

    scan: Scan
    addresses: tuple[JudgedObservation, ...]
    ruleset: str

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, address by address, in the order of CHECKS."""
        return tuple(joined.from_iterable(address.findings for address in self.addresses))


def judge(scan: Scan, roots: Roots, now: datetime) -> Verdict:
    """The verdict on `scan` as of `now`: pure, so that old facts can be judged by new rules. Never raises on what a server sent."""
    now = now.replace(microsecond=0)
    chains = [tuple(map(known_certificate, observation.chain)) for observation in scan.observations]
    served: dict[str, list[Certificate]] = {}
    for observation, chain in zip(scan.observations, chains, strict=True):
        served.setdefault(observation.address, []).extend(chain[:1])
    judged = []
    for observation, chain in zip(scan.observations, chains, strict=True):
        if not chain:
            judged.append(JudgedObservation(observation, None, (), None, ()))
            continue
        path = verify_path(observation.chain, scan.target.name, roots, now)
        others, partner = _beside(observation, chain[0], served)
        subject = Subject(observation, chain[0], chain, path, scan.target.name, now, others, partner)
        judged.append(JudgedObservation(observation, chain[0], chain, path, examine(subject, CHECKS)))
    return Verdict(scan, tuple(judged), RULESET)


def _beside(
    seen: Observation, leaf: Certificate, served: Mapping[str, Sequence[Certificate]]
) -> tuple[tuple[tuple[str, Certificate], ...], Certificate | None]:
    """What a leaf is to be compared with: its like at every address, and the other one at its own (Subject.others and .partner)."""
    own = served[seen.address]
    others = []
    for address, leaves in served.items():
        like = [each for each in leaves if (each.key_kind == RSA) == (leaf.key_kind == RSA)]
        neither_has_two = len(own) == len(leaves) == 1
        others += [(address, each) for each in (like or (leaves if neither_has_two else ()))[:1]]
    return tuple(others), next((each for each in own if each is not leaf), None)


def examine(subject: Subject, checks: tuple[Check, ...]) -> tuple[Finding, ...]:
    """What `checks` find. A check that raises is itself a finding, and the others still run."""
    found: list[Finding] = []
    for check in checks:
        blind = [field for field in check.NEEDS if field in subject.leaf.unreadable]
        if check.NEEDS and ("extensions" in subject.leaf.unreadable or not subject.leaf.is_readable):
            continue  # nothing can be told, which CERT-MALFORMED says once
        try:
            if not check.applies(subject):
                continue
            found += [_unknown(subject, check, f"{', '.join(blind)} cannot be read")] if blind else check.run(subject)
        except Exception as error:
            log.exception("check %s failed on certificate %s", check.ID, subject.leaf.sha256)
            found.append(_unknown(subject, check, f"the check itself failed ({type(error).__name__})"))
    return tuple(found)


def _unknown(subject: Subject, check: Check, why: str) -> Finding:
    return Finding(
        check.ID,
        check.SEVERITY,
        f"{check.ID} could not be judged: {why}.",
        "Not knowing is not the same as being well, so this is told. The certificate is kept as it was served.",
        "Look at the certificate's own page. If it is malformed, have it issued again; if it is fine, tell the makers of KeyChest.",
        subject.observation.address,
        subject.leaf.sha256,
        {"why": why},
        unknown=True,
    )
