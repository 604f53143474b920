"""Turning a scanner against its own network (threats D1, D2, D3, D5): refused before anything is dialled, however it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from dnslib import AAAA, CNAME, QTYPE, RR, A, DNSRecord

from core.net.guard import Network
from core.net.lists import read_target
from core.net.names import NameRefused, read_name
from core.scanner.facts import FailureKind, Scan, Stage, Target
from core.scanner.path import Roots
from core.scanner.scan import Outlook, scan_all, scan_target
from core.scanner.verdict import judge
from demo.pki import make_chain, make_root
from tests.core.net.test_guard import registry_rows, samples
from tests.dialled import Asked, dialled
from tests.dnsserver import stub_dns
from tests.servers import Server, raw_server, silent, tls_server
from tests.vectors import VECTORS, needs

OUTSIDE: Final = (ipaddress.ip_network("127.0.0.2/32"), ipaddress.ip_network("::1/128"))
"""What stands for the Internet here. 127.0.0.1 is inside, as it always is."""
INSIDE: Final = (
    "127.0.0.1", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.100.100.200", "192.0.0.192",
    "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::1",
    "2001:0:808:808::80ff:fffe", "224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255", "fec0::1",
)  # fmt: skip

AT_ONCE: Final = 20
"""Hundreds of names are asked for, of a DNS in this very process: all at once, a busy machine would be late with some answers."""


def now() -> datetime:
    return datetime.now(UTC)


def records_of(name: str, *literals: str, ttl: int = 0) -> list[RR]:
    """A or AAAA for each."""
    made: list[RR] = []
    for literal in map(ipaddress.ip_address, literals):
        data = A(str(literal)) if literal.version == 4 else AAAA(tuple(literal.packed))
        made.append(RR(name, QTYPE.A if literal.version == 4 else QTYPE.AAAA, ttl=ttl, rdata=data))
    return made


def reply(request: DNSRecord, found: Sequence[RR]) -> DNSRecord:
    """Those of the records that were asked for, and all CNAMEs."""
    record = request.reply()
    for each in found:
        if each.rtype in {request.q.qtype, QTYPE.CNAME}:
            record.add_answer(each)
    return record


@dataclass(frozen=True)
class Inside:
    """A port on which 127.0.0.1 and ::1 listen, and that nobody may reach."""

    four: Server
    six: Server

    @property
    def port(self) -> int:
        return self.four.port

    @property
    def connections(self) -> int:
        return self.four.connections + self.six.connections


@pytest.fixture
def inside() -> Iterator[Inside]:
    with raw_server(silent) as four, raw_server(silent, "::1", four.port) as six:
        yield Inside(four, six)


def scanned(targets: Sequence[Target], resolver: str = "", allow: Sequence[Network] = ()) -> tuple[dict[Target, Scan], list[Asked]]:
    """All of these, and what was dialled meanwhile."""

    async def run() -> dict[Target, Scan]:
        wanted = [(target, target, allow) for target in targets]
        return {
            target: scan async for target, scan in scan_all(wanted, Outlook((resolver,) if resolver else ()), now=now, in_flight=AT_ONCE)
        }

    with dialled() as asked:
        return asyncio.run(run()), asked


def assert_refused(scans: dict[Target, Scan], asked: list[Asked]) -> None:
    for target, scan in scans.items():
        told = {(each.failure.kind, each.failure.stage) if each.failure else None for each in scan.observations}
        assert told == {(FailureKind.REFUSED_ADDRESS, Stage.GUARD)}, target
    assert asked == []


def denied() -> list[str]:
    """The first, a middle and the last address of every block that is not globally reachable, and other ways inside."""
    rows = registry_rows()
    found: list[str] = []
    for network, _ in rows:
        for address in samples(network):
            _, reachable = max((row for row in rows if address in row[0]), key=lambda row: row[0].prefixlen)
            found += [] if reachable else [str(address)]
    return [*found, *INSIDE]


@pytest.mark.slow
@needs("ssrf")
@pytest.mark.parametrize("told_by", ["the DNS", "the list"])
def test_no_address_of_a_special_block_is_dialled(inside: Inside, told_by: str) -> None:
    literals = dict(enumerate(dict.fromkeys(denied())))
    assert len(literals) > 100
    assert {ipaddress.ip_address(literal).version for literal in literals.values()} == {4, 6}
    with stub_dns(lambda request: reply(request, records_of(str(request.q.qname), literals[int(str(request.q.qname)[1:-6])]))) as stub:
        fixed = told_by == "the list"
        targets = [Target(f"n{number}.test", inside.port, "", literal if fixed else "") for number, literal in literals.items()]
        scans, asked = scanned(targets, stub.resolver)
        assert bool(stub.asked) != fixed
    assert_refused(scans, asked)
    assert inside.connections == 0


@pytest.mark.slow
@needs("ssrf")
def test_no_hostile_line_leads_inside(inside: Inside) -> None:
    """Each line is refused as it is read, or the name in it as soon as the DNS leads inside. None is read as an address."""
    lines = (VECTORS / "ssrf" / "urls.txt").read_text().splitlines()
    read: dict[str, str] = {}
    for line in filter(None, [*lines, *(line.partition("://")[2].partition("/")[0] for line in lines)]):
        for reader in (read_name, read_target):
            with contextlib.suppress(NameRefused):
                read[reader(line).name] = INSIDE[len(read) % len(INSIDE)]
    assert len(lines) > 200
    assert len(read) > 40
    for name in read:
        with pytest.raises(OSError, match="illegal IP address"):
            socket.inet_aton(name)  # as getaddrinfo would: 127.1, 0x7f.1, 2130706433
    with stub_dns(lambda request: reply(request, records_of(str(request.q.qname), read[str(request.q.qname).rstrip(".")]))) as stub:
        scans, asked = scanned([Target(name, inside.port) for name in read], stub.resolver)
    assert_refused(scans, asked)
    assert inside.connections == 0


@pytest.mark.parametrize(
    "spelt", ["127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "0", "127.0.0.1.", "①②⑦.⓪.⓪.①"]
)
def test_no_spelling_of_loopback_is_read_or_dialled(inside: Inside, spelt: str) -> None:
    for line in (spelt, f"https://{spelt}/", f"http://{spelt}:{inside.port}/", f"{spelt} smtp"):
        with pytest.raises(NameRefused):
            read_target(line)
    assert_refused(*scanned([Target("a.test", inside.port, "", spelt)]))
    assert inside.connections == 0


@pytest.mark.parametrize("via", ["b.test", "localhost", "127.0.0.1", "metadata.google.internal"])
def test_an_alias_that_leads_inside_is_refused(inside: Inside, via: str) -> None:
    def answer(request: DNSRecord) -> DNSRecord:
        return reply(request, [RR("a.test", QTYPE.CNAME, rdata=CNAME(via)), *records_of(via, "127.0.0.1", "::1")])

    with stub_dns(answer) as stub:
        scans, asked = scanned([Target("a.test", inside.port)], stub.resolver)
    assert_refused(scans, asked)
    assert [scan.cname_chain for scan in scans.values()] == [(via,)]
    assert inside.connections == 0


@pytest.mark.parametrize(
    "literals",
    [
        ("127.0.0.2", "127.0.0.1"), ("127.0.0.2", "10.0.0.1", "127.0.0.2"), ("::1", "127.0.0.1"), ("127.0.0.2", "fe80::1"),
        ("127.0.0.2", "::ffff:127.0.0.1"), ("127.0.0.2", "::1", "64:ff9b::a9fe:a9fe"),
    ],
)  # fmt: skip
def test_one_denied_address_refuses_the_whole_name(inside: Inside, literals: tuple[str, ...]) -> None:
    with stub_dns(lambda request: reply(request, records_of("a.test", *literals))) as stub:
        scans, asked = scanned([Target("a.test", inside.port)], stub.resolver, OUTSIDE)
    assert_refused(scans, asked)
    assert {each.address for scan in scans.values() for each in scan.observations} == {str(ipaddress.ip_address(each)) for each in literals}
    assert inside.connections == 0


def test_the_second_dial_of_a_scan_goes_where_the_first_went() -> None:
    """Rebinding between two dials: a server that knows none of our protocols is dialled again, and nobody is asked again."""
    answers = iter(["127.0.0.2"])
    chain = make_chain(["a.test"])
    with (
        stub_dns(
            lambda request: reply(request, records_of("a.test", next(answers, "127.0.0.1")) if request.q.qtype == QTYPE.A else [])
        ) as stub,
        tls_server(chain.pem, chain.key_pem, address="127.0.0.2", alpn=[b"smtp"]) as outside,
        raw_server(silent, port=outside.port) as within,
    ):
        target = Target("a.test", outside.port)
        scans, asked = scanned([target], stub.resolver, OUTSIDE)
        assert [each.chain for each in scans[target].observations] == [chain.ders]
        assert asked == [("connect", "127.0.0.2", outside.port)] * 2
        assert sorted(stub.asked) == [("a.test", "A"), ("a.test", "AAAA")]
        assert_refused(*scanned([target], stub.resolver, OUTSIDE))
        assert within.connections == 0


def test_a_name_that_turns_inside_within_a_batch_is_not_asked_again() -> None:
    """TTL 0, and another answer every time: all targets of a batch see the first one."""
    answers = iter(["127.0.0.2"])
    chain = make_chain(["a.test"])
    with (
        stub_dns(
            lambda request: reply(request, records_of("a.test", next(answers, "127.0.0.1")) if request.q.qtype == QTYPE.A else [])
        ) as stub,
        tls_server(chain.pem, chain.key_pem, address="127.0.0.2") as outside,
        raw_server(silent, port=outside.port) as within,
    ):
        targets = [Target("a.test", outside.port), Target("a.test", outside.port + 1), Target("a.test", outside.port, "postgres")]
        scans, asked = scanned(targets, stub.resolver, OUTSIDE)
        assert len(stub.asked) == 2
        assert [each.chain for each in scans[targets[0]].observations] == [chain.ders]
        assert {address for _, address, _ in asked} == {"127.0.0.2"}
        assert within.connections == 0


def test_inside_an_open_a_closed_and_a_silent_port_look_the_same(inside: Inside) -> None:
    """D3: what is refused is refused before a port is touched, so neither words nor time tell what listens there."""
    with socket.socket() as full, raw_server(silent) as gone:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        ports = [inside.port, full.getsockname()[1], gone.port]
    for literal in ("127.0.0.1", "::1", "10.0.0.1"):
        scans, asked = scanned([Target("a.test", port, "", literal) for port in ports])
        assert asked == []
        assert len({scan.observations for scan in scans.values()}) == 1
    assert inside.connections == 0


def speaking_certificate(port: int) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(f"http://127.0.0.1:{port}/")


def test_no_address_inside_a_certificate_is_followed() -> None:
    """D5: the chain is cut short and its leaf says where the rest would be, where its status is, and what the policy says."""
    with raw_server(silent) as listener:
        uri = speaking_certificate(listener.port)
        kinds = (AuthorityInformationAccessOID.CA_ISSUERS, AuthorityInformationAccessOID.OCSP)
        practice = x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.2.1"), [str(uri.value)])
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.AuthorityInformationAccess([x509.AccessDescription(kind, uri) for kind in kinds]), False),
            (x509.CRLDistributionPoints([x509.DistributionPoint([uri], None, None, None)]), False),
            (x509.FreshestCRL([x509.DistributionPoint([uri], None, None, None)]), False),
            (x509.CertificatePolicies([practice]), False),
            (x509.TLSFeature([x509.TLSFeatureType.status_request]), False),
        ]
        chain = make_chain(["a.test"], eku=[ExtendedKeyUsageOID.SERVER_AUTH.dotted_string], extensions=extensions)
        with tls_server(chain.leaf.pem, chain.key_pem) as server, dialled() as asked:
            target = Target("a.test", server.port, "", "127.0.0.1")
            allow = (ipaddress.ip_network("127.0.0.0/8"),)
            scan = asyncio.run(scan_target(target, Outlook(), allow=allow, now=now))
            verdict = judge(scan, Roots.of([make_root().certificate, chain.root.certificate]), now() + timedelta(seconds=1))
        (address,) = verdict.addresses
        assert address.leaf is not None
        assert address.leaf.aia_ca_issuers == address.leaf.ocsp_urls == address.leaf.crl_urls == (str(uri.value),)
        assert [each.check for each in address.findings]
        assert asked == [("connect", "127.0.0.1", server.port)]
        assert listener.connections == 0
