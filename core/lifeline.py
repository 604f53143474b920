"""A process that ends with its parent, even when the parent is killed by a signal that nobody can catch.

Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere these calls change nothing and a supervisor killed by `kill -9` leaves its children.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
# Loaded before any fork: between fork and exec nothing may take a lock that another thread held.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def end_with(parent_pid: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `by` to this process when the thread that forked it ends. Survives exec, is not inherited by fork.

    Call it in the child, first of all, from a fork that the parent's main thread made. `parent_pid` is read by the parent before
    the fork: a parent that died in between is noticed, and this process ends at once.
    """
    if _libc is None:
        return
    if _libc.prctl(_PR_SET_PDEATHSIG, int(by), 0, 0, 0) != 0 or os.getppid() != parent_pid:
        os._exit(1)


def give_up_means(memory_bytes: int) -> None:
    """Bound what this process may still get: no new privileges, no core files (they would hold secrets), `memory_bytes` of memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc is None:
        return
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
