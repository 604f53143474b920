"""A folder on a server by SFTP (OpenSSH, draft-ietf-secsh-filexfer-02). Only the server whose key known_hosts names is spoken to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote

import asyncssh

from core.targets.sftp_error import dial_error, told
from core.targets.sftp_files import SftpFiles
from core.targets.target import Entry, Sink, Source, Stored, TargetError, checked, checked_prefix, is_name, is_partial, partial_of

CONNECT_S: Final = 15.0
LOGIN_S: Final = 30.0
ANSWER_S: Final = 60.0

_EXAMPLE: Final = (
    "for example sftp://keychest@backup.example.org/backups?key=/etc/keychest/backup_key&known_hosts=/etc/keychest/known_hosts"
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SftpTarget:
    """Files below `folder`: absolute, or relative to the login folder. `answer_s` is the longest wait for any one answer."""

    user: str
    host: str
    port: int
    folder: str
    known_hosts: Path
    key: Path | None = None
    password: str = field(default="", repr=False)
    answer_s: float = ANSWER_S

    @classmethod
    def at(cls, parts: SplitResult) -> SftpTarget:
        """The folder of an sftp: URL. Raises ValueError."""
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        known_hosts, key = options.pop("known_hosts", ""), options.pop("key", "")
        user, host, path = unquote(parts.username or ""), parts.hostname or "", unquote(parts.path)
        if options or not user or not host or not path.strip("/") or "\0" in path:
            raise ValueError(f"An SFTP target has a user, a host and a folder, and no options but key and known_hosts, {_EXAMPLE}.")
        if not known_hosts:
            port = f"-p {parts.port} " if parts.port else ""
            raise ValueError(
                "An SFTP target needs known_hosts=/path, or anybody could play the server. Make the file with "
                f"`ssh-keyscan {port}{host} > known_hosts`, and compare what `ssh-keygen -lf known_hosts` says with what the server's "
                f"owner says, {_EXAMPLE}."
            )
        if bool(key) == bool(parts.password):
            raise ValueError(f"An SFTP target has either key=/path of a private key or a password (user:password@host), {_EXAMPLE}.")
        if not all(path.startswith("/") for path in (known_hosts, key) if path):
            raise ValueError(f"key and known_hosts are paths from the root, {_EXAMPLE}.")
        below_login = path == "/~" or path.startswith("/~/")
        folder = path.removeprefix("/~").strip("/") if below_login else "/" + path.strip("/")
        password = unquote(parts.password or "")
        return cls(user, host, parts.port or 22, folder, Path(known_hosts), Path(key) if key else None, password)

    @property
    def shown(self) -> str:
        """As in Target."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        folder = self.folder if self.folder.startswith("/") else f"/~/{self.folder}".rstrip("/")
        return f"sftp://{self.user}@{host}{'' if self.port == 22 else f':{self.port}'}{folder}"  # noqa: PLR2004 - RFC 4253 section 4.1

    def put(self, name: str, content: BinaryIO) -> Stored:
        """As in Target."""
        path = self._path(checked(name))
        source = Source(content)

        async def work(files: SftpFiles) -> Stored:
            if await files.soon(files.client.lexists(path)):
                await asyncio.to_thread(source.drain)
                return await files.compared(path, source.stored(name))
            above, _, leaf = path.rpartition("/")
            await files.make_folders(above)
            partial = f"{above}/{partial_of(leaf)}" if above else partial_of(leaf)
            stored = False
            try:
                await files.write(partial, source)
                put = source.stored(name)
                if await files.measured(partial, name) != put:
                    raise TargetError(
                        "damaged",
                        f"What {self.shown} gives back of {name} is not what was written. Nothing was stored. Look for errors of its disk.",
                    )
                stored = await files.publish(partial, path)
            finally:
                if not stored:
                    with suppress(asyncssh.Error, OSError):  # where nothing may be deleted it stays, hidden
                        await files.soon(files.client.remove(partial))
            return put if stored else await files.compared(path, put)

        return self._run(work, source, putting=True)

    def get(self, name: str, into: BinaryIO) -> Stored:
        """As in Target."""
        path = self._path(checked(name))
        sink = Sink(into)

        async def work(files: SftpFiles) -> Stored:
            try:
                await files.read(path, sink)
            except asyncssh.SFTPNoSuchFile as error:
                raise TargetError(
                    "missing",
                    f"{self.shown} holds no {name}. Nothing was read. Look at what it holds, and whether this is the right place.",
                ) from error
            return sink.stored(name)

        return self._run(work, sink)

    def names(self, under: str = "") -> list[Entry]:
        """As in Target."""
        above = checked_prefix(under).rpartition("/")[0]

        async def work(files: SftpFiles) -> list[Entry]:
            found: list[Entry] = []
            folders = [above]
            while folders:
                folder = folders.pop()
                for leaf, attrs in await files.items(self._path(folder)):
                    name = f"{folder}/{leaf}" if folder else leaf
                    if not is_name(name):
                        continue
                    if attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY:
                        folders.append(name)
                    elif attrs.type == asyncssh.FILEXFER_TYPE_REGULAR and name.startswith(under):
                        found.append(Entry(name, attrs.size or 0))
            return sorted(found, key=lambda entry: entry.name)

        return self._run(work)

    def remove(self, name: str) -> None:
        """As in Target."""
        path = self._path(checked(name))

        async def work(files: SftpFiles) -> None:
            with suppress(asyncssh.SFTPNoSuchFile):
                if (await files.soon(files.client.lstat(path))).type == asyncssh.FILEXFER_TYPE_REGULAR:
                    await files.soon(files.client.remove(path))

        self._run(work)

    def sweep(self, before: datetime) -> int:
        """As in Target."""

        async def work(files: SftpFiles) -> int:
            swept, folders = 0, [self._path("")]
            while folders:
                folder = folders.pop()
                for leaf, attrs in await files.items(folder):
                    path = f"{folder}/{leaf}" if folder else leaf
                    if attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY and is_name(leaf):
                        folders.append(path)
                    elif attrs.type == asyncssh.FILEXFER_TYPE_REGULAR and is_partial(leaf) and (attrs.mtime or 0) < before.timestamp():
                        await files.soon(files.client.remove(path))
                        swept += 1
            return swept

        return self._run(work)

    def _path(self, name: str) -> str:
        return "/".join(part for part in (self.folder, name) if part)

    def _run(
        self, work: Callable[[SftpFiles], Coroutine[None, None, T]], stream: Source | Sink | None = None, *, putting: bool = False
    ) -> T:
        async def whole() -> T:
            async with self._dialled() as files:
                return await work(files)

        try:
            return asyncio.run(whole())
        except (asyncssh.Error, OSError) as error:
            if stream is not None and stream.broken:
                raise
            raise told(error, self.shown, putting=putting) from error

    @asynccontextmanager
    async def _dialled(self) -> AsyncIterator[SftpFiles]:
        try:
            connection = await asyncssh.connect(
                self.host,
                self.port,
                username=self.user,
                password=self.password or None,
                client_keys=[str(self.key)] if self.key else None,
                known_hosts=str(self.known_hosts),
                config=None,  # what stands in somebody's ~/.ssh has no say here, nor has an agent
                agent_path=None,
                connect_timeout=CONNECT_S,
                login_timeout=LOGIN_S,
                keepalive_interval=15,
            )
        except (asyncssh.Error, OSError, ValueError) as error:  # ValueError: a file of keys that cannot be read
            raise dial_error(error, self.shown, self.key, self.known_hosts) from error
        try:
            async with asyncio.timeout(self.answer_s):
                client = await connection.start_sftp_client()
            yield SftpFiles(client, self.shown, self.answer_s)
            connection.close()
        finally:
            connection.abort()  # after an error nobody waits for a farewell
            await connection.wait_closed()
