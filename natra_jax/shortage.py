"""Memory, address space and threads that run out: told apart from what is wrong with a file.

Readers that take whatever a library raises for a fault of their file ask here first.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource

from natra_jax.printable import reason

ARRAY_RECORD = 64  # threads that it starts to read or write, and for each of which it waits
_STACK, _ARENA, _SPARE = 2**23, 2**26, 2**27  # bytes that a thread and malloc take, and others
_ADVICE = (
    "free some memory, take smaller batches, or allow more memory and processes "
    "(ulimit -v, ulimit -u)"
)
# in the messages of errors whose types say less: of threads, of libraries that are not mapped
# into memory, of XLA
_SAID = (
    "can't start new thread",
    "failed to map segment",
    "cannot map zero-fill",
    "cannot allocate memory",
    "resource_exhausted: out of memory",
    "std::bad_alloc",
)


def of(error: BaseException) -> bool:
    """Tell whether the error says that memory or threads have run out."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if not isinstance(error, ImportError | RuntimeError):
        return False
    said = str(error).lower()
    return any(words in said for words in _SAID)


def line(error: BaseException, what: str) -> str:
    """Return what to tell the user, who wanted what."""
    return f"not enough memory for {what}: {reason(error)}: {_ADVICE}"


def require_none(error: BaseException, what: str) -> None:
    """Raise UserError if memory or threads have run out for what was to be done."""
    if of(error):
        # imports JAX, for which the commands' first moment has no time
        from natra_jax.types import UserError

        raise UserError(line(error, what)) from error


def require_threads(count: int, what: str) -> None:
    """Raise UserError unless the address space that is allowed has room for so many threads.

    For a library that would wait for ever for those that it cannot start.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    arenas = min(count, 8 * (os.cpu_count() or 1))  # malloc's, which have no need of more
    room = count * (_STACK if stack == resource.RLIM_INFINITY else stack)
    room += arenas * _ARENA + _SPARE
    try:
        mmap.mmap(-1, room, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ).close()
    except (OSError, ValueError, OverflowError, MemoryError):
        why = f"{count} threads take {room >> 20} MB of addresses"
        require_none(MemoryError(why), what)
