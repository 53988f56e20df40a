"""The device, its precision and its memory."""

import argparse
import ctypes
import os
import platform
import re
import sys
from pathlib import Path

import torch


def find_device(name: str) -> torch.device:
    """Return the device of a name, for argparse, after a kernel has run on it.

    `auto` is the accelerator. Where torch's build is too new for it, a warning is printed, and the
    CPU is taken. Each process that torchrun has started has a GPU of its own.
    """
    torchrun = "LOCAL_RANK" in os.environ
    wanted = torch.accelerator.current_accelerator(check_available=True) if name == "auto" else name
    try:
        device = torch.device(wanted or "cpu")
        if str(device) == "cuda" and torchrun:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.zeros(1, device=device).add(1).item()
    except (RuntimeError, AssertionError) as error:
        reason = f"torch cannot use the device {wanted}: {str(error).splitlines()[0]}"
        if name != "auto" or torchrun:
            raise argparse.ArgumentTypeError(reason) from None
        print(f"warning: {reason}; using the CPU", file=sys.stderr)
        return torch.device("cpu")
    return device


def choose_precision(wanted: str, device: torch.device, bfloat16_pays: bool) -> str:
    """Return "float32" or "bfloat16"; "auto" is bfloat16 where it pays and the device has it."""
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        native = any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    else:
        module = torch.get_device_module(device)
        native = device.type != "mps" and module.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native and bfloat16_pays else "float32"


def device_name(device: torch.device) -> str:
    """Return a device's type and product name, for instance `cpu, AMD EPYC`."""
    name, cpuinfo = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if device.type in ("cuda", "xpu"):
        name = torch.get_device_module(device).get_device_name(device)
    elif cpuinfo.exists() and (found := re.search(r"model name\s*: (.*)", cpuinfo.read_text())):
        name = found[1]
    return f"{device.type}, {name}"


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step.

    By default it returns large blocks to the system, and each step pays for their pages again.
    Source: mallopt(3). Elsewhere than with glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        libc, trim_threshold, mmap_threshold = ctypes.CDLL(None), -1, -3  # malloc.h
        libc.mallopt(mmap_threshold, 16 * 2**20)  # bytes: SimpNet would keep too much
        libc.mallopt(trim_threshold, 2**31 - 1)


def peak_memory(device: torch.device) -> float | None:
    """Return the most memory that this process has held, in MB; None where it is not known.

    On cuda and xpu this is the memory of the tensors on the device.
    """
    status = Path("/proc/self/status")
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).max_memory_allocated(device) / 2**20
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 2**10 if found else None
