"""The status feed's files from memory, before anything of the portal runs: when everybody looks at them, others shall hardly notice.

What it does not have whole and fresh it leaves to `portal.views.status`, which says what is the matter.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portal.views.status import ANYWHERE, BRIEFLY, FEED_JSON, KINDS, STALE_AFTER

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATHS: Final = {"/status": "index.html", "/index.html": "index.html", "/measures/": "measures/index.html", "/access/": "access/index.html"}
_PART: Final = r"[A-Za-z0-9_-]{1,64}"
_FILES: Final = re.compile(rf"/(feed\.(?:atom|json)|access/reasons\.json|api/v2/(?:{_PART}/)?{_PART}\.json|badge/{_PART}\.svg)")
_INCIDENT: Final = re.compile(rf"/(incidents/{_PART}/)")
_LOOKED_S: Final = 1.0
"""So long a file is not looked at again."""
_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    etag: str
    headers: list[tuple[str, str]]
    changed_ns: int
    looked: float


@dataclass
class FeedFiles:
    """A WSGI application before another one. `always`: headers of every answer; `clock`: what time it is."""

    app: WSGIApplication
    folder: Path
    always: Mapping[str, str]
    clock: Callable[[], datetime]
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer what is one of the files, and hand on the rest. What comes after a question mark changes nothing."""
        name = _name(environ.get("PATH_INFO", "")) if environ["REQUEST_METHOD"] in {"GET", "HEAD"} else ""
        kept = self._fresh(name) if name else None
        if kept is None:
            return self.app(environ, start_response)
        if kept.etag in {each.strip().removeprefix("W/") for each in environ.get("HTTP_IF_NONE_MATCH", "").split(",")}:
            start_response("304 Not Modified", [*kept.headers, ("ETag", kept.etag)])
            return []
        start_response("200 OK", [*kept.headers, ("ETag", kept.etag), ("Content-Length", str(len(kept.body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [kept.body]

    def _fresh(self, name: str) -> _Kept | None:
        """The file, unless it is missing or a page that grew old."""
        kept, now = self._kept.get(name), time.monotonic()
        if kept is None or now - kept.looked > _LOOKED_S:
            kept = self._read(name, kept, now)
        if kept is None or not name.endswith(".html"):
            return kept
        age = self.clock() - datetime.fromtimestamp(kept.changed_ns / 1e9, UTC)
        return kept if -STALE_AFTER <= age <= STALE_AFTER else None

    def _read(self, name: str, before: _Kept | None, now: float) -> _Kept | None:
        path = self.folder / name
        try:
            changed = path.stat().st_mtime_ns
            body = before.body if before is not None and before.changed_ns == changed else path.read_bytes()
        except OSError:
            body = None
        with self._lock:
            if body is None or (len(self._kept) >= _MOST and name not in self._kept):
                self._kept.pop(name, None)
                return None
            etag = before.etag if before is not None and before.body is body else f'"{hashlib.sha256(body).hexdigest()[:40]}"'
            more = {} if path.suffix == ".html" else ANYWHERE
            kind = FEED_JSON if name == "feed.json" else KINDS[path.suffix]
            headers = {**self.always, **more, "Content-Type": kind, "Cache-Control": BRIEFLY}
            self._kept[name] = _Kept(body, etag, list(headers.items()), changed, now)
            return self._kept[name]


def _name(path: str) -> str:
    """The file that is meant; "" for none of ours."""
    if path in _PATHS:
        return _PATHS[path]
    if found := _FILES.fullmatch(path):
        return found[1]
    return f"{found[1]}index.html" if (found := _INCIDENT.fullmatch(path)) else ""
