"""plain.py, the one file that runs wherever it is copied."""

import shutil
import subprocess
import sys
from pathlib import Path

import torch

from mnist.conv import ConvNet
from tests.conftest import ROOT


def test_the_file_alone_trains_in_an_empty_folder(few_digits: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "mnist/plain.py", tmp_path)
    command = [sys.executable, "-I", "plain.py", "--epochs", "6"]  # -I: no other modules are found
    without = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert without.returncode == 1
    (line,) = without.stderr.splitlines()
    assert f"{tmp_path}/data/train-images-idx3-ubyte.gz" in line

    shutil.copytree(few_digits, tmp_path / "data")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    percent = float(lines[5].split()[-1].removesuffix("%"))  # after the last epoch
    misread = sum(len(row.split("|")[1].split()) for row in lines[6:16])
    assert percent == 100 - misread > 70  # of 100
    (weights,) = (tmp_path / "out").iterdir()
    assert lines[16:] == [f"weights: {weights}"]
    ConvNet().load_state_dict(torch.load(weights))
