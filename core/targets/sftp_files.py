"""Files on the other side of an SFTP connection: requests sent ahead, each answer waited for no longer than agreed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

import asyncssh
from asyncssh import SFTPAttrs, SFTPClient, SFTPClientFile

from core.targets.target import Sink, Source, Stored, TargetError, compared

# OpenSSH's largest read and write: a packet of 256 KiB less 1 KiB for its head. A server that names less, or nothing, is asked for less.
_BLOCK_MOST: Final = 255 * 1024
# What is on its way at once, in octets: it fills 160 Mbit/s at 200 ms there and back.
_AHEAD: Final = 4 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SftpFiles:
    """An open connection. All methods raise asyncssh's errors and OSError; TimeoutError when an answer takes over `answer_s`."""

    client: SFTPClient
    shown: str
    answer_s: float

    async def soon(self, answer: Awaitable[T]) -> T:
        """What a request of `client` answers. Raises TimeoutError, and then waits for no other answer."""
        try:
            async with asyncio.timeout(self.answer_s):
                return await answer
        except TimeoutError:
            self.client.exit()
            raise

    async def make_folders(self, folder: str) -> None:
        """Make what is missing, from the top: a server may show only a part of what lies above."""
        missing: list[str] = []
        while folder and not await self.soon(self.client.isdir(folder)):
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for path in reversed(missing):
            try:
                await self.soon(self.client.mkdir(path, SFTPAttrs(permissions=0o700)))
            except asyncssh.SFTPFailure:
                if await self.soon(self.client.isdir(path)):  # made by another upload at the same time
                    continue
                if await self.soon(self.client.lexists(path)):
                    words = "a file lies where a folder is needed. Nothing was stored. Put it under another name."
                    raise TargetError("exists", f"In {self.shown} {words}") from None
                raise

    async def write(self, partial: str, source: Source) -> None:
        """Write all of `source` to a new file, on the server's disk for certain where it can say so."""
        async with self._opened(partial, "xb") as file:
            size = min(_BLOCK_MOST, self.client.limits.max_write_len)
            ahead: deque[asyncio.Task[int]] = deque()
            try:
                # In a thread: while content is slow to come, the server's keepalives are answered and no time limit runs out.
                while block := await asyncio.to_thread(source.block, size):
                    ahead.append(asyncio.create_task(file.write(block, source.bytes - len(block))))
                    if len(ahead) * size >= _AHEAD:
                        await self.soon(ahead.popleft())
                while ahead:
                    await self.soon(ahead.popleft())
            finally:
                for task in ahead:
                    task.cancel()
                await asyncio.gather(*ahead, return_exceptions=True)
            with suppress(asyncssh.SFTPOpUnsupported):  # OpenSSH's own extension
                await self.soon(file.fsync())

    @asynccontextmanager
    async def _opened(self, path: str, mode: str) -> AsyncIterator[SFTPClientFile]:
        file = await self.soon(self.client.open(path, mode, SFTPAttrs(permissions=0o600), block_size=0))  # one request each
        try:
            yield file
        except BaseException:
            with suppress(asyncssh.Error, OSError):  # what went wrong first is told
                await self.soon(file.close())
            raise
        await self.soon(file.close())

    async def publish(self, partial: str, path: str) -> bool:
        """Give the whole file its name, and never another's: version 3's rename fails where a name is taken. False when it was."""
        try:
            await self.soon(self.client.rename(partial, path))
        except asyncssh.SFTPFailure:
            if await self.soon(self.client.lexists(path)):
                return False
            raise
        return True

    async def compared(self, path: str, put: Stored) -> Stored:
        """What lies at `path`, when it is what was to be put. Raises TargetError "exists"."""
        try:
            found = await self.measured(path, put.name)
        except asyncssh.SFTPNoSuchFile:
            found = Stored(put.name, 0, "")  # a folder or a link: whatever it is, it is not ours
        return compared(self.shown, put, found)

    async def measured(self, path: str, name: str) -> Stored:
        """The measure of what the server gives back. Raises SFTPNoSuchFile as read does."""
        sink = Sink()
        await self.read(path, sink)
        return sink.stored(name)

    async def read(self, path: str, sink: Sink) -> None:
        """Give `sink` the file. Raises SFTPNoSuchFile also for what is no regular file."""
        attrs = await self.soon(self.client.lstat(path))
        if attrs.type != asyncssh.FILEXFER_TYPE_REGULAR:
            raise asyncssh.SFTPNoSuchFile("not a regular file")
        whole, size = attrs.size or 0, min(_BLOCK_MOST, self.client.limits.max_read_len)
        async with self._opened(path, "rb") as file:
            ahead: deque[asyncio.Task[bytes]] = deque()
            try:
                for offset in range(0, whole, size):
                    ahead.append(asyncio.create_task(_block_at(file, offset, min(size, whole - offset))))
                    if len(ahead) * size >= _AHEAD:
                        await asyncio.to_thread(sink.write, await self.soon(ahead.popleft()))
                while ahead:
                    await asyncio.to_thread(sink.write, await self.soon(ahead.popleft()))
            finally:
                for task in ahead:
                    task.cancel()
                await asyncio.gather(*ahead, return_exceptions=True)

    async def items(self, folder: str) -> list[tuple[str, SFTPAttrs]]:
        """What lies in a folder, by its last part; nothing lies in one that is missing."""
        with suppress(asyncssh.SFTPNoSuchFile):
            return [(str(item.filename), item.attrs) for item in await self.soon(self.client.readdir(folder or "."))]
        return []


async def _block_at(file: SFTPClientFile, offset: int, size: int) -> bytes:
    """The octets at `offset`; fewer only where the file ends. A server may answer with less than was asked for."""
    whole = bytearray()
    while len(whole) < size:
        more = await file.read(size - len(whole), offset + len(whole))
        if not more:
            break
        whole += more.encode() if isinstance(more, str) else more
    return bytes(whole)
