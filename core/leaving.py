"""Links by which a subscriber leaves: their reference, and a mark that the installation's keys alone can make. Nothing of it is stored."""

from __future__ import annotations

from core.envelope import KeyFile

_REF = 16


def leaving(keys: KeyFile, ref: str) -> str:
    """The end of the link."""
    return f"{ref}{keys.mark(f'leave the status feed: {ref}')}"


def who_leaves(keys: KeyFile, token: str) -> str:
    """The subscriber's reference, "" for a link that we did not make. A link never runs out, and outlives a change of keys."""
    ref, mark = token[:_REF], token[_REF:]
    return ref if keys.marked(f"leave the status feed: {ref}", mark) else ""
