"""The memory of a run."""

import ctypes
import platform
import re
from pathlib import Path

import torch


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step.

    By default it returns large blocks to the system, and each step pays for their pages again.
    Source: mallopt(3). Elsewhere than with glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        libc, trim_threshold, mmap_threshold = ctypes.CDLL(None), -1, -3  # malloc.h
        libc.mallopt(mmap_threshold, 16 * 2**20)  # bytes: SimpNet would keep too much
        libc.mallopt(trim_threshold, 2**31 - 1)


def peak_memory(device: torch.device) -> float:
    """Return the most memory that this process has held, in MB; 0 where it is not known.

    On cuda and xpu this is the memory of the tensors on the device.
    """
    status = Path("/proc/self/status")
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).max_memory_allocated(device) / 2**20
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 2**10 if found else 0.0
