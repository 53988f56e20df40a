"""The benchmark: its table, and that what it compares is the same mathematics."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, cross_entropy

from bench import plain
from bench.parts import FLOAT32, PARTS, epoch_in_chunks
from bench.speed import MODELS, SCRIPTS, our_epoch
from common.batches import scaled
from common.dropout import ReLUDropout
from common.mnist import mnist
from mnist import cgan, gan
from tests.conftest import ROOT

NONE = "no script logits; there are logit, linear, conv, simple, lstm, gan, cgan"
PLAIN = {
    "logit": plain.logit,
    "linear": plain.linear,
    "conv": plain.conv,
    "simple": plain.simple,
    "lstm": plain.LSTM,
}


def some_images() -> tuple[Tensor, Tensor]:
    """Return 20 images, scaled, and their labels."""
    data = mnist()
    x = scaled(torch.from_numpy(data["x"][:20]).unsqueeze(1))
    return x, torch.from_numpy(data["y"][:20]).long()


def same_start(ours: nn.Module, usual: nn.Module, layout: torch.memory_format) -> None:
    """Give our network, in a layout, the weights of the plain one."""
    states = zip(ours.state_dict(), usual.state_dict().values(), strict=True)
    ours.load_state_dict(dict(states))
    ours.to(memory_format=layout)  # type: ignore[call-overload]
    for layer in (*ours.modules(), *usual.modules()):
        if isinstance(layer, ReLUDropout | nn.Dropout):
            layer.p = 0.0


def assert_same_gradients(ours: nn.Module, usual: nn.Module) -> None:
    """Assert that the gradients agree to the rounding of float32, each by its largest value."""
    for (name, mine), theirs in zip(ours.named_parameters(), usual.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None, name
        bound = 1e-4 * max(theirs.grad.abs().max().item(), 1e-3)
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=bound, msg=name)


@pytest.mark.parametrize("name", PLAIN)
def test_a_classifiers_loss_and_gradient_are_those_of_the_plain_version(name: str) -> None:
    torch.manual_seed(0)
    ours = getattr(importlib.import_module(f"mnist.{name}"), MODELS[name])()
    usual = PLAIN[name]()
    # In channels-last torch's own batch norm is coarser (by 4e-5 in SimpNet's first layer), which
    # thirteen layers on is enough for another pixel to be a maximum.
    layout = torch.contiguous_format if name == "simple" else torch.channels_last
    same_start(ours, usual, layout)
    images, labels = some_images()
    losses = []
    for model in (ours, usual):
        output = model(images.contiguous(memory_format=layout))
        logits = output[0] if isinstance(output, tuple) else output
        losses.append(cross_entropy(logits, labels, label_smoothing=0.01))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1])
    assert_same_gradients(ours, usual)


@pytest.mark.parametrize("name", ["gan", "cgan"])
def test_a_gans_loss_and_gradients_are_those_of_the_plain_version(name: str) -> None:
    torch.manual_seed(0)
    script = {"gan": gan, "cgan": cgan}[name]
    ours = script.Generator(), script.Discriminator()
    usual = plain.Generator(name == "cgan"), plain.Discriminator(name == "cgan")
    for mine, theirs in zip(ours, usual, strict=True):
        same_start(mine, theirs, torch.channels_last)
    images, labels = some_images()
    latent = torch.randn(20, 100, 1, 1)
    losses = []
    for networks in (ours, usual):
        digits = [labels] if networks is usual or name == "cgan" else []
        generator, discriminator = networks
        fake = discriminator(generator(latent, *digits), *digits)
        real = discriminator(images, *digits)
        losses.append(
            binary_cross_entropy(fake, torch.ones(20))
            + binary_cross_entropy(real, torch.full((20,), 0.9))
        )
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1])
    for mine, theirs in zip(ours, usual, strict=True):
        assert_same_gradients(mine, theirs)


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_part_can_be_left_out_of_a_step(name: str) -> None:
    images, labels = some_images()
    batch = [(images[:4], labels[:4])]
    for _, scripts, without in PARTS:
        if name in scripts:
            with without():
                our_epoch(name, FLOAT32)(batch)
    if name == "conv":
        epoch_in_chunks(3)(batch)
    step = plain.gan_step(name) if "gan" in name else plain.classifier_step(name)
    step(*batch[0])


def test_the_benchmark_prints_its_table() -> None:
    command = [sys.executable, "bench/speed.py", "logit", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    row = re.search(r"^\| logit \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ", done.stdout, re.M)
    assert row is not None, done.stdout
    usual, ours, ratio = map(float, row.groups())
    half = 0.0051  # of the last decimal that is printed
    assert (ours - half) / (usual + half) - half < ratio < (ours + half) / (usual - half) + half
    assert re.search(r"^device: cpu, .+, \d+ threads$", done.stdout, re.M)
    assert re.search(r"^sgemm: [1-9]\d* GFLOP/s$", done.stdout, re.M)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["speed", "logits"], NONE),
        (["graph", "logits"], NONE),
        (["speed", "--rounds", "0"], "argument --rounds: 0 is not a positive number"),
    ],
)
def test_bad_arguments_of_the_benchmark_are_one_clear_line(flags: list[str], reason: str) -> None:
    command = [sys.executable, f"bench/{flags[0]}.py", *flags[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(reason)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_there_is_nothing_to_measure() -> None:
    command = [sys.executable, "bench/graph.py", "logit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "bench: no CUDA device here\n"


@pytest.mark.parametrize("program", ["speed", "parts"])
def test_without_data_a_benchmark_ends_with_one_clear_line(program: str, tmp_path: Path) -> None:
    for name in ("bench", "common", "mnist"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("out", "data"))
    data = tmp_path / "mnist/data"
    data.mkdir()
    (data / "t10k-images-idx3-ubyte").touch()  # with none at all they would be fetched
    command = [sys.executable, str(tmp_path / f"bench/{program}.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"bench: {data}: train-images-idx3-ubyte, ")
    assert done.stderr.count("\n") == 1
