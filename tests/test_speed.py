"""The benchmark: its table, and that its plain programs train as the scripts do."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bench import plain
from common.batches import batches
from common.data import load
from common.record import Record
from tests.conftest import Patch, call_main, figures, run_python, write_npz


def test_the_benchmark_prints_its_table() -> None:
    done = run_python("bench/speed.py", "logit", "--rounds", "1", "--limit", "1000")
    (row,) = re.findall(r"^\| logit \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ", done.stdout, re.M)
    usual, ours, ratio = map(float, row)
    assert ratio == pytest.approx(ours / usual, abs=0.02)


@pytest.mark.parametrize("name", ["logit", "linear", "conv", "simple", "lstm"])
def test_the_plain_version_trains_as_the_script_does(
    name: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    """Without dropout, on one batch of images that no shift changes."""
    script = importlib.import_module(f"mnist.{name}")
    for place in (script, nn):
        monkeypatch.setattr(place, "Dropout", lambda p: nn.Identity(), raising=False)
    monkeypatch.setattr(torch, "channels_last", torch.contiguous_format)  # to round alike
    images = np.tile(np.arange(0, 200, 20, dtype=np.uint8)[:, None, None], (28, 28))
    labels = np.arange(10)
    data = write_npz(tmp_path / "digits.npz", images, labels, images[-2:], labels[-2:])
    flags = ["--epochs", "6", "--data", str(data), "--out", str(tmp_path)]
    script.main([*flags, "--device", "cpu", "--precision", "float32"])
    plain.main([name, *flags])
    ours, usual = (figures(tmp_path, run) for run in (name, f"plain-{name}"))
    assert ours["header"]["batch_size"] == plain.SIZES[name]
    losses = [[epoch["loss"] for epoch in run["epochs"][:3]] for run in (ours, usual)]
    assert losses[1] == pytest.approx(losses[0], rel=3e-3)


@pytest.mark.parametrize("name", ["gan", "cgan"])
def test_the_plain_gan_trains_as_the_script_does(
    name: str, few_digits: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    """On two batches: the second one's losses depend on both steps for the first."""
    monkeypatch.setattr(torch, "channels_last", torch.contiguous_format)  # to round alike
    flags = ["--limit", 30, "--batch-size", 15, "--epochs", 1, "--precision", "float32"]
    call_main(name, *flags, "--data", few_digits, "--out", tmp_path)
    torch.manual_seed(0)
    torch.randn(10_000, 100, 1, 1)  # what the script draws in the end
    x_train, y_train = load(few_digits, limit=30)[:2]
    train = batches(x_train, y_train, 15)
    (usual,) = plain.train_gan(name, 1, train, Record(f"plain-{name}", tmp_path))
    (ours,) = figures(tmp_path, name)["epochs"]
    losses = ours["discriminator_loss"] + ours["generator_loss"]
    assert losses == pytest.approx(usual["loss"], rel=3e-3)
    # In so short a run, the average of the weights is the weights of the last step.
    averaged, last = (torch.load(tmp_path / f"{run}.pt") for run in (name, f"plain-{name}"))
    for key, tensor in averaged.items():
        # Adam's first steps have the gradient's sign, whatever its size.
        assert ((tensor - last[key]).abs() > 1e-4).double().mean() < 0.01, key


@pytest.mark.parametrize(("name", "rows"), [("gan", 6), ("cgan", 10)])
def test_a_plain_gan_draws_digits(name: str, rows: int, tmp_path: Path) -> None:
    plain.main([name, "--limit", "60", "--epochs", "2", "--out", str(tmp_path)])
    assert len(figures(tmp_path, f"plain-{name}")["epochs"]) == 2
    with Image.open(tmp_path / f"plain-{name}02.png") as picture:
        assert picture.size == (30 * 10 + 2, 30 * rows + 2)
