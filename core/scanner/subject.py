"""What a check sees, and what a check is: the only shapes a new rule has to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.scanner.certificate import Certificate
from core.scanner.facts import Finding, Observation, Severity
from core.scanner.path import VerifiedPath


@dataclass(frozen=True, slots=True)
class Subject:
    """One address's answer, read and verified. `name` is the A-label that was asked for, `now` aware UTC in whole seconds.

    `others` are (address, leaf) of every address of the scan, this one included: of two that an address serves, the one with the same
    kind of key as this leaf. `partner` is the leaf that this very address serves beside it, to clients of the other kind of key.
    """

    observation: Observation
    leaf: Certificate
    chain: tuple[Certificate, ...]
    path: VerifiedPath
    name: str
    now: datetime
    others: tuple[tuple[str, Certificate], ...]
    partner: Certificate | None = None

    @property
    def relied_on(self) -> tuple[Certificate, ...]:
        """The certificates whose signatures count: the leaf and its authorities, without the root that is trusted as it stands."""
        walk = self.path.walk or (self.leaf,)
        return tuple(
            cert for at, cert in enumerate(walk) if at == 0 or not (cert.self_issued or (self.path.anchored and at == len(walk) - 1))
        )

    def finding(
        self,
        check: str,
        severity: Severity,
        message: str,
        *,
        cause: str,
        fix: str,
        about: Certificate | None = None,
        evidence: Mapping[str, str | int | list[str]] | None = None,
    ) -> Finding:
        """A finding at this address, about the leaf unless another certificate is named."""
        certificate = (about or self.leaf).sha256
        return Finding(check, severity, message, cause, fix, self.observation.address, certificate, dict(evidence or {}))


class Check(Protocol):
    """A rule: one module in `checks/`, named after its ID, its docstring beginning with the source.

    SEVERITY is the worst it gives. NEEDS names the leaf's fields without which it cannot tell: where one of them is unreadable, its
    verdict is "unknown", never a pass. `applies` says whether the rule is about such a certificate at all.
    """

    ID: str
    SEVERITY: Severity
    NEEDS: tuple[str, ...]

    def applies(self, subject: Subject, /) -> bool:
        """False: not applicable."""
        ...

    def run(self, subject: Subject, /) -> tuple[Finding, ...]:
        """What is wrong; () is a pass."""
        ...
