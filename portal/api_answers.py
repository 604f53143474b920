"""What the API answers, as types. Views build their answers from these and the document describes these, so neither can drift."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from core.actions.api_tokens import SCOPES
from core.actions.policy import ROLES
from core.store.watches import STATES

PAGE: Final = 50
MOST: Final = 200


def _written(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _whole(typed: object) -> int:
    """A number as programs write it: digits alone, no more than they need. Raises ValueError."""
    if not isinstance(typed, str) or not (typed.isascii() and typed.isdecimal()) or len(typed) > len(str(MOST)):
        raise ValueError("not a whole number")
    return int(typed)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _one_of(words: Iterable[str]) -> Any:
    """The type of a text that is one of these."""
    known = tuple(words)
    return Annotated[str, Field(pattern=f"^(?:{'|'.join(known)})$"), WithJsonSchema({"type": "string", "enum": list(known)})]


Instant = Annotated[
    datetime, PlainSerializer(_written, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization")
]
"""UTC, to the second."""


class _Told(BaseModel):
    """What all answers have in common: they are made once and not changed."""

    model_config = ConfigDict(frozen=True)


class Problem(_Told):
    """A refusal."""

    error: str = Field(description="What happened and what to do, in a sentence or two.", examples=["`limit` is a number from 1 to 200."])


class Account(_Told):
    """The account that the token reads."""

    ref: str = Field(description="Its reference, which never changes.", examples=["q3v7m2x9k4tdw6ha"])
    name: str = Field(description="Its name, which its owners may change.", examples=["Example Ltd"])


class Person(_Told):
    """The person in whose name the token reads."""

    ref: str = Field(description="Their reference, which never changes.", examples=["b8n4c5z2r7jy3gfe"])
    email: str = Field(description="Their e-mail address.", examples=["mira@example.org"])
    role: _one_of(ROLES) = Field(description="What they are in the account now.", examples=["owner"])  # type: ignore[valid-type]


class Token(_Told):
    """The token itself, without its secret."""

    name: str = Field(description="What its maker called it.", examples=["wall display"])
    scopes: list[_one_of(SCOPES)] = Field(description="What it may read.", examples=[list(SCOPES)])  # type: ignore[valid-type]
    expires_at: Instant = Field(description="When it ends, in UTC.", examples=["2027-02-21T09:00:00Z"])


class Me(_Told):
    """Who a token speaks for."""

    account: Account
    person: Person
    token: Token


class Domain(_Told):
    """A name that the account watches at one port."""

    ref: str = Field(description="The watch's reference: its page is /endpoints/ and this.", examples=["h5d2w8s6p3xk9vqm"])
    name: str = Field(description="The name as machines write it.", examples=["www.example.org"])
    port: int = Field(description="The TCP port.", ge=1, le=65535, examples=[443])
    state: _one_of(STATES) = Field(  # type: ignore[valid-type]
        description=("`bad`: needs you. `soon`: needs you soon. `unk`: was not reached. `live`: is being looked at. `ok`: is well."),
        examples=["ok"],
    )
    ends_at: Instant | None = Field(
        description="When the first certificate that is served there ends, in UTC; null while none is known.",
        examples=["2027-01-12T23:59:59Z"],
    )
    tags: list[str] = Field(description="The account's tags on the name, by the alphabet.", examples=[["shop", "team:web"]])
    note: str = Field(description="What the account noted on the name, in lines.", examples=["Ask Max before the key changes."])
    responsible: str | None = Field(
        description="The address of the member who is responsible; null for nobody, and for who has left the account.",
        examples=["max@example.org"],
    )


class Certificate(_Told):
    """A certificate that is served now. What could not be read of it is null."""

    sha256: str = Field(
        description="SHA-256 of the certificate (DER), in lower-case hexadecimal.",
        pattern="^[0-9a-f]{64}$",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    subject: str | None = Field(description="Whom it was issued to.", examples=["CN=www.example.org"])
    issuer: str | None = Field(description="Who issued it.", examples=["CN=Example CA,O=Example Ltd"])
    not_before: Instant | None = Field(description="From when it holds, in UTC.", examples=["2026-10-14T00:00:00Z"])
    not_after: Instant | None = Field(description="Until when it holds, in UTC.", examples=["2027-01-12T23:59:59Z"])
    names: list[str] = Field(description="The names it is for; none where it could not be read.", examples=[["www.example.org"]])


_NEXT: Final = "Give this as `after` to get the page that follows; null on the last page. Do not take it apart."


class Domains(_Told):
    """One page of the account's watches, by name."""

    items: list[Domain] = Field(description="At most as many as `limit` says.")
    next: str | None = Field(description=_NEXT, examples=["www.example.org~h5d2w8s6p3xk9vqm"])


class Certificates(_Told):
    """One page of the certificates that are served now, those that end first at the top."""

    items: list[Certificate] = Field(description="At most as many as `limit` says.")
    next: str | None = Field(description=_NEXT)


class Place(BaseModel):
    """Which part of a list is asked for. `after` is "" for the first page."""

    limit: Annotated[int, BeforeValidator(_whole)] = Field(PAGE, description="How many to tell.", ge=1, le=MOST)
    after: str = Field(
        "",
        description="`next` of the page before. Leave it out for the first page. A cursor belongs to the list it came from.",
        min_length=1,
        json_schema_extra=_without_default,
    )
