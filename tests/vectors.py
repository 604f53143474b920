"""Where published test vectors lie, beside the project; tests that need them say so when they are not there."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from core.scanner.roots import PEM

VECTORS: Final = Path(__file__).resolve().parents[2] / "shared" / "vectors"


def needs(folder: str) -> pytest.MarkDecorator:
    """Skip, with the reason, where this folder of vectors is absent."""
    return pytest.mark.skipif(not (VECTORS / folder).is_dir(), reason=f"the vectors of {folder} do not lie in ../shared/vectors")


def ders_of(path: Path) -> Iterator[bytes]:
    """Every certificate in a PEM or DER file, however odd inside."""
    content = path.read_bytes()
    found = PEM.findall(content.replace(b"\r", b""))
    if not found and path.suffix == ".der":
        yield content
    for pem in found:
        try:
            yield base64.b64decode(b"".join(line for line in pem.splitlines()[1:-1] if b":" not in line))
        except binascii.Error:
            continue
