import dataclasses

import sqlalchemy as sa

from core.actions.record_observations import keep_certificates
from core.perspective import LOCAL
from core.scanner import der
from core.scanner.facts import Observation, Scan, Target, Tls
from core.scanner.verdict import judge
from core.store.db import Sessions
from core.store.observations import Certificate
from core.store.observations import Observation as Kept
from demo.pki import make_chain
from tests.make import NOW, make_actor, make_scan, make_watches, run_scans
from tests.scenes import roots_of

ARCS = "1.2" + ".4" * 58
OID = bytes([42]) + b"\x04" * 58


def element(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([128 + len(octets)]) + octets) + content


def parts(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        found.append(der.element(data, at).whole)
        at += len(found[-1])
    return found


def with_key_of_sixty_arcs(leaf: bytes) -> bytes:
    """The certificate, with a key of an algorithm that nobody knows and whose name is long."""
    body, *signature = parts(der.element(leaf).content)
    fields = parts(der.element(body).content)
    assert der.element(fields[0]).tag == der.VERSION_TAG
    fields[6] = element(der.SEQUENCE, element(der.SEQUENCE, element(der.OID, OID)), element(der.BIT_STRING, b"\0key"))
    return element(der.SEQUENCE, element(der.SEQUENCE, *fields), *signature)


def test_a_key_whose_name_is_long_is_stored_whole(sessions: Sessions) -> None:
    chain = make_chain(["a.example"], now=NOW)
    odd = with_key_of_sixty_arcs(chain.ders[0])
    verdict = judge(make_scan("a.example", {"192.0.2.1": (odd, *chain.ders[1:])}), roots_of(chain), NOW)
    with sessions.writing() as session:
        keep_certificates(session, [verdict], NOW)
    with sessions.reading() as session:
        assert session.scalars(sa.select(Certificate.key).where(Certificate.der == odd)).one() == ARCS


def test_words_that_a_server_chose_are_stored_whole(sessions: Sessions) -> None:
    chain = make_chain(["a.example"], now=NOW)
    tls = Tls("v" * 255, "c" * 255, "g" * 255, "a" * 255)  # a protocol's name has at most 255 octets (RFC 7301 section 3.1)
    scan = Scan(Target("a.example"), NOW, (), (Observation("192.0.2.1", LOCAL, None, tls, chain.ders),))
    with sessions.writing() as session:
        make_watches(session, make_actor(session), "a.example")
    with sessions.writing() as session:
        run_scans(session, lambda _: scan, roots=roots_of(chain))
    with sessions.reading() as session:
        kept = session.scalars(sa.select(Kept)).one()
        assert (kept.tls_version, kept.tls_cipher, kept.tls_group, kept.tls_alpn) == dataclasses.astuple(tls)
