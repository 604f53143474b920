"""Every route and what it needs, as JSON: `python -m portal.routes`. Nothing is started, and no database is opened.

A list of `rule`, `methods` and `permission`; where that is "PUBLIC", `reason` tells why.
"""

from __future__ import annotations

import json
import secrets
import sys
from datetime import UTC, datetime
from typing import Any, Final

from flask import Flask

from portal import Parts, create_app
from portal.gate import PUBLIC

_ANSWERED: Final = frozenset({"HEAD", "OPTIONS"})
"""Methods that every GET route answers by itself."""


def routes(app: Flask) -> list[dict[str, Any]]:
    """The routes of an application by rule. Raises KeyError for one that has neither a gate nor a reason."""
    found = []
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, sorted(rule.methods or ()))):
        gate = getattr(app.view_functions[rule.endpoint], "gate", None)
        need = {"permission": gate.value} if gate is not None else {"permission": "PUBLIC", "reason": PUBLIC[rule.endpoint]}
        found.append({"rule": rule.rule, "methods": sorted((rule.methods or set()) - _ANSWERED), **need})
    return found


def application() -> Flask:
    """The portal over nothing: good for its map alone."""
    at = datetime.now(UTC)
    key = secrets.token_urlsafe()
    return create_app(Parts("sqlite://", "unix:///nowhere", key, "http://localhost", False, 0, (), False, lambda: at))


if __name__ == "__main__":
    json.dump(routes(application()), sys.stdout, indent=1)
    sys.stdout.write("\n")
