"""glibc's memory: kept from step to step, and not broken up by what stays.

Each training step allocates the same large tensors anew. By default glibc gives every block of
more than 128 KiB (in time, of more than up to 32 MiB) back to the system when it is freed, and the
next step pays for each of its pages again. So it is told to keep them. But a first step also
leaves behind small things that stay: an optimizer's state, the kernels that were made for these
shapes. Among kept blocks they would lie scattered over the whole, and the free memory between them
would be in pieces ever less fit for the large tensors. During the first steps, therefore, large
blocks are mapped each on its own, and what stays comes to lie together. And when an epoch is over,
what is free goes back once, so that gaps add up less. (Some do: small blocks that were freed glibc
keeps for the like of them, wherever they lie.)

`common.run.Run` begins with the first steps' way, `common.batches.batches` sees to the rest.
Elsewhere than with glibc all three functions do nothing.

Sources: mallopt(3), malloc_trim(3).
"""

import ctypes
import platform
import sys

GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
LIBC = ctypes.CDLL(None) if GLIBC else None

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def map_large_blocks() -> None:
    """Have each block over 128 KiB lie on its own, and go back to the system when it is freed."""
    if LIBC is not None:
        LIBC.mallopt(M_MMAP_THRESHOLD, 128 * 2**10)


def keep_freed_memory() -> None:
    """Have freed memory stay for the next step; blocks over 32 MiB still go back."""
    if LIBC is not None:
        LIBC.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # its highest
        LIBC.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Give what is kept back to the system, once."""
    if LIBC is not None:
        LIBC.malloc_trim(0)
