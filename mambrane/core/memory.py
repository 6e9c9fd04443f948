"""Keeps freed memory in the process, so that the next step finds its pages there.

glibc gives every block above 32 MB, and often smaller ones, back to the system when it is freed. A training step frees
and asks for the same blocks again and again, and each time the system maps and clears their pages anew: on a CPU that
costs a fifth of the step and more (docs/performance.md). The price is that memory stays at its peak until the end.
Source: mallopt(3), M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD.
"""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Numbers of the settings in glibc's malloc.h."""
_NEVER = -1
_GROWTH_BYTES = 256 * 1024**2
"""What the heap grows by; addresses only, pages come when they are first written."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; returns False, with nothing changed, where the allocator is not glibc's."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _GROWTH_BYTES), (_M_MMAP_MAX, 0))
    return all(mallopt(setting, value) == 1 for setting, value in settings)
