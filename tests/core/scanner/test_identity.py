"""RFC 9525 names, against four projects' tables. Where they disagree, the reason stands here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.scanner.identity import name_matches
from tests.vectors import VECTORS, needs

CN = "CN is not read (RFC 9525 section 2)"
ADDRESS = "an IP address is no dNSName (RFC 9525 section 6.2)"
FINAL_DOT = "a presented name with a final dot is malformed (RFC 5280 section 4.2.1.6)"
NO_HOST = "the reference is no host name"
KNOWN = {  # (source, presented, reference) that we judge otherwise, and why
    ("curl:unit1397", "ÿ", "ÿ"): NO_HOST,
    ("curl:unit1397", "192.168.0.1", "192.168.0.1"): ADDRESS,
    ("curl:unit1397", "fe80::3285:a9ff:fe46:b619", "fe80::3285:a9ff:fe46:b619"): ADDRESS,
    ("curl:unit1397", "*.e.llo", " h.e.llo"): NO_HOST,
    ("curl:unit1397", "*.e.llo", "*.e.llo."): NO_HOST,
    ("curl:unit1397", "*.e.llo", "************.e.llo."): NO_HOST,
    ("curl:unit1397", "*.e.llo", "þþ.e.llo."): NO_HOST,
    ("curl:unit1397", "*.e.llo.", "h.e.llo."): FINAL_DOT,
    ("curl:unit1397", "*.e.llo.", "h.e.llo"): FINAL_DOT,
    ("boringssl:x509_test#6", "CN:a.example|*.b.example", "a.example"): CN,
    ("boringssl:x509_test#6", "CN:a.example|*.b.example", "A.EXAMPLE"): CN,
    ("boringssl:x509_test#15", "CN:a.example", "a.example"): CN,
}
OTHER_QUESTIONS = ("CONSTRAINT", "INTERSECTION", "NO_WILDCARDS", "invalidSAN")


def rows() -> list[dict[str, Any]]:
    path = VECTORS / "names" / "hostname_vectors.json"
    return json.loads(path.read_text()) if path.is_file() else []


def long_label(host: str) -> bool:
    return any(len(label) > 63 for label in host.split("."))


@needs("names")
def test_four_projects_tables_agree_but_for_known_reasons() -> None:
    differ = {}
    asked = [row for row in rows() if not any(word in row["source"] for word in OTHER_QUESTIONS) and not long_label(row["host"])]
    for row in asked:
        presented = [name for name in row["pattern"].split("|") if not name.startswith("CN:")]
        if name_matches(presented, row["host"]) != (row["expect"] == "match"):
            differ[row["source"], row["pattern"], row["host"]] = row
    assert set(differ) == set(KNOWN)
    assert len(asked) > 200


@needs("names")
def test_openssls_pairs_agree_except_for_names_that_are_no_hosts() -> None:
    table = json.loads((VECTORS / "names" / "openssl_v3nametest.json").read_text())
    table = table.get("source", table)
    pairs = {(presented, wanted) for presented in table["names"] for wanted in table["names"] if name_matches([presented], wanted)}
    hosts = {name for name in table["names"] if name_matches([name], name)}
    assert {tuple(pair) for pair in table["non_identical_pairs_that_match"]} == {
        pair for pair in pairs if pair[0] != pair[1] and pair[1][-1] != "."
    }
    assert hosts == {
        name for name in table["names"] if name.strip(".*@-") == name and "*" not in name and "@" not in name and "-." not in name
    }


@pytest.mark.parametrize(
    ("sans", "name", "matches"),
    [
        (["www.example.com"], "WWW.Example.COM", True),
        (["WWW.EXAMPLE.COM"], "www.example.com", True),
        (["www.example.com"], "www.example.com.", True),
        (["*.example.com"], "www.example.com", True),
        (["*.example.com"], "example.com", False),
        (["*.example.com"], "a.b.example.com", False),
        (["*.example.com"], "xn--bcher-kva.example.com", True),
        (["xn--bcher-kva.example"], "xn--bcher-kva.example", True),
        (["w*.example.com"], "www.example.com", False),
        (["*.com"], "example.com", False),
        (["my_host.example.com"], "my_host.example.com", True),
        (["192.0.2.1"], "192.0.2.1", False),
        (["*.0.2.1"], "192.0.2.1", False),
        (["\u212aeychest.example"], "keychest.example", False),
        (["www.example.com\\x00.evil.example"], "www.example.com", False),
        ([], "www.example.com", False),
        ([""], "", False),
        (["a.example", "b.example"], "b.example", True),
    ],
)
def test_rfc_9525(sans: list[str], name: str, matches: bool) -> None:
    assert name_matches(sans, name) is matches
