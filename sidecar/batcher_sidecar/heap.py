"""Keeps memory that large bodies leave behind, instead of giving it back and asking for it anew.

glibc returns freed memory at the end of its heap to the kernel beyond 128 KiB, and takes blocks of
more than that from it one by one. A body of half a megabyte then costs more in page faults than in
all that is done with it.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # malloc.h of glibc
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_BLOCK_BYTES: Final = 32 << 20  # the most that glibc accepts on 64 bits


def keep_freed_memory(limit_bytes: int) -> bool:
    """Keep up to so many freed bytes for what comes next; tell whether the C library can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    kept_bytes = min(limit_bytes, (1 << 31) - 1)
    block_bytes = min(limit_bytes, _LARGEST_BLOCK_BYTES)
    return bool(
        mallopt(_M_TRIM_THRESHOLD, kept_bytes) and mallopt(_M_MMAP_THRESHOLD, block_bytes)
    )
