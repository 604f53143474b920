"""What only a bucket can do wrong: parts that stay, locks, a store's many refusals."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from core.targets import Entry, Target
from core.targets.s3 import S3Target
from tests.core.targets.conftest import DIALLED, Logins, Place, failed, measure, through
from tests.core.targets.wire import Wire, bare, xml
from tests.moto_s3 import REGION, Moto

MB = 1_000_000
only_s3 = pytest.mark.parametrize("place", DIALLED[1:], indirect=True)


def _unfinished(moto: Moto, target: Target) -> list[object]:
    assert isinstance(target, S3Target)
    with moto.client("s3") as s3:
        return list(s3.list_multipart_uploads(Bucket=target.bucket).get("Uploads", []))


@only_s3
def test_a_line_cut_between_parts_leaves_nothing(place: Place, between: Wire, moto: Moto) -> None:
    content = os.urandom(20 * MB)
    between.cuts[:] = [18 * MB]
    error = failed(through(place, between), "dump", content)
    assert error.kind == "cut"
    assert place.target.names() == []
    assert _unfinished(moto, place.target) == [], "the parts are not kept, unseen and paid for"
    between.answers[b"DELETE "] = xml("403 Forbidden", "AccessDenied")
    between.cuts[:] = [18 * MB]
    between.cut_at = between.up
    assert failed(through(place, between), "dump", content).kind == "cut"
    assert len(_unfinished(moto, place.target)) == 1, "where they may not be removed they stay unseen"
    assert place.target.names() == []
    assert through(place, between).put("dump", io.BytesIO(content)) == measure("dump", content)


@only_s3
def test_a_bucket_that_locks_its_objects_takes_them(moto: Moto, place: Place) -> None:
    target = place.target
    assert isinstance(target, S3Target)
    with moto.client("s3") as s3:
        s3.create_bucket(Bucket="kc-locked", CreateBucketConfiguration={"LocationConstraint": REGION}, ObjectLockEnabledForBucket=True)
        rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 14}}}
        s3.put_object_lock_configuration(Bucket="kc-locked", ObjectLockConfiguration=rule)
    for content in (b"content", os.urandom(9 * MB)):
        name = f"dump-{len(content)}"
        assert replace(target, bucket="kc-locked").put(name, io.BytesIO(content)) == measure(name, content)


@only_s3
def test_a_damaged_object_that_may_not_be_removed_is_told_to_stay(place: Place, between: Wire) -> None:
    between.answers[b"DELETE "] = xml("403 Forbidden", "AccessDenied")
    between.flip_up = MB // 2
    error = failed(through(place, between), "dump", os.urandom(MB))
    assert error.kind == "damaged"
    assert "It stays there" in str(error)
    assert place.target.names() == [Entry("dump", MB)]


@only_s3
@pytest.mark.parametrize(
    ("status", "code", "kind", "again"),
    [
        ("507 Insufficient Storage", "XMinioStorageFull", "full", False),
        ("507 Insufficient Storage", "", "full", False),
        ("403 Forbidden", "QuotaExceeded", "full", False),
        ("400 Bad Request", "ExpiredToken", "refused", False),
        ("403 Forbidden", "RequestTimeTooSkewed", "refused", False),
        ("404 Not Found", "NoSuchBucket", "refused", False),
        ("501 Not Implemented", "NotImplemented", "refused", False),
        ("400 Bad Request", "BadDigest", "damaged", True),
        ("503 Slow Down", "SlowDown", "unreachable", True),
        ("500 Internal Server Error", "InternalError", "unreachable", True),
        ("409 Conflict", "ConditionalRequestConflict", "unreachable", True),
        ("400 Bad Request", "RequestTimeout", "cut", True),
    ],
)
def test_what_a_store_answers_is_told(place: Place, between: Wire, status: str, code: str, kind: str, again: bool) -> None:
    between.answers[b"HEAD "] = bare(status if status.startswith("400") else "404 Not Found")  # a HEAD tells no more than that
    between.answers[b"PUT "] = xml(status, code)
    error = failed(through(place, between), "dump", b"content")
    assert (error.kind, error.again) == (kind, again)
    assert "the store's words" not in str(error)


@only_s3
def test_without_credentials_in_its_address_the_usual_ones_are_taken(
    place: Place, logins: Logins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert isinstance(place.target, S3Target)
    target = replace(place.target, access_key="", secret="")
    error = failed(target, "dump", b"content")
    assert error.kind == "refused"
    assert "See that it has credentials" in str(error)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", logins.all[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", logins.all[1])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # the address is the whole truth
    assert target.put("dump", io.BytesIO(b"content")) == measure("dump", b"content")
