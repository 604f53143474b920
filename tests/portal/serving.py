"""The portal on a real port, served by waitress as in an installation, in a thread of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import waitress.server  # type: ignore[import-untyped]  # it has no types
from flask import Flask


@contextmanager
def serving(app: Flask, *, threads: int = 4) -> Iterator[str]:
    """The address at which the application answers, until the block ends.

    Its sockets are closed by the thread that waits for them: closed by another one, that thread would stumble over them.
    """
    server = waitress.server.create_server(app, host="127.0.0.1", port=0, threads=threads)
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            server.asyncore.loop(timeout=0.1, map=server._map, count=1)
        server.task_dispatcher.shutdown()
        for each in list(server._map.values()):
            each.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.effective_port}"
    finally:
        done.set()
        thread.join(10)
        assert not thread.is_alive()
