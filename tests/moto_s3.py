"""A real S3 on loopback: moto's server as a process of its own, which checks signatures and policies; ended by pid.

with running_moto(folder) as s3:
    s3.bucket(), s3.login(["s3:PutObject"])
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # ships no types
from botocore.config import Config  # type: ignore[import-untyped]  # ships no types

from tests.postgres import free_port

REGION = "eu-central-1"
ALL = ("s3:*",)


@dataclass(slots=True)
class Moto:
    """A running server. It takes anybody's word until `be_strict`; then it checks signatures, and what a user may do."""

    port: int
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _root: tuple[str, str] = ("root", "root")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def client(self, service: str) -> Iterator[Any]:
        """A client of the tests' own user, who may do everything."""
        settings = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        session = boto3.session.Session(*self._root, region_name=REGION)
        with closing(session.client(service, endpoint_url=self.endpoint, config=settings)) as client:
            yield client

    def bucket(self) -> str:
        """A new one's name."""
        name = f"kc-backups-{next(self._numbers)}"
        with self.client("s3") as s3:
            s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def login(self, actions: Sequence[str] = ALL) -> tuple[str, str]:
        """Key and secret of a new user who may do this and nothing else."""
        name = f"user-{next(self._numbers)}"
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}
        with self.client("iam") as iam:
            iam.create_user(UserName=name)
            key = iam.create_access_key(UserName=name)["AccessKey"]
            iam.put_user_policy(UserName=name, PolicyName="may", PolicyDocument=json.dumps(policy))
        return str(key["AccessKeyId"]), str(key["SecretAccessKey"])

    def be_strict(self) -> None:
        """From now on check who asks. The tests' own user may do everything."""
        self._root = self.login(("*",))
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}, method="POST"
        )
        urllib.request.urlopen(request, timeout=10).close()


@contextmanager
def running_moto(folder: Path) -> Iterator[Moto]:
    """A server whose log lies in `folder`."""
    port = free_port()
    program = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("wb") as log:
        server = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait(server, port)
            moto = Moto(port)
            moto.be_strict()
            yield moto
        finally:
            server.terminate()
            server.wait(20)


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, "moto ended as it started"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    raise AssertionError("moto did not answer")
