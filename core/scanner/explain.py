"""What each check says, why, and what to do about it: the text of docs/checks.md, taken from the checks themselves.

    python -m core.scanner.explain > docs/checks.md

A check's docstring is "SOURCE (what it is about): the rule.", then the paragraphs Says, Why, Do and Limits.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass

from core.scanner.checks import CHECKS, RULESET
from core.scanner.facts import STATUS_OF
from core.scanner.subject import Check

PARTS = ("Says", "Why", "Do", "Limits")
PARAGRAPH = re.compile(r"^(Says|Why|Do|Limits): (.+?)(?=^(?:Says|Why|Do|Limits): |\Z)", re.MULTILINE | re.DOTALL)
HEAD = f"""# Checks

By these rules every served certificate is judged. This page is made from the rules themselves (`python -m core.scanner.explain`);
ruleset {RULESET}.

A finding of critical or high severity is an error, medium is a warning, low and information are notices. A rule that cannot tell,
because a field cannot be read, says "unknown": that is never a pass. "BR" are the CA/Browser Forum's Baseline Requirements 2.2.6.
Rules of theirs are applied to every certificate that leads to a trusted root, the operator's own roots included; weak keys and
signatures, dates and names are judged in every certificate.
"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A check in plain words. `source` is the rule's citation, `rule` the rule in a sentence."""

    check: str
    worst: str
    source: str
    rule: str
    says: str
    why: str
    do: str
    limits: str


def explain(check: Check) -> Explanation:
    """The words of one check. Raises ValueError where its docstring lacks a part."""
    first, _, rest = (inspect.getdoc(check) or "").partition("\n")
    source, colon, rule = first.partition(": ")
    parts = {name: " ".join(text.split()) for name, text in PARAGRAPH.findall(rest)}
    if not colon or tuple(parts) != PARTS:
        raise ValueError(f"the docstring of {check.ID} must be 'SOURCE: rule.' and the paragraphs {', '.join(PARTS)}")
    worst = f"{check.SEVERITY} ({STATUS_OF[check.SEVERITY]})"
    return Explanation(check.ID, worst, source, rule, parts["Says"], parts["Why"], parts["Do"], parts["Limits"])


def page() -> str:
    """The whole of docs/checks.md."""
    return HEAD + "".join(_section(explain(check)) for check in CHECKS)


def _section(words: Explanation) -> str:
    return f"""
## {words.check}

{words.rule[0].upper()}{words.rule[1:]}

- **What it says:** {words.says}
- **Why it matters:** {words.why}
- **What to do:** {words.do}
- **Limits:** {words.limits}
- **At worst:** {words.worst}. **Source:** {words.source}.
"""


if __name__ == "__main__":
    sys.stdout.write(page())
