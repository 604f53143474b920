"""KeyChest's own rule: all addresses of a name serve the same certificate.

Says: which address serves another certificate than the others do; high where one of them has ended.
Why: a renewal that reached only some of the machines shows up as trouble for some of the visitors.
Do: load the newest certificate into every machine behind the name.
Limits: servers that are behind several providers may differ on purpose; so may machines in the middle of a renewal. Where a server
  has an RSA and an ECDSA certificate, like is compared with like.
"""

from __future__ import annotations

from collections import Counter

from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import day

ID = "CERT-DIFFER"
SEVERITY = Severity.HIGH
NEEDS: tuple[str, ...] = ()


def applies(subject: Subject) -> bool:
    """Names with several addresses that answered."""
    return len(subject.others) > 1


def run(subject: Subject) -> tuple[Finding, ...]:
    """One finding at each address that serves another leaf than most do (in a tie: than the first does)."""
    usual = Counter(leaf.sha256 for _, leaf in subject.others).most_common(1)[0][0]
    if subject.leaf.sha256 == usual:
        return ()
    ended = [address for address, leaf in subject.others if leaf.not_after and leaf.not_after < subject.now]
    where = [address for address, leaf in subject.others if leaf.sha256 == usual]
    own_end = f", one that ends on {day(subject.leaf.not_after)}" if subject.leaf.not_after and not ended else ""
    worse = f" The one at {ended[0]} has ended." if ended else ""
    return (
        subject.finding(
            ID,
            SEVERITY if ended else Severity.MEDIUM,
            f"{subject.observation.address} serves another certificate than {where[0]} does{own_end}.{worse}",
            cause="A new certificate may have been loaded into some of the machines behind this name and not into the others.",
            fix="Load the newest certificate into every machine behind the name. If they differ on purpose, nothing has to be done.",
            evidence={"usual": usual, "usual_at": where, "ended_at": ended},
        ),
    )
