"""From a real sshd by the recorder that install puts onto a host to the portal's pages: the two halves fit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from werkzeug.serving import WSGIRequestHandler, make_server

from core.actions.access import trust_host
from core.store.access import Access, AccessReport, Host, hosts_there
from tests.make import NOW, TERMINAL
from tests.portal.conftest import Site
from tests.processes import eventually
from tests.recorded_host import NAME, USER, RecordedHost, need_host, recorded_host

pytestmark = pytest.mark.xdist_group("recorded host")


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@contextmanager
def served(site: Site, port: int) -> Iterator[None]:
    server = make_server("127.0.0.1", port, site.app, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def turned(host: RecordedHost, site: Site, taken: int) -> list[Access]:
    """What the portal knows when it has taken this many reports."""

    def look() -> list[Access]:
        host.turn(5)
        with site.sessions.reading() as session:
            if session.scalars(sa.select(Host)).one().taken < taken:
                return []
            return list(session.scalars(sa.select(Access).order_by(Access.id)))

    return eventually(look)


@pytest.mark.slow
def test_an_access_over_a_real_sshd_stands_on_the_portal(site: Site) -> None:
    need_host()
    with recorded_host() as host, served(site, host.portal.port):
        with site.sessions.writing() as session:
            trust_host(session, TERMINAL, name=NAME, public_key=host.portal.public_key, now=NOW)
        host.recorder.spool.next_beat(least=5_000)
        host.ssh("true", USER, reason="the disk of db-1 is full")
        (access,) = turned(host, site, 3)
        assert (access.kind, access.role, access.person, access.origin) == ("ssh", "user", USER, "127.0.0.1")
        assert (access.reason, access.ending) == ("the disk of db-1 is full", "closed")
        host.sftp()
        _, other = turned(host, site, 6)
        assert (other.kind, other.role, other.ending) == ("sftp", "administrator", "closed")
        spool = host.recorder.spool  # the host's disk is put back to what it was before all of this
        spool.number.write("0")
        spool.beats.write("0 0 0")
        for path in (spool.folder / "sent").glob("*/*.json"):
            path.unlink()
        host.again()
        host.ssh("true")
        *_, last = turned(host, site, 8)
        assert (last.kind, last.ending) == ("ssh", "closed")
        with site.sessions.reading() as session:
            assert not session.scalars(sa.select(AccessReport).where(AccessReport.lost)).all()
            (line,) = hosts_there(session)
            assert (line.lost, line.waiting, line.open) == (0, 0, 0)
