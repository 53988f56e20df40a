"""parallel.py: several processes train as one does, and go on after one was killed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import changed_copy, figures

TORCHRUN = ["-m", "torch.distributed.run", "--max-restarts", "3", "--nproc-per-node"]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of parallel.py without dropout; of two processes, one is killed in epoch 3."""
    loop = "            losses = []\n"
    kill = "            if (processes, rank, epoch, restarts) == (2, 1, 3, '0'):\n"
    kill += "                os.kill(os.getpid(), 9)\n"
    changes = ("dropout: float = 0.25", "dropout: float = 0"), (loop, kill + loop)
    return changed_copy("parallel", tmp_path_factory.mktemp("copy"), *changes)


def train(script: Path, data: Path, *torchrun: str) -> tuple[Path, str]:
    """Return the folder and the output of a run of 20 steps; an epoch's last batch has 2 images."""
    out = script.with_name("-".join(["out", *torchrun[-1:]]))
    flags = ["--epochs", "4", "--limit", "202", "--batch-size", "50", "--threads", "1"]
    flags += ["--precision", "float32", "--data", str(data), "--out", str(out)]
    program = [sys.executable, *torchrun, str(script), *flags]
    return out, subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module")
def alone(script: Path, few_digits: Path) -> Path:
    return train(script, few_digits)[0]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_are_as_one(processes: int, script: Path, alone: Path, few_digits: Path) -> None:
    out, log = train(script, few_digits, *TORCHRUN, str(processes))
    assert log.count("command: ") > (processes == 2)  # after the kill, the log so far was repeated
    assert not (out / "earlier").exists()  # it went on, and did not begin anew
    ours, theirs = (torch.load(folder / "parallel.pt") for folder in (out, alone))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=5e-5)
    for one, other in zip(*(figures(x, "parallel")["epochs"] for x in (out, alone)), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["accuracy"] == other["accuracy"]
