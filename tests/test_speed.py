"""The benchmark: its table, and that its plain programs train as the scripts do."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bench import plain
from tests.conftest import ROOT


def test_the_benchmark_prints_its_table() -> None:
    command = [sys.executable, "bench/speed.py", "logit", "--rounds", "1", "--limit", "1000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (row,) = re.findall(r"^\| logit \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ", done.stdout, re.M)
    usual, ours, ratio = map(float, row)
    assert ratio == pytest.approx(ours / usual, abs=0.02)


@pytest.mark.parametrize("name", ["logit", "linear", "conv", "simple", "lstm"])
def test_the_plain_version_trains_as_the_script_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout, on one batch of images that no shift changes."""
    script = importlib.import_module(f"mnist.{name}")
    for place in (script, nn):
        monkeypatch.setattr(place, "Dropout", lambda p: nn.Identity(), raising=False)
    monkeypatch.setattr(torch, "channels_last", torch.contiguous_format)  # to round alike
    images = np.tile(np.arange(0, 200, 20, dtype=np.uint8)[:, None, None], (28, 28))
    labels, data = np.arange(10), str(tmp_path / "digits.npz")
    np.savez(data, x_train=images, y_train=labels, x_test=images[-2:], y_test=labels[-2:])
    flags = ["--epochs", "6", "--data", data, "--out", str(tmp_path)]
    script.main([*flags, "--device", "cpu", "--precision", "float32"])
    plain.main([name, *flags])
    ours, usual = (
        json.loads((tmp_path / file).read_bytes())
        for file in (f"{name}.json", f"plain-{name}.json")
    )
    assert ours["header"]["batch_size"] == plain.SIZES[name]
    losses = [[epoch["loss"] for epoch in run["epochs"][:3]] for run in (ours, usual)]
    assert losses[1] == pytest.approx(losses[0], rel=3e-3)


@pytest.mark.parametrize(("name", "rows"), [("gan", 6), ("cgan", 10)])
def test_a_plain_gan_draws_digits(name: str, rows: int, tmp_path: Path) -> None:
    plain.main([name, "--limit", "60", "--epochs", "2", "--out", str(tmp_path)])
    assert len(json.loads((tmp_path / f"plain-{name}.json").read_bytes())["epochs"]) == 2
    with Image.open(tmp_path / f"plain-{name}02.png") as picture:
        assert picture.size == (30 * 10 + 2, 30 * rows + 2)
