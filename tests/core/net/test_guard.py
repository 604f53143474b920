from __future__ import annotations

import csv
import ipaddress
import re
from pathlib import Path

import pytest

from core.net.guard import Network, refusal

VECTORS = Path(__file__).parents[4] / "shared" / "vectors" / "ssrf"


def registry_rows() -> list[tuple[Network, bool]]:
    rows: list[tuple[Network, bool]] = []
    for path in sorted(VECTORS.glob("iana-*.csv")):
        with path.open(newline="") as lines:
            for row in csv.DictReader(lines):
                blocks = re.findall(r"[0-9a-f.:]+/\d+", row["Address Block"])
                rows.extend((ipaddress.ip_network(block), row["Globally Reachable"] == "True") for block in blocks)
    return rows


def samples(network: Network) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    return [network[0], network[network.num_addresses // 2], network[-1]]


def test_every_row_of_the_registries() -> None:
    rows = registry_rows()
    if not rows:
        pytest.skip("the IANA registries are not here: ../shared/vectors/ssrf")
    assert len(rows) > 45
    for network, _ in rows:
        for address in samples(network):
            covering = [row for row in rows if address in row[0]]
            most_specific = max(covering, key=lambda row: row[0].prefixlen)
            nat64 = network == ipaddress.ip_network("64:ff9b::/96")
            reachable = most_specific[1] and not nat64  # its samples carry 0.0.0.0 and 255.255.255.255
            if nat64 and address == network[network.num_addresses // 2]:
                continue  # carries 128.0.0.0
            assert (refusal(address) is None) == reachable, address
            assert (refusal(str(address)) is None) == reachable, address


@pytest.mark.parametrize(
    "address",
    [
        *("224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1", "240.0.0.1", "255.255.255.255"),
        *("127.0.0.1", "127.127.127.127", "0.0.0.0", "0.1.2.3", "::", "::1", "::2", "169.254.169.254", "100.100.100.200", "192.0.0.192"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "2002:7f00:1::", "2002:808:808::1"),
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::e000:1", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808"),
        *("2001:0:808:808::f7f7:f7f7", "fe80::1", "fec0::1", "fd00:ec2::254", "fc00::1", "3fff::1", "5f00::1", "192.88.99.2"),
        *("4000::1", "8000::1", "e000::1", "200::1", "2001:db8::1", "198.18.0.1", "192.0.2.1", "203.0.113.9"),
    ],
)
def test_what_must_not_be_dialled(address: str) -> None:
    sentence = refusal(address)
    assert sentence is not None
    assert sentence.endswith(".")


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "192.0.0.9", "2606:4700::1111", "2001:4860:4860::8888", "64:ff9b::808:808"])
def test_what_may_be_dialled(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.01",
        "localhost",
        "127.0.0.1 ",
        "[::1]",
        "①②⑦.0.0.1",
        "1.1.1.1\n",
        "a\0",
    ],
)
def test_only_literal_addresses(text: str) -> None:
    assert refusal(text) is not None


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700::1111%1", "::1%lo"])
def test_scope_ids_are_refused_even_where_the_range_is_allowed(address: str) -> None:
    assert refusal(address, [ipaddress.ip_network("::/0")]) is not None


def test_allow_opens_only_what_it_names() -> None:
    allow = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")]
    assert refusal("10.1.2.3", allow) is None
    assert refusal("::1", allow) is None
    for still in ("127.0.0.1", "192.168.0.1", "::2", "::ffff:10.1.2.3", "2002:a01:203::", "169.254.169.254"):
        assert refusal(still, allow) is not None, still


def test_a_translator_is_judged_by_what_it_carries() -> None:
    private = [ipaddress.ip_network("10.0.0.0/8")]
    translator = [ipaddress.ip_network("64:ff9b::/96")]
    assert "10.0.0.1" in (refusal("64:ff9b::a00:1") or "")
    assert "10.0.0.1" in (refusal("64:ff9b::a00:1", private) or "")  # whose 10.0.0.1 that is, the operator did not say
    assert "10.0.0.1" in (refusal("64:ff9b::a00:1", translator) or "")
    assert refusal("64:ff9b::a00:1", [*private, *translator]) is None
    assert "127.0.0.1" in (refusal("::ffff:127.0.0.1", [ipaddress.ip_network("::/0")]) or "")
    tunnels = [ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"), ipaddress.ip_network("64:ff9b:1::/48")]
    assert refusal("2002:808:808::1", tunnels) is None
    assert "10.0.0.1" in (refusal("2002:a00:1::", tunnels) or "")
    assert "127.0.0.1" in (refusal("2001:0:808:808::80ff:fffe", tunnels) or "")  # Teredo keeps the client's address inverted
    assert refusal("2001:0:808:808::f7f7:f7f7", tunnels) is None
    assert "127.0.0.1" in (refusal("64:ff9b:1::7f00:1", tunnels) or "")


def test_the_sentence_says_what_it_is() -> None:
    assert refusal("127.0.0.1") == "127.0.0.1 is not dialled: it is a loopback address (127.0.0.0/8)."
    assert (
        refusal("64:ff9b::7f00:1") == "64:ff9b::7f00:1 is not dialled: it carries 127.0.0.1, and that is a loopback address (127.0.0.0/8)."
    )
