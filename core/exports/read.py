"""A bundle, read: whether it is whole, what its signature is worth, and its lines one by one. It comes from anybody.

Nothing here knows a database: `python -m core.exports check` needs no more than this, cryptography and audit.note.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from audit.note import Note, NoteError, Verifier
from core.exports import archive as zipped
from core.exports.archive import LIMITS, Limits, refused
from core.exports.form import CERTIFICATES, CERTIFICATES_PEM, FORMAT, MANIFEST, MEMBERS, SIGNATURE, VERSION, Trust
from core.exports.shapes import SHAPES, read_line

_MOST_MANIFEST: Final = 1 << 20
_MOST_NAMED: Final = 8
_NEEDED: Final = frozenset(MEMBERS) - {SIGNATURE}
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_DIGEST: Final = re.compile(rb"# ([0-9a-f]{64})")
_MOST_PEM: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """An open bundle. `told`: sentences about it; `odd`: those of them that say what is ignored; `wrong`: members that the manifest denies.

    `ignored`: by member, fields that lines had which no export has, as far as these were read.
    """

    archive: zipfile.ZipFile
    limits: Limits
    manifest: Mapping[str, Any]
    trust: Trust
    told: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    ignored: dict[str, set[str]] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """Of its form."""
        found: int = self.manifest["version"]
        return found

    @property
    def account_name(self) -> str:
        """Whose it was."""
        name: str = self.manifest["account"]["name"]
        return name

    @property
    def signer(self) -> str:
        """The public key that it names."""
        vkey: str = self.manifest["signer"]
        return vkey

    def count(self, member: str) -> int:
        """How many lines the manifest says a member has."""
        found: int = self.manifest["counts"].get(member.partition(".")[0], 0)
        return found

    def lines(self, member: str) -> Iterator[dict[str, Any]]:
        """What is on each line. Raises BundleRefused for one that is not of the member's shape."""
        shape = SHAPES[member]
        with closing(zipped.lines(self.archive, member, self.limits)) as raws:
            for number, raw in enumerate(raws, 1):
                try:
                    value = read_line(raw)
                except ValueError as error:
                    raise refused(f"Line {number:,} of its member {member} {error}.") from None
                if (known := shape.known(value)) is not value:
                    self._ignore(member, value.keys() - known.keys())
                    value = known
                if not shape(value):
                    raise refused(f"Line {number:,} of its member {member} has not the fields that it should have.")
                yield value

    def _ignore(self, member: str, names: Iterable[str]) -> None:
        seen = self.ignored.setdefault(member, set())
        seen.update(sorted(names)[: max(0, _MOST_NAMED + 1 - len(seen))])

    def told_of(self, *members: str) -> list[str]:
        """What was ignored in these members so far."""
        return [_ignoring(member, self.ignored[member]) for member in members if member in self.ignored]

    def value(self, member: str) -> dict[str, Any]:
        """A member of one line. Raises BundleRefused."""
        found = list(self.lines(member))
        if len(found) != 1:
            raise refused(f"Its member {member} has {len(found)} lines instead of one.")
        return found[0]

    def certificates(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Each certificate, as it is told of and as it is (DER), of which the digest was made anew. Raises BundleRefused."""
        with closing(zipped.lines(self.archive, CERTIFICATES_PEM, self.limits)) as lines:
            pems = _certificates(lines)
            before = ""
            for told in self.lines(CERTIFICATES):
                digest, der = next(pems, ("", b""))
                if told["sha256"] != digest or hashlib.sha256(der).hexdigest() != digest:
                    raise refused("Its certificates are not those that it lists.")
                if digest <= before:
                    raise refused(f"It lists the certificate {digest} twice, or out of order.")
                before = digest
                yield told, der
            if next(pems, None) is not None:
                raise refused("It has certificates that it does not list.")


def _ignoring(member: str, names: Iterable[str]) -> str:
    found = sorted(names)
    some = ", ".join(name[:40] for name in found[:_MOST_NAMED])
    return f"Its member {member} has fields that no export has, which are ignored: {some}{' and more' if len(found) > _MOST_NAMED else ''}."


def _certificates(lines: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    for line in lines:
        head = _DIGEST.fullmatch(line)
        if head is None or next(lines, b"") != _BEGIN:
            raise refused(f"Its member {CERTIFICATES_PEM} is not written as it should be.")
        body = bytearray()
        while (line_of_it := next(lines, None)) != _END:
            if line_of_it is None or len(body) > _MOST_PEM:
                raise refused(f"Its member {CERTIFICATES_PEM} is cut short.")
            body += line_of_it
        try:
            yield head[1].decode(), base64.b64decode(body, validate=True)
        except ValueError:
            raise refused(f"Its member {CERTIFICATES_PEM} has something in it that is no certificate.") from None


@contextmanager
def open_bundle(path: Path, *, own_vkeys: Sequence[str] = (), limits: Limits = LIMITS) -> Iterator[Bundle]:
    """A bundle whose every byte was looked at once. `own_vkeys`: keys of this installation.

    Raises BundleRefused for what cannot be read. What can be read and is not genuine has the trust "broken".
    """
    found = zipped.open_archive(path, frozenset(MEMBERS), limits)
    with found:
        if missing := sorted(_NEEDED - set(found.namelist())):
            raise refused(f"This is no whole export of KeyChest: its member {missing[0]} is missing.")
        raw = _small(found, MANIFEST, limits)
        manifest, odd = _manifest(raw)
        wrong = tuple(_wrong(found, manifest, limits))
        trust, told = _trusted(found, raw, manifest, own_vkeys, limits)
        if wrong:
            trust = "broken"
            told = (*told, *(f"Its member {member} is not what was exported: its digest differs." for member in wrong))
        odd += [f"It has a member {name} that no export has. It is ignored." for name in sorted(set(found.namelist()) - set(MEMBERS))]
        yield Bundle(found, limits, manifest, trust, (*told, *odd), wrong, tuple(odd))


def _small(archive: zipfile.ZipFile, member: str, limits: Limits) -> bytes:
    content = b""
    for block in zipped.blocks(archive, member, limits):
        content += block
        if len(content) > _MOST_MANIFEST:
            raise refused(f"Its member {member} is larger than any is.")
    return content


def _manifest(raw: bytes) -> tuple[dict[str, Any], list[str]]:
    """The manifest, and what is odd with it."""
    try:
        value = read_line(raw)
    except ValueError as error:
        raise refused(f"Its manifest {error}.") from None
    if value.get("format") != FORMAT or type(value.get("version")) is not int:
        raise refused("This is no export of KeyChest: its manifest says so.")
    if value["version"] > VERSION:
        raise refused(
            f"It was written by a newer KeyChest (form {value['version']}, and {VERSION} is known here).", "Upgrade, then import it."
        )
    known = SHAPES[MANIFEST].known(value)
    if value["version"] < 1 or not SHAPES[MANIFEST](known):
        raise refused("Its manifest has not the fields that it should have.")
    return known, [_ignoring(MANIFEST, value.keys() - known.keys())] if known is not value else []


def _wrong(archive: zipfile.ZipFile, manifest: Mapping[str, Any], limits: Limits) -> Iterator[str]:
    """Members that are not as the manifest vouches for them, in their order."""
    vouched = {each["name"]: each["sha256"] for each in manifest["members"]}
    left = limits.all_bytes
    others = sorted(set(archive.namelist()) - set(MEMBERS))
    for member in (*MEMBERS, *others):
        if member in {MANIFEST, SIGNATURE}:
            continue
        digest = hashlib.sha256()
        for block in zipped.blocks(archive, member, limits):
            digest.update(block)
            left -= len(block)
            if left < 0:
                raise refused(f"What is in it is more than {limits.all_bytes:,} bytes together.", "Export with less history.")
        if vouched.get(member) != digest.hexdigest():
            yield member


def signed_text(manifest: bytes, version: int) -> str:
    """What a bundle's signature is under."""
    return f"{FORMAT}/v{version}\n{hashlib.sha256(manifest).hexdigest()}\n"


def _trusted(
    archive: zipfile.ZipFile, raw: bytes, manifest: Mapping[str, Any], own_vkeys: Sequence[str], limits: Limits
) -> tuple[Trust, tuple[str, ...]]:
    if SIGNATURE not in archive.namelist():
        return "unsigned", ("It is not signed: nobody vouches for what is in it.",)
    try:
        note = Note.read(_small(archive, SIGNATURE, limits))
        if note.text != signed_text(raw, manifest["version"]):
            return "broken", ("Its signature is not for its manifest.",)
        if note.signed_by([Verifier.read(each) for each in own_vkeys]):
            return "own", ()
        if note.signed_by([Verifier.read(manifest["signer"])]):
            name = Verifier.read(manifest["signer"]).name
            return "foreign", (f"It was signed by a key of {name} that this installation does not know.",)
    except NoteError as error:
        return "broken", (f"Its signature does not hold. {error}",)
    return "broken", ("Its signature is not by the key that it names.",)
