"""What the tests of the scripts share."""

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# A shell starts what it puts in the background with Ctrl-C ignored, and the scripts that the tests
# stop would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def run_script(name: str, *flags: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `mnist/NAME.py` with flags, and return its exit status, output and errors."""
    return subprocess.run(
        [sys.executable, str(ROOT / "mnist" / f"{name}.py"), *flags],
        cwd=cwd,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def run_unread(name: str, *flags: str) -> tuple[int, str]:
    """Run `mnist/NAME.py` into a pipe that nobody reads; return its exit status and errors."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "mnist" / f"{name}.py"), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    return process.returncode, errors


def comparable(log: str) -> list[str]:
    """Return a log's lines but for those that hold a command, dates, times or paths."""
    prefixes = ("command:", "date:", "seconds:", "grid of mismatches:", "weights:")
    return [line for line in log.splitlines() if not line.startswith(prefixes)]


def write_digits(folder: Path, training: int, test: int) -> None:
    """Write the first training and test images and their labels to a folder, as IDX files."""
    from common.mnist import NAMES, mnist

    for key, array in mnist().items():
        few = array[: training if key in "xy" else test]
        header = bytes([0, 0, 8, few.ndim]) + struct.pack(f">{few.ndim}I", *few.shape)
        (folder / NAMES[key]).write_bytes(header + few.tobytes())


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the first 500 training and 100 test images, for networks that take long."""
    folder = tmp_path_factory.mktemp("few digits")
    write_digits(folder, training=500, test=100)
    return folder


@pytest.fixture(scope="session")
def trained_conv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a classifier, `conv.pt`, trained for a moment."""
    out = tmp_path_factory.mktemp("trained conv")
    done = run_script("conv", "--limit", "10000", "--epochs", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out / "conv.pt"
