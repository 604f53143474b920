"""Just enough DER to cut a certificate into its parts without believing any of them.

Used where the library reads all or nothing: the key's exact bytes, the names' exact bytes, and one extension at a time.
Everything here raises ValueError, and nothing else, on bytes that are not what they claim. Source: X.690 section 8, RFC 5280 section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

SEQUENCE, INTEGER, BIT_STRING, OCTET_STRING, OID, BOOLEAN = 0x30, 0x02, 0x03, 0x04, 0x06, 0x01
VERSION_TAG, EXTENSIONS_TAG = 0xA0, 0xA3
LONG_FORM, LENGTH_OCTETS_MAX, CONTINUES = 0x80, 4, 0x80
FIELDS_OF_TBS = 6  # serial, algorithm, issuer, validity, subject, key


@dataclass(frozen=True, slots=True)
class Element:
    """One tag-length-value: `whole` with its header, `content` without."""

    tag: int
    whole: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class RawExtension:
    """An extension as it stands: dotted OID, the value's octets, and the whole SEQUENCE."""

    oid: str
    value: bytes
    whole: bytes


@dataclass(frozen=True, slots=True)
class Parts:
    """A certificate cut apart. Names and key are whole elements; `body` is the signed part up to the extensions."""

    issuer: bytes
    subject: bytes
    spki: bytes
    extensions: tuple[RawExtension, ...]
    body: tuple[Element, ...]
    rest: tuple[Element, ...]


def element(data: bytes, at: int = 0) -> Element:
    """The element that begins at `at`."""
    if at + 2 > len(data):
        raise ValueError("cut short")
    tag, first = data[at], data[at + 1]
    start = at + 2
    length = first
    if first >= LONG_FORM:
        octets = first - LONG_FORM
        if not 1 <= octets <= LENGTH_OCTETS_MAX:
            raise ValueError("length out of range")
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    end = start + length
    if end > len(data):
        raise ValueError("cut short")
    return Element(tag, data[at:end], data[start:end])


def elements(content: bytes) -> tuple[Element, ...]:
    """All elements side by side in `content`."""
    found, at = [], 0
    while at < len(content):
        found.append(element(content, at))
        at += len(found[-1].whole)
    return tuple(found)


def wrap(tag: int, content: bytes) -> bytes:
    """The element with this tag and content."""
    size = len(content)
    if size < LONG_FORM:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, LONG_FORM + len(octets))) + octets + content


def dotted(content: bytes) -> str:
    """An OID's content as dotted text."""
    if not content or content[-1] >= CONTINUES:
        raise ValueError("broken object identifier")
    numbers, value = [], 0
    for octet in content:
        value = value << 7 | octet & 0x7F
        if octet < CONTINUES:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - first * 40, *numbers[1:])))


def _extension(item: Element) -> RawExtension:
    fields = elements(item.content)
    if not fields or fields[0].tag != OID or fields[-1].tag != OCTET_STRING:
        raise ValueError("broken extension")
    return RawExtension(dotted(fields[0].content), fields[-1].content, item.whole)


def split(der: bytes) -> Parts:
    """A certificate's parts."""
    outer = elements(element(der).content)
    if not outer:
        raise ValueError("empty certificate")
    tbs = elements(outer[0].content)
    plain = [item for item in tbs if item.tag != VERSION_TAG]
    if len(plain) < FIELDS_OF_TBS:
        raise ValueError("too few fields")
    listed = [item for item in tbs if item.tag == EXTENSIONS_TAG]
    extensions = tuple(_extension(item) for item in elements(element(listed[0].content).content)) if listed else ()
    body = tuple(item for item in tbs if item.tag != EXTENSIONS_TAG)
    return Parts(plain[2].whole, plain[4].whole, plain[5].whole, extensions, body, outer[1:])


def with_only(parts: Parts, extension: RawExtension) -> bytes:
    """The same certificate with this one extension, for a reader that gives up on all when one is odd. Its signature no longer fits."""
    listed = wrap(EXTENSIONS_TAG, wrap(SEQUENCE, extension.whole))
    tbs = wrap(SEQUENCE, b"".join(item.whole for item in parts.body) + listed)
    return wrap(SEQUENCE, tbs + b"".join(item.whole for item in parts.rest))


def rsa_numbers(spki: bytes) -> tuple[int, int]:
    """Modulus and exponent of a SubjectPublicKeyInfo that holds an RSA key, whatever they are worth."""
    bits = [item for item in elements(element(spki).content) if item.tag == BIT_STRING]
    if not bits:
        raise ValueError("no key bits")
    numbers = elements(element(bits[0].content[1:]).content)
    if [item.tag for item in numbers] != [INTEGER, INTEGER]:
        raise ValueError("not an RSA key")
    modulus, exponent = (int.from_bytes(item.content, "big", signed=True) for item in numbers)
    return modulus, exponent
