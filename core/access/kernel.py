"""What the kernel says of processes, which no user can change: since when one runs, who its parents are. And the names of sessions.

A session is named by the boot, the process of sshd that carries it, and when that process began: 16 characters, so that 200 of them
stand in one heartbeat. As it is closed the same process gives the same name; one that follows under its number gives another.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_BOOT, _PID, _START = 5, 5, 6
NAME_LENGTH = _BOOT + _PID + _START
PROC = Path("/proc")


def boot_id() -> str:
    """The name of this run of the machine."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def started(pid: int) -> int | None:
    """When the process began, in ticks since the machine did; None where there is none, or nothing is left of it but its exit code."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def ancestry(pid: int) -> Iterator[int]:
    """The process, its parent, and so on, as they are now."""
    for _ in range(64):
        fields = _stat(pid)
        if fields is None or pid <= 1:
            return
        yield pid
        pid = int(fields[1])


def session_name(boot: str, pid: int, start: int) -> str:
    """The session that this process carries."""
    return boot[:_BOOT] + _written(pid, _PID) + _written(start, _START)


def pid_of(session: str) -> int:
    """The process that carries, or carried, the session."""
    return int(session[_BOOT : _BOOT + _PID], 36)


def lives(session: str, boot: str) -> bool:
    """Whether the process that carries the session is still there."""
    pid = pid_of(session)
    start = started(pid)
    return start is not None and session_name(boot, pid, start) == session


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on: its name, the second, may hold anything."""
    try:
        words = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return words.rpartition(")")[2].split()


def _written(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits
