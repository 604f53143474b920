"""Files of exports and imports that are done with."""

from __future__ import annotations

from jobs.context import Context
from jobs.exports import sweep_exports
from jobs.imports import sweep_imports


def sweep_files(context: Context) -> None:
    """Remove them."""
    sweep_exports(context)
    sweep_imports(context)
