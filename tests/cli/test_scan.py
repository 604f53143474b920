from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from cli.main import main
from demo.pki import Chain, Forged, make_chain, make_leaf, make_root
from tests.dnsserver import bind9, stub_dns
from tests.servers import Server, raw_server, send, silent, tls_server
from tests.starttls_servers import upgrading

NAME = "one.kc.test"
KEYS = ["name", "port", "starttls", "scanned_at", "addresses"]
ADDRESS_KEYS = ["address", "perspective", "key_asked", "failure", "tls", "leaf", "chain", "verified", "findings"]
LEAF_KEYS = ["sha256", "subject", "issuer", "sans", "not_before", "not_after", "key", "serial"]
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
def resolver() -> Iterator[str]:
    with bind9({"kc.test": "one A 127.0.0.1\ntwo A 127.0.0.1\ntwo A 127.0.0.2\nsix AAAA ::1"}) as address:
        yield address


@pytest.fixture(scope="module")
def root() -> Forged:
    return make_root()


@pytest.fixture(scope="module")
def chain(root: Forged) -> Chain:
    return make_chain([NAME, "two.kc.test"], root=root, eku=["serverAuth"])


@pytest.fixture(scope="module")
def good(chain: Chain) -> Iterator[Server]:
    with tls_server(chain.pem, chain.key_pem, alpn=[b"h2"]) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Forged, resolver: str) -> None:
    (tmp_path / "root.pem").write_bytes(root.pem)
    monkeypatch.setenv("KEYCHEST_EXTRA_ROOTS", str(tmp_path / "root.pem"))
    monkeypatch.setenv("KEYCHEST_RESOLVERS", resolver)
    monkeypatch.setenv("KEYCHEST_SCAN_ALLOW", "127.0.0.0/8,::1/128")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["scan", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, err = run(capsys, *arguments, "--json")
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    assert list(found) == KEYS
    assert RFC3339.fullmatch(found["scanned_at"])
    for address in found["addresses"]:
        assert list(address) == ADDRESS_KEYS
        assert (address["failure"] is None) == (address["tls"] is not None) == bool(address["chain"])
    return code, found


def test_a_good_server(capsys: pytest.CaptureFixture[str], good: Server, chain: Chain) -> None:
    code, found = run_json(capsys, f"{NAME}:{good.port}")
    assert (code, found["name"], found["port"], found["starttls"]) == (0, NAME, good.port, None)
    (address,) = found["addresses"]
    assert address["verified"] is True
    assert [finding for finding in address["findings"] if finding["status"] == "error"] == []
    assert address["chain"] == [chain.leaf.sha256, chain.intermediates[0].sha256]
    assert address["tls"] == {"version": "TLSv1.3", "cipher": address["tls"]["cipher"], "group": "X25519MLKEM768", "alpn": "h2"}
    leaf = address["leaf"]
    assert list(leaf) == LEAF_KEYS
    assert (leaf["sha256"], leaf["sans"], leaf["key"]) == (chain.leaf.sha256, [NAME, "two.kc.test"], "EC P-256")
    assert leaf["serial"] == f"{chain.leaf.certificate.serial_number:x}"
    assert leaf["not_after"] == chain.leaf.certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert RFC3339.fullmatch(leaf["not_before"])


@pytest.mark.slow
def test_a_wrong_name_is_an_error(capsys: pytest.CaptureFixture[str], root: Forged) -> None:
    other = make_chain(["other.example"], root=root)
    with tls_server(other.pem, other.key_pem) as server:
        code, found = run_json(capsys, f"{NAME}:{server.port}")
    (address,) = found["addresses"]
    assert code == 1
    assert address["verified"] is False
    errors = [finding for finding in address["findings"] if finding["status"] == "error"]
    assert "CERT-NAME" in {finding["check"] for finding in errors}
    assert list(errors[0]) == ["check", "severity", "status", "message"]


def test_one_of_two_addresses_that_fails_is_exit_1(capsys: pytest.CaptureFixture[str], good: Server) -> None:
    code, found = run_json(capsys, f"two.kc.test:{good.port}")
    assert code == 1
    assert [(address["address"], address["failure"] and address["failure"]["kind"]) for address in found["addresses"]] == [
        ("127.0.0.1", None),
        ("127.0.0.2", "refused"),
    ]


def test_ipv6_and_a_fixed_address(capsys: pytest.CaptureFixture[str], chain: Chain, good: Server) -> None:
    code, found = run_json(capsys, f"two.kc.test:{good.port}", "--address", "127.0.0.1")
    assert (code, [address["address"] for address in found["addresses"]]) == (0, ["127.0.0.1"])
    with tls_server(chain.pem, chain.key_pem, address="::1") as server:
        code, found = run_json(capsys, f"{NAME}:{server.port}", "--address", "[::1]")
        assert (code, [address["address"] for address in found["addresses"]]) == (0, ["::1"])
        assert run_json(capsys, f"six.kc.test:{server.port}")[0] == 1  # the name is not in this certificate


@pytest.mark.parametrize(
    ("name", "kind", "stage"),
    [("nothing.kc.test", "no_such_name", "dns"), ("kc.test", "no_address", "dns"), ("else.example", "dns_error", "dns")],
)
def test_no_certificate_is_exit_2_and_the_json_is_printed(capsys: pytest.CaptureFixture[str], name: str, kind: str, stage: str) -> None:
    code, found = run_json(capsys, name)
    assert code == 2
    (address,) = found["addresses"]
    assert (address["failure"]["kind"], address["failure"]["stage"]) == (kind, stage)
    assert (address["address"], address["leaf"], address["verified"], address["findings"]) == ("", None, False, [])


def test_a_private_address_is_refused_unless_it_is_allowed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEYCHEST_SCAN_ALLOW")
    with raw_server(silent) as server:
        code, found = run_json(capsys, f"{NAME}:{server.port}")
        assert server.connections == 0
    assert code == 2
    assert found["addresses"][0]["failure"]["kind"] == "refused_address"
    with raw_server(silent) as server:
        _, table, _ = run(capsys, f"{NAME}:{server.port}")
    assert "Name the range in KEYCHEST_SCAN_ALLOW to dial it." in table


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "NAME"),
        (["a b.example"], "space"),
        (["a.example:0"], "out of range"),
        (["a.example:99999"], "out of range"),
        (["127.0.0.1"], "IP address"),
        (["*.example"], "wildcard"),
        (["a" * 300], "300 characters"),
        (["a\u202eb.example"], "U+202E"),
        ([""], "no name"),
        ([NAME, "--address", "localhost"], "--address"),
        ([NAME, "--address", "1.2.3"], "--address"),
        ([NAME, "--nonsense"], "--nonsense"),
        (["-x.example"], "begins with a letter or a digit"),
        (["--x.example", "--json"], "begins with a letter or a digit"),
        ([NAME, "another.example"], "another.example"),
    ],
)
def test_bad_arguments_are_exit_64_with_a_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (64, "")
    assert says in err
    assert "Traceback" not in err


def test_settings_that_cannot_be_used_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCHEST_EXTRA_ROOTS", "not-there.pem")
    code, out, err = run(capsys, NAME)
    assert (code, out) == (78, "")
    assert "KEYCHEST_EXTRA_ROOTS" in err


def test_the_table_says_what_the_json_says(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, good: Server) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = run(capsys, f"two.kc.test:{good.port}")
    assert code == 1
    for said in ("two.kc.test", "127.0.0.1", "✓ verified", "TLSv1.3", "X25519MLKEM768", "EC P-256", "days left", "Nothing listens on port"):
        assert said in out
    assert "1 of 2 addresses failed" in out
    code, out, _ = run(capsys, f"{NAME}:{good.port}")
    assert code == 0
    assert "error" not in out


def test_hostile_text_does_not_reach_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    hostile = make_leaf([NAME, *(f"n{number}.example" for number in range(1_000))], organisation="[red]\x1b[31m\u202eevil[/red]\nline")
    with tls_server(hostile.pem, hostile.key_pem) as server:
        code, out, _ = run(capsys, f"{NAME}:{server.port}")
    assert code == 1
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "U+202E" in out
    assert "[red]" in out
    assert "993 more" in out


def test_what_is_not_tls_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with raw_server(send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        code, out, _ = run(capsys, f"{NAME}:{server.port}")
    assert code == 2
    assert "HTTP without TLS" in out
    assert "No address gave a certificate." in out


@pytest.mark.slow
def test_as_a_program_of_its_own(good: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "scan", f"https://{NAME.upper()}.:{good.port}/path", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["name"] == NAME


@pytest.mark.parametrize(("rcode", "told"), [(RCODE.SERVFAIL, True), (RCODE.NOERROR, False)])
def test_the_table_says_when_there_may_be_more_addresses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, good: Server, rcode: int, told: bool
) -> None:
    def answer(request: DNSRecord) -> DNSRecord:
        record = request.reply()
        if request.q.qtype == QTYPE.A:
            record.add_answer(RR(NAME, QTYPE.A, rdata=A("127.0.0.1")))
        else:
            record.header.rcode = rcode
        return record

    with stub_dns(answer) as stub:
        monkeypatch.setenv("KEYCHEST_RESOLVERS", stub.resolver)
        code, out, _ = run(capsys, f"{NAME}:{good.port}")
    assert (code, "may have more addresses" in out) == (0, told)


@pytest.mark.slow
def test_starttls_is_spoken_as_asked_or_as_the_port_says(capsys: pytest.CaptureFixture[str], chain: Chain) -> None:
    with upgrading("imap", chain.pem, chain.key_pem) as server:
        code, found = run_json(capsys, f"{NAME}:{server.port}", "--starttls", "imap", "--address", "127.0.0.1")
        assert (code, found["starttls"], found["addresses"][0]["verified"]) == (0, "imap", True)
        code, found = run_json(capsys, f"{NAME}:{server.port} imap", "--address", "127.0.0.1")
        assert (code, found["starttls"]) == (0, "imap")
        code, out, _ = run(capsys, f"{NAME}:{server.port}", "--starttls", "imap", "--address", "127.0.0.1")
        assert code == 0
        assert "IMAP with STARTTLS" in out
        code, found = run_json(capsys, f"{NAME}:{server.port}", "--starttls", "smtp", "--address", "127.0.0.1")
    assert (code, found["addresses"][0]["failure"]["kind"], found["addresses"][0]["failure"]["stage"]) == (2, "not_tls", "starttls")
