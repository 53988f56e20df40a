"""The scripts, run as a user runs them: what they write, their flags, and bad input."""

import copy
import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from common.batches import scaled
from common.flags import parse_flags
from common.mnist import mnist
from common.run import Run
from mnist import conv
from mnist.conv import ConvNet
from mnist.logit import Logit
from mnist.simple import SimpNet
from tests.conftest import (
    ROOT,
    SHORT,
    Capsys,
    Finished,
    Patch,
    Train,
    call_main,
    changed_copy,
    comparable,
    figures,
    files_in,
    run_python,
    run_script,
    write_npz,
)

WITH_LOSS = "{epoch:3}.  loss: {loss:8.6f}  test: {test_loss:.4f}  accuracy: {accuracy:5.2f}%"
WITH_RATE = "{epoch:3}.  lr: {lr:.4f}  training loss: {loss:8.6f}  test accuracy: {accuracy:5.2f}%"
FORMS = {"logit": WITH_LOSS, "linear": WITH_LOSS}
DEEP = ["conv", "fast", "swa", "simple", "wsimple", "lstm", "cct", "resnet", "few", "parallel"]
FORMS |= dict.fromkeys(DEEP, WITH_RATE)


@pytest.mark.parametrize("name", FORMS)
def test_a_run_leaves_log_figures_picture_and_weights(name: str, finished: Finished) -> None:
    """The runs are those of `main([...])` in a program with arguments of its own, pytest."""
    out = finished(name)
    endings = ["json", "log", "png", "pt", *(["txt"] if "simple" in name else [])]
    assert sorted(files_in(out)) == [f"{name}.{ending}" for ending in endings]
    run, log = figures(out, name), (out / f"{name}.log").read_text()
    header, final = run["header"], run["final"]
    network = getattr(importlib.import_module(f"mnist.{name}"), final["network"])()
    network.load_state_dict(torch.load(out / f"{name}.pt"))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert header["networks"] == {"model": final["network"]}
    assert header["parameters"] == {"model": count}
    assert header["script"] == f"mnist/{name}.py" and header["command"] in log
    lines = re.findall(r"^ *\d+\.  l.*", log, re.M)
    assert lines == [FORMS[name].format(**epoch) for epoch in run["epochs"]]
    assert [epoch["epoch"] for epoch in run["epochs"]] == list(range(1, header["epochs"] + 1))
    words = f"{final['accuracy']:.2f}% test accuracy, {final['misread']} of {header['tested']}"
    assert f"\n{words} misread\n" in log


@pytest.mark.parametrize(("name", "bound"), [("conv", 700), ("simple", 1200), ("gan", 700)])
def test_a_program_in_any_folder(name: str, bound: int, few_digits: Path, tmp_path: Path) -> None:
    """It prints its log, writes in `--out` alone, keeps to the bound on memory, and is repeated."""
    before, elsewhere = set((ROOT / "mnist").rglob("*")), tmp_path / "a folder with spaces"
    elsewhere.mkdir()
    flags = ["--data", few_digits, "--limit", "240", "--epochs", "1", "--precision", "float32"]
    done = run_script(name, *flags, "--out", "my out", cwd=elsewhere)
    assert done.returncode == 0
    out = elsewhere / "my out"
    assert done.stdout == (out / f"{name}.log").read_text()
    assert [path.name for path in elsewhere.iterdir()] == ["my out"]
    assert set((ROOT / "mnist").rglob("*")) == before
    assert 100 < figures(out, name)["final"]["peak_mb"] < bound

    for seed in ("0", "1") if name == "conv" else ("0",):
        call_main(name, *flags, "--out", tmp_path / seed, "--seed", seed)
        other = files_in(tmp_path / seed)
        assert (other[f"{name}.pt"] == files_in(out)[f"{name}.pt"]) == (seed == "0")
        log = comparable(other[f"{name}.log"].decode())
        assert (log == comparable(done.stdout)) == (seed == "0")


def test_training_learns(trained_conv: Path, tmp_path: Path) -> None:
    call_main("logit", "--epochs", "2", "--out", tmp_path)
    assert figures(tmp_path, "logit")["final"]["accuracy"] > 90.5
    assert figures(trained_conv.parent, "conv")["final"]["accuracy"] > 94


def test_resnet_learns_colours_and_a_hundred_classes(tmp_path: Path) -> None:
    """One line changes, and two arguments: nothing else is about the images."""
    line, arguments = "run.load((1, 28, 28), classes=10)", "channels: int = 1, classes: int = 10"
    changes = (line, "run.load((3, 32, 32), classes=100)"), (arguments, "channels=3, classes=100")
    script = changed_copy("resnet", tmp_path, *changes)
    random, y = np.random.default_rng(0), np.arange(900) % 100
    tiles = random.integers(0, 256, (100, 4, 4, 3)).repeat(8, 1).repeat(8, 2)  # one a class
    x = (tiles[y] * 0.7 + random.integers(0, 77, (900, 32, 32, 3))).astype(np.uint8)
    data = write_npz(tmp_path / "tiles.npz", x[99:], y[99:], x[:99], y[:99])
    run_python(script, "--data", data, "--epochs", "2", "--batch-size", "20", "--threads", "1")
    assert figures(tmp_path / "mnist/out", "resnet")["final"]["accuracy"] > 80
    assert Image.open(tmp_path / "mnist/out/resnet.png").mode == "RGB"


@pytest.mark.parametrize("name", [name for name in FORMS if FORMS[name] == WITH_RATE])
@pytest.mark.parametrize("images", [1, 5])
def test_a_run_of_a_few_steps(name: str, images: int, train: Train, tmp_path: Path) -> None:
    """A schedule divides by zero where its rising part is a single step long."""
    train(name, "--limit", images, "--batch-size", "1", "--epochs", "1")
    assert figures(tmp_path, name)["final"]["accuracy"] >= 0


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--limit", "30"], (slice(30), slice(30))),
        (["--validate"], (slice(417), slice(417, None))),
        (["--validate", "--limit", "50"], (slice(50), slice(417, 467))),
        (["--validate", "--data", f"{ROOT}/mnist/data"], (slice(50_000), slice(50_000, None))),
    ],
)
def test_limit_and_validation(
    flags: list[str], parts: tuple[slice, slice], few_digits: Path
) -> None:
    parsed = parse_flags(["--data", str(few_digits), *flags], conv.__file__, None, 1, 10, 0.1)
    run, data = Run(parsed), mnist(parsed.data)
    keys = ("xy", "xy" if parsed.validate else "XY")  # the test images are never shown
    expected = [data[key][part] for pair, part in zip(keys, parts, strict=True) for key in pair]
    for tensor, array in zip(run.load((1, 28, 28), 10), expected, strict=True):
        assert np.array_equal(tensor.numpy().squeeze(), array)
    assert run.tested == ("held-out" if parsed.validate else "test")


def test_weights_are_where_a_run_starts(finished: Finished, train: Train, tmp_path: Path) -> None:
    trained, path = torch.load(finished("logit") / "logit.pt"), tmp_path / "mine.pt"
    for prefix in ("", "_orig_mod.", "module."):  # a compiled network's and DataParallel's
        torch.save({prefix + name: tensor.double() for name, tensor in trained.items()}, path)
        assert train("logit", "--weights", path, "--lr", "1e-30", "--epochs", "1") is None
        ours = torch.load(tmp_path / "logit.pt")
        assert all(torch.equal(ours[name], tensor) for name, tensor in trained.items())
    torch.save({name: tensor.to(torch.float8_e4m3fn) for name, tensor in trained.items()}, path)
    assert train("logit", "--evaluate", "--weights", path) is None


@pytest.mark.parametrize(
    "kind", ["missing", "damaged", "not finite", "another network's", "numbered"]
)
def test_weights_that_cannot_be_used(kind: str, train: Train, tmp_path: Path) -> None:
    path, network = tmp_path / "mine.pt", SimpNet() if kind.startswith("another") else Logit()
    if kind != "missing":
        torch.save({name: x / 0 for name, x in network.state_dict().items()}, path)
    if kind == "numbered":
        torch.save(dict(enumerate(network.state_dict().values())), path)
    if kind == "damaged":
        path.write_bytes(path.read_bytes()[:1000])
    before = files_in(tmp_path)
    for flags in ([], ["--evaluate"]):
        assert str(path) in str(train("logit", "--weights", path, *flags))
        assert files_in(tmp_path) == before


@pytest.mark.parametrize("name", SHORT)
def test_evaluation_repeats_the_figures_and_leaves_the_run_as_it_was(
    name: str, finished: Finished, train: Train
) -> None:
    out = finished(name)
    before = files_in(out)
    train(name, *SHORT[name], "--evaluate", "--out", out)
    ours, theirs = (figures(out, x)["final"] for x in (f"{name}-evaluated", name))
    compared = ("accuracy", "misread", "temperature", "unsure") if name in FORMS else ()
    assert all(ours[key] == theirs[key] for key in compared)
    if name in FORMS:
        header = figures(out, f"{name}-evaluated")["header"]
        assert header["weights hash"] == theirs["weights"]
    with Image.open(out / f"{name}-evaluated.png") as image:
        assert len(np.unique(np.asarray(image))) > 10
    for key in files_in(out).keys() - before.keys():
        assert key.startswith(f"{name}-evaluated") and not key.endswith(".pt")
        (out / key).unlink()
    assert files_in(out) == before


@pytest.mark.parametrize("name", ["swa", "wsimple"])
def test_final_weights_are_the_mean_of_the_last_epochs(
    name: str, train: Train, few_digits: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    """Of 5 epochs the last two; the weights are taken from the checkpoints."""
    saved: list[dict[str, Tensor]] = []
    save = torch.save

    def looking_on(states: dict[str, Any], *rest: Any) -> None:
        save(states, *rest)
        if "states" in states:
            saved.append(copy.deepcopy(states["states"]["model"]))

    monkeypatch.setattr(torch, "save", looking_on)
    train(name, *SHORT[name])
    network = SimpNet() if name == "wsimple" else ConvNet()
    network.load_state_dict(torch.load(tmp_path / f"{name}.pt"))
    for key, average in network.named_parameters():
        assert len(saved) == 5 and not torch.allclose(average, saved[-1][key])
        torch.testing.assert_close(average.data, (saved[3][key] + saved[4][key]) / 2)
    if name == "wsimple":  # the statistics saved with them belong to the average weights
        entering = network[0](scaled(torch.from_numpy(mnist(few_digits)["x"][:20, None])))
        mean = entering.detach().mean((0, 2, 3))
        torch.testing.assert_close(network[1].running_mean, mean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("flag", "value"), [("--epochs", "0"), ("--lr", "nan"), ("--device", "abacus")]
)
def test_bad_arguments(flag: str, value: str, train: Train, capsys: Capsys) -> None:
    assert train("logit", flag, value) == 2
    assert f"{flag}: " in capsys.readouterr().err.splitlines()[-1]
