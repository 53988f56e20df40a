"""Less memory: torch's compiler is not loaded, and what a step frees the next one uses again.

torch's optimizers import its compiler at their first call, only to tell it which of their functions
it must leave alone. That takes as long as the import of torch itself, and tens of megabytes, for
something that no script here uses.

Each training step allocates the same large tensors anew. By default glibc gives every block of
more than 128 KiB (in time, of more than up to 32 MiB) back to the system when it is freed, and the
next step pays for each of its pages again. So it is told to keep them. But a first step also
leaves behind small things that stay: an optimizer's state, the kernels that were made for these
shapes. Among kept blocks they would lie scattered over the whole, and the free memory between them
would be in pieces ever less fit for the large tensors. During the first steps, therefore, large
blocks are mapped each on its own, and what stays comes to lie together. And when an epoch is over,
what is free goes back once, so that gaps add up less. (Some do: small blocks that were freed glibc
keeps for the like of them, wherever they lie.)

`common.run.Run` leaves out the compiler and begins with the first steps' way,
`common.batches.batches` sees to the rest. Elsewhere than with glibc the last three functions do
nothing.

Sources: torch/_compile.py and torch/optim/optimizer.py of torch 2.13; mallopt(3), malloc_trim(3).
"""

import ctypes
import platform
import sys
from typing import Any

import torch
from torch.optim import SGD, Adam, Optimizer

GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
LIBC = ctypes.CDLL(None) if GLIBC else None

ANSWER = "__dynamo_disable"  # torch/_compile.py

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def leave_out_compiler() -> None:
    """Have SGD, Adam and what derives from it (AdamW) not import torch's compiler.

    `torch.compile` still works, of their steps, too. Versions of torch whose source was not read
    for this keep their ways, and so does a program that has made an optimizer before.
    """
    marked: list[Any] = [  # each asks the compiler once, and keeps the answer
        Optimizer.add_param_group,
        Optimizer.load_state_dict,
        Optimizer.state_dict,
        Optimizer.zero_grad,
    ]
    if not torch.__version__.startswith("2.13.") or hasattr(marked[0].__wrapped__, ANSWER):
        return
    for method in marked:
        setattr(method.__wrapped__, ANSWER, method.__wrapped__)
    # The decorator that has a step taken without gradients asks each time: torch.no_grad does not.
    kinds: tuple[Any, ...] = (Adam, SGD)
    for kind in kinds:
        kind.step = torch.no_grad()(kind.step.__wrapped__)


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
