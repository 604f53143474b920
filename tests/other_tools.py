"""What sslscan and testssl.sh say of one server, read from their reports into the words in which our own facts are compared.

SSLSCAN.look(server, folder) == {"certificate": "shown", "sha256": "…", …}     # facts that a tool does not tell are absent

Both dial the server's address alone. testssl.sh would ask the machine's DNS for "invalid." some thirty times while it finds out what its
OpenSSL can do: NXCONNECT has it dial a closed port of this machine instead. Reports: sslscan's --xml, testssl.sh's --jsonfile.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from core.scanner.facts import sha256
from core.scanner.verdict import JudgedObservation
from tests.demonstration import Server

Facts = Mapping[str, str]
NONE_SHOWN: Final = "none"
_SECONDS, _MINUTES = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"
_VERSIONS: Final = {"1.0": "TLSv1", "1.1": "TLSv1.1", "1.2": "TLSv1.2", "1.3": "TLSv1.3"}
_SIGNATURES: Final = {
    "ECDSA with SHA256": "ecdsa-with-SHA256",
    "SHA256 with RSA": "sha256WithRSAEncryption",
    "SHA1 with RSA": "sha1WithRSAEncryption",
}
_HUNG_UP: Final = "<error><![CDATA[send() failed: "
"""sslscan sends its first words in three parts. At a server that hangs up between them it ends, with a report that is not closed."""
_NO_NAMES: Final = "Providing no SAN is deprecated"
_CHAINS: Final = {
    "passed.": "trusted",
    "failed (expired).": "expired",
    "failed (not yet valid).": "not_yet_valid",
    "failed (self signed).": "self_signed",
    "failed (self signed CA in chain).": "untrusted_root",
    "failed (chain incomplete).": "missing_intermediate",
    "failed (unsupported certificate purpose).": "wrong_use",
}
"""testssl.sh's words for why a chain is not trusted, in ours (core.scanner.diagnosis.PathTrouble)."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that looks at servers. `upgrades`: whose STARTTLS it speaks; `chance`: of which labels it says what by chance."""

    program: str
    upgrades: frozenset[str]
    chance: frozenset[str]
    words: Callable[[Server, Path], Sequence[str]]
    read: Callable[[Path], Facts]
    within_s: float

    @property
    def missing(self) -> str:
        """Why it cannot be asked, "" if it can."""
        return "" if shutil.which(self.program) else f"{self.program} is not installed; ./keychest test installs it as root"

    def may_be_asked(self, server: Server) -> bool:
        """Whether an answer means anything."""
        return server.upgrade in self.upgrades and server.label not in self.chance

    def version(self) -> str:
        """Like "3.0.8": their words differ from one to the next."""
        said = subprocess.run(
            [self.program, "--version"], env=_environment(Path("/tmp")), capture_output=True, text=True, timeout=60, check=False
        )
        found = re.search(r"\d+\.\d+\.\d+", said.stdout)
        assert found, said
        return found[0]

    def look(self, server: Server, folder: Path) -> Facts:
        """Its report on one server. Raises AssertionError when it wrote none in its time."""
        report, said = (folder / f"{self.program}-{server.address}.{what}" for what in ("report", "log"))
        with said.open("wb") as log:
            _run([self.program, *self.words(server, report)], log.fileno(), folder, self.within_s)
        assert report.exists(), said.read_text()
        return self.read(report)


def _run(words: Sequence[str], log: int, folder: Path, within_s: float) -> None:
    """The program to its end, or to the end of its time: then with all that it started.

    It ignores SIGPIPE as Python does: sslscan would die of a server that hangs up on it, and write nothing.
    """
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=folder,
        env=_environment(folder),
        start_new_session=True,
        restore_signals=False,
    )
    try:
        process.wait(within_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(home: Path) -> Mapping[str, str]:
    loopback = {"NXCONNECT": "127.0.0.1:1", "NO_ENGINE": "true", "MAX_WAITSOCK": "5", "STARTTLS_SLEEP": "5"}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C", "TZ": "UTC", "TERM": "dumb"} | loopback


def our_facts(seen: JudgedObservation) -> Facts:
    """Ours, each by the name under which a tool's is compared with it."""
    leaf, tls, path = seen.leaf, seen.observation.tls, seen.path
    if leaf is None or tls is None or path is None or leaf.not_before is None or leaf.not_after is None:
        return {"certificate": NONE_SHOWN, "version": tls.version if tls else ""}
    found = {finding.check for finding in seen.findings}
    return {
        "certificate": "shown",
        "sha256": leaf.sha256,
        "serial": leaf.serial or "",
        "CN": leaf.subject_cn or "",
        "names": " ".join(sorted(leaf.sans)),
        "begins": f"{leaf.not_before:{_SECONDS}}",
        "ends": f"{leaf.not_after:{_SECONDS}}",
        "begins, to the minute": f"{leaf.not_before:{_MINUTES}}",
        "ends, to the minute": f"{leaf.not_after:{_MINUTES}}",
        "key": f"{leaf.key_kind} {leaf.key_bits}",
        "signature": leaf.signature or "",
        "version": tls.version,
        "ended": _yes("CERT-EXPIRED" in found),
        "self-signed": _yes("CERT-SELF-SIGNED" in found),
        "chain": "trusted" if path.path or path.trouble is None else path.trouble.value,
        "name matches": _yes(not found & {"CERT-NAME", "CERT-NOSAN"}),
        "certificates": str(len(seen.chain)),
        "out of order": _yes("CERT-CHAIN-ORDER" in found),
    }


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _sslscan_words(server: Server, report: Path) -> Sequence[str]:
    only = [f"--no-{what}" for what in ("ciphersuites", "fallback", "heartbleed", "renegotiation", "compression", "groups")]
    upgrade = [f"--starttls-{server.upgrade}"] if server.upgrade else []
    told = [f"--xml={report}", f"--sni-name={server.name}", "--show-certificate", "--no-colour", "--timeout=2"]
    return [*told, *only, *upgrade, f"{server.address}:{server.port}"]


def _sslscan_facts(report: Path) -> Facts:
    text = report.read_text()
    if _HUNG_UP in text:
        return {"certificate": NONE_SHOWN, "version": ""}
    told = ET.fromstring(text)
    whole, short = told.find(".//certificate[@type='full']"), told.find(".//certificate[@type='short']")
    versions = [_VERSIONS[each.get("version", "")] for each in told.iter("protocol") if each.get("enabled") == "1"]
    version = max(versions, default="")
    if whole is None or short is None:
        return {"certificate": NONE_SHOWN, "version": version}
    key = short.find("pk")
    kind = key.get("type", "") if key is not None else ""
    bits = whole.findtext("pk", "").partition("Public-Key: (")[2].partition(" bit")[0]
    return {
        "certificate": "shown",
        "sha256": sha256(ssl.PEM_cert_to_DER_cert(whole.findtext("certificate-blob", "").strip())),
        "serial": _serial(whole.findtext("serial", "").replace(":", "")),
        "CN": short.findtext("subject", ""),
        "names": _names(short.findtext("altnames", "").replace("DNS:", "").replace(",", " ")),
        "begins": _instant(short.findtext("not-valid-before", "")),
        "ends": _instant(short.findtext("not-valid-after", "")),
        "key": f"{kind} {bits}".strip(),
        "signature": short.findtext("signature-algorithm", ""),
        "version": version,
        "ended": {"true": "yes", "false": "no"}[short.findtext("expired", "")],
        "self-signed": {"true": "yes", "false": "no"}[short.findtext("self-signed", "")],
    }


def _serial(hexadecimal: str) -> str:
    return f"{int(hexadecimal, 16):x}"


def _names(told: str) -> str:
    return " ".join(sorted(told.split()))


def _instant(told: str) -> str:
    return f"{datetime.fromtimestamp(ssl.cert_time_to_seconds(told), UTC):{_SECONDS}}"


def _testssl_words(server: Server, report: Path) -> Sequence[str]:
    outside = ["--nodns", "none", "--ip", server.address, "--connect-timeout", "3", "--openssl-timeout", "5"]
    upgrade = ["--starttls", server.upgrade] if server.upgrade else []
    told = ["--quiet", "--color", "0", "--warnings", "off", "--jsonfile", str(report), "--add-ca", str(server.root)]
    return [*told, *outside, *upgrade, "--protocols", "--server-defaults", f"{server.name}:{server.port}"]


def _testssl_facts(report: Path) -> Facts:
    """Of two certificates, the RSA one's facts are those of the other key, as it is with us where a server prefers ECDSA."""
    told = {each["id"]: each["finding"] for each in json.loads(report.read_text())}
    if "cert_keySize <cert#1>" not in told:
        return _testssl_leaf(told)
    rsa, ecdsa = (1, 2) if told["cert_keySize <cert#1>"].startswith("RSA") else (2, 1)
    leaves = {
        number: _testssl_leaf({name.removesuffix(f" <cert#{number}>"): finding for name, finding in told.items()})
        for number in (rsa, ecdsa)
    }
    return {**leaves[ecdsa], **{other_key(fact): value for fact, value in leaves[rsa].items()}}


def other_key(fact: str) -> str:
    """The name of a fact about the certificate of the other kind of key."""
    return f"{fact}, other key"


def _testssl_leaf(told: Mapping[str, str]) -> Facts:
    offered = {"TLS1": "TLSv1", "TLS1_1": "TLSv1.1", "TLS1_2": "TLSv1.2", "TLS1_3": "TLSv1.3"}
    version = max((version for name, version in offered.items() if told.get(name, "").startswith("offered")), default="")
    if "cert_fingerprintSHA256" not in told:
        return {"certificate": NONE_SHOWN, "version": version}
    return {
        "certificate": "shown",
        "sha256": told["cert_fingerprintSHA256"].lower(),
        "serial": _serial(told["cert_serialNumber"]),
        "CN": told["cert_commonName"],
        "names": _names(told["cert_subjectAltName"].replace(_NO_NAMES, "")),
        "begins, to the minute": told["cert_notBefore"],
        "ends, to the minute": told["cert_notAfter"],
        "key": told["cert_keySize"].removesuffix(" bits"),
        "signature": _SIGNATURES.get(told["cert_signatureAlgorithm"], told["cert_signatureAlgorithm"]),
        "version": version,
        "ended": _yes(told["cert_expirationStatus"] == "expired"),
        "chain": _CHAINS.get(told["cert_chain_of_trust"], told["cert_chain_of_trust"]),
        "name matches": _yes(told["cert_trust"].startswith("Ok via SAN")),
        "certificates": told["certs_countServer"],
        "out of order": told["certs_list_ordering_problem"],
    }


SSLSCAN: Final = Tool("sslscan", frozenset({"", "smtp", "imap", "pop3", "ftp"}), frozenset(), _sslscan_words, _sslscan_facts, 60)
TESTSSL: Final = Tool(
    "testssl", frozenset({"", "smtp", "imap", "pop3", "ftp", "nntp"}), frozenset({"lab"}), _testssl_words, _testssl_facts, 600
)
