"""A bucket that speaks S3 (Amazon's, MinIO's, Ceph's). An object appears whole, and is read back by a GET before it counts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, BinaryIO, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode

import boto3  # type: ignore[import-untyped]  # ships no types
import botocore.session  # type: ignore[import-untyped]  # ships no types
from botocore.config import Config  # type: ignore[import-untyped]  # ships no types
from botocore.exceptions import BotoCoreError, ClientError, ResponseStreamingError  # type: ignore[import-untyped]  # ships no types
from botocore.loaders import create_loader  # type: ignore[import-untyped]  # ships no types

from core.targets.s3_error import code_of, told
from core.targets.target import BLOCK, Entry, Sink, Source, Stored, TargetError, checked, checked_prefix, compared, is_name

CONNECT_S: Final = 15.0
ANSWER_S: Final = 60.0

# What is held in memory, and one part of a multipart upload. 10,000 are allowed, all of a size (some stores insist): 78 GiB.
_PART: Final = 8 * 1024 * 1024
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z0-9-]*")
_EXAMPLE: Final = "for example s3://keychest-backups/prod?region=eu-central-1"
_UNCOUNTED: Final = "It does not count as stored."


@dataclass(frozen=True, slots=True)
class S3Target:
    """Objects below `prefix`. Without `access_key` the credentials are boto3's usual ones (environment, files, the machine's role).

    `answer_s` is the longest wait for any one answer.
    """

    bucket: str
    prefix: str = ""
    region: str = ""
    endpoint: str = ""
    access_key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    answer_s: float = ANSWER_S

    @classmethod
    def at(cls, parts: SplitResult) -> S3Target:
        """The place that an s3: URL names. Raises ValueError."""
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        region, endpoint = options.pop("region", ""), options.pop("endpoint", "").rstrip("/")
        bucket, prefix = parts.netloc.rpartition("@")[2], unquote(parts.path).strip("/")
        if options or not _BUCKET.fullmatch(bucket) or not _REGION.fullmatch(region) or (prefix and not is_name(prefix)):
            raise ValueError(f"An S3 target has a bucket, maybe a prefix, and no options but region and endpoint, {_EXAMPLE}.")
        if endpoint and not re.fullmatch(r"https?://[^/?#@\s]+", endpoint):
            raise ValueError("An S3 target's endpoint looks like https://minio.example.org: no user, no path.")
        access_key, secret = unquote(parts.username or ""), unquote(parts.password or "")
        if bool(access_key) != bool(secret):
            raise ValueError("An S3 target has both a key and a secret, s3://KEY:SECRET@bucket, or neither of them.")
        return cls(bucket, prefix, region, endpoint, access_key, secret)

    @property
    def shown(self) -> str:
        """As in Target."""
        options = {name: value for name, value in (("region", self.region), ("endpoint", self.endpoint)) if value}
        where = "/".join(part for part in (self.bucket, self.prefix) if part)
        return f"s3://{where}{'?' if options else ''}{urlencode(options, safe=':/')}"

    def put(self, name: str, content: BinaryIO) -> Stored:
        """As in Target. Two at once cannot overwrite each other where the store knows If-None-Match; all newer ones do."""
        at = {"Bucket": self.bucket, "Key": self._key(checked(name))}
        source = Source(content)
        with self._client() as client:
            with self._telling(source, kept=_UNCOUNTED):
                if _taken(client, at):
                    source.drain()
                    return compared(self.shown, source.stored(name), _measured(client, at, name))
                try:
                    _upload(client, at, source)
                except ClientError as error:
                    if source.broken or code_of(error) != "PreconditionFailed":
                        raise
                    return compared(self.shown, source.stored(name), _measured(client, at, name))
            with self._telling(kept="It was uploaded but not read back. Put it again, and it is compared."):
                return self._read_back(client, at, source.stored(name))

    def get(self, name: str, into: BinaryIO) -> Stored:
        """As in Target."""
        at = {"Bucket": self.bucket, "Key": self._key(checked(name))}
        sink = Sink(into)
        with self._client() as client, self._telling(sink):
            try:
                _read(client, at, sink)
            except ClientError as error:
                if not sink.broken and code_of(error) == "NoSuchKey":
                    raise TargetError(
                        "missing",
                        f"{self.shown} holds no {name}. Nothing was read. Look at what it holds, and whether this is the right place.",
                    ) from error
                raise
        return sink.stored(name)

    def names(self, under: str = "") -> list[Entry]:
        """As in Target."""
        top = self._key("")
        prefix = top + checked_prefix(under)
        found: list[Entry] = []
        with self._client() as client, self._telling():
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    name = item["Key"].removeprefix(top)
                    if is_name(name):
                        found.append(Entry(name, item["Size"]))
        return sorted(found, key=lambda entry: entry.name)

    def remove(self, name: str) -> None:
        """As in Target."""
        key = self._key(checked(name))
        with self._client() as client, self._telling():
            client.delete_object(Bucket=self.bucket, Key=key)

    def sweep(self, before: datetime) -> int:
        """As in Target: uploads in parts that were begun before then and never completed."""
        swept = 0
        with self._client() as client, self._telling():
            for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self._key("")):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < before:
                        client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                        swept += 1
        return swept

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _read_back(self, client: Any, at: dict[str, str], put: Stored) -> Stored:
        if _measured(client, at, put.name) == put:
            return put
        try:
            client.delete_object(**at)
            stays = "It was removed."
        except (ClientError, BotoCoreError):
            stays = "It stays there, since these credentials may not delete it: do not trust it, and remove it by hand."
        raise TargetError("damaged", f"What {self.shown} gives back of {put.name} is not what was put. {_UNCOUNTED} {stays}")

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """A client of this call's own, closed after it. It dials nothing by itself, and tries nothing twice: put_again does."""
        settings = Config(
            connect_timeout=CONNECT_S,
            read_timeout=self.answer_s,
            retries={"total_max_attempts": 1},
            tcp_keepalive=True,
            s3={"addressing_style": "path" if self.endpoint else "auto"},
            ignore_configured_endpoint_urls=True,  # the address is the whole truth
            request_checksum_calculation="when_required",  # Content-MD5 is understood by all stores, the newer checksums are not
            response_checksum_validation="when_required",
        )
        with self._telling():
            own = botocore.session.Session()
            own.register_component("data_loader", _tables())
            session = boto3.session.Session(self.access_key or None, self.secret or None, botocore_session=own)
            region = self.region or ("us-east-1" if self.endpoint else None)  # what stores of one's own call theirs
            client = session.client("s3", region_name=region, endpoint_url=self.endpoint or None, config=settings)
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def _telling(self, stream: Source | Sink | None = None, *, kept: str = "Nothing was changed.") -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            if stream is not None and stream.broken:
                raise
            raise told(error, self.shown, kept) from error


@cache
def _tables() -> Any:
    """What botocore knows of S3: some MB of JSON, read once for all clients."""
    return create_loader()


def _taken(client: Any, at: dict[str, str]) -> bool:
    """Whether the key is taken. Where looking is not allowed, nobody knows before the upload."""
    try:
        client.head_object(**at)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 403, 404}:
            # 403 is also said of a missing key, without s3:ListBucket. A HEAD gives no reason: the upload will, for 400 too.
            return False
        raise
    return True


def _upload(client: Any, at: dict[str, str], source: Source) -> None:
    """Raises ClientError PreconditionFailed when the key was taken meanwhile; `source` has been read to its end then."""
    block = source.block(_PART)
    if len(block) < _PART:
        client.put_object(**at, Body=block, ContentMD5=_md5(block), IfNoneMatch="*")
        return
    upload = {**at, "UploadId": client.create_multipart_upload(**at)["UploadId"]}
    try:
        parts: list[dict[str, Any]] = []
        while block:
            number = len(parts) + 1
            answer = client.upload_part(**upload, PartNumber=number, Body=block, ContentMD5=_md5(block))
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            block = b""  # one part in memory, not two
            block = source.block(_PART)
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    except BaseException:
        with suppress(
            ClientError, BotoCoreError
        ):  # where that is not allowed the parts stay, unseen, until a rule of the bucket's ends them
            client.abort_multipart_upload(**upload)
        raise


def _md5(block: bytes) -> str:
    """What the store compares before it keeps anything (RFC 1864); a bucket under Object Lock asks for it. Not for security."""
    return base64.b64encode(hashlib.md5(block, usedforsecurity=False).digest()).decode()


def _measured(client: Any, at: dict[str, str], name: str) -> Stored:
    sink = Sink()
    _read(client, at, sink)
    return sink.stored(name)


def _read(client: Any, at: dict[str, str], sink: Sink) -> None:
    body = client.get_object(**at)["Body"]
    try:
        while block := _block(body):
            sink.write(block)
    finally:
        body.close()


def _block(body: Any) -> bytes:
    try:
        block: bytes = body.read(BLOCK)
    except BotoCoreError:
        raise
    except Exception as error:  # some errors of the connection come through botocore's stream as urllib3's own (a TLS stream that was cut)
        raise ResponseStreamingError(error=error) from error
    return block
