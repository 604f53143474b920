"""Is this certificate for this name? RFC 9525, and nothing older: the subject's CN is not looked at.

Section 6.3: compared label by label, without regard to case, in A-labels. A wildcard is the whole left-most label and stands
for exactly one. Stricter than the RFC in one point, as browsers and OpenSSL are: at least two labels follow the wildcard.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
NAME_MAX = 253
LABELS_UNDER_WILDCARD = 2


def _labels(name: str) -> list[str] | None:
    """Lower-case labels, or None if this is no host name."""
    if not name.isascii() or not 0 < len(name) <= NAME_MAX:
        return None
    labels = name.lower().split(".")
    return labels if all(LABEL.fullmatch(label) for label in labels) else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.rpartition(".")[2].isdigit()  # "1.2.3", "1234": read as addresses by some, names to nobody
    return True


def name_matches(sans: Iterable[str], name: str) -> bool:
    """True if one of the dNSNames in `sans` stands for `name`, an A-label host name (a final dot is allowed).

    IP addresses never match: they are another kind of identity. A presented name with a final dot is malformed.
    """
    wanted = None if _is_address(name.removesuffix(".")) else _labels(name.removesuffix("."))
    return wanted is not None and any(_stands_for(san, wanted) for san in sans)


def _stands_for(san: str, wanted: list[str]) -> bool:
    if not san.startswith("*."):
        return san.isascii() and san.lower().split(".") == wanted
    under = _labels(san[2:])
    return under is not None and len(under) >= LABELS_UNDER_WILDCARD and under == wanted[1:]
