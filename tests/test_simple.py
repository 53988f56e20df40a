"""SimpNet, and the average of its weights with its batch norms' statistics."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from common.batch_norm import renew_batch_norm
from common.batches import scaled
from common.dropout import ReLUDropout
from common.mnist import mnist
from mnist import simple, wsimple
from mnist.simple import SimpNet, distorted
from tests.conftest import run_script

EPOCH = r"^ *(\d+)\.  lr: \d\.\d{4}  training loss: \d\.\d{6}  test accuracy: [ \d]\d\.\d\d%$"


def test_parameters_and_shapes() -> None:
    model = SimpNet()
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_022_656
    x = torch.zeros(2, 1, 28, 28)
    shapes = []
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.Flatten | nn.Linear):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        (66, 28, 28), (64, 28, 28), (64, 28, 28), (64, 28, 28), (96, 28, 28),
        (96, 14, 14), (96, 14, 14), (96, 14, 14), (96, 14, 14), (144, 14, 14),
        (144, 7, 7), (178, 7, 7), (216, 7, 7), (216,), (10,),
    ]  # fmt: skip


def test_printed_form() -> None:
    lines = str(SimpNet()).splitlines()
    assert lines[:5] == [
        "SimpNet(",
        "  (0): Conv2d(1, 66, kernel_size=(3, 3), stride=(1, 1), padding=same)",
        f"  (1): {nn.BatchNorm2d(66, eps=1e-5, momentum=0.05)}",
        "  (2): ReLUDropout(p=0.2)",
        "  (3): Conv2d(66, 64, kernel_size=(3, 3), stride=(1, 1), padding=same)",
    ]
    assert [line.split(": ")[1] for line in lines[-7:-1]] == [
        "Conv2d(178, 216, kernel_size=(3, 3), stride=(1, 1), padding=same)",
        f"{nn.BatchNorm2d(216, eps=1e-5, momentum=0.05)}",
        f"{nn.MaxPool2d(7)}",
        f"{nn.Flatten()}",
        "ReLUDropout(p=0.2)",
        f"{nn.Linear(216, 10)}",
    ]
    kernels = re.findall(r"kernel_size=\((\d), \1\)", "\n".join(lines))
    assert kernels == ["3"] * 10 + ["1", "1", "3"]


def test_convolutions_begin_with_xavier_weights_for_relus() -> None:
    torch.manual_seed(0)
    for layer in SimpNet():
        if isinstance(layer, nn.Conv2d) and layer.in_channels > 1:
            fans = (layer.in_channels + layer.out_channels) * layer.kernel_size[0] ** 2
            assert layer.weight.std().item() == pytest.approx((4 / fans) ** 0.5, rel=0.03)
            # A normal distribution: its fourth moment is three times the variance squared.
            kurtosis = layer.weight.pow(4).mean() / layer.weight.var() ** 2
            assert kurtosis.item() == pytest.approx(3, rel=0.1)


def test_the_same_function_as_relu_ahead_of_pooling() -> None:
    torch.manual_seed(0)
    ours = SimpNet()
    x = torch.randn(20, 1, 28, 28)
    ours(x)  # gives the batch norms some statistics
    layers: list[nn.Module] = []
    for layer in ours.eval():
        if isinstance(layer, nn.MaxPool2d):
            layers.append(nn.ReLU())
        if isinstance(layer, ReLUDropout):
            pooled = isinstance(layers[-1], nn.MaxPool2d | nn.Flatten)
            layers.append(nn.Dropout(0.2) if pooled else nn.ReLU())
        else:
            layers.append(layer)
    torch.testing.assert_close(nn.Sequential(*layers).eval()(x), ours(x))


def test_both_scripts_have_the_same_network_and_distortions() -> None:
    for name in ("SimpNet", "distorted"):
        one, other = (inspect.getsource(getattr(script, name)) for script in (simple, wsimple))
        assert one == other
    assert simple.LAYERS == wsimple.LAYERS


def test_distortions_move_turn_scale_and_slant() -> None:
    torch.manual_seed(0)
    images = torch.full((500, 1, 28, 28), -1.0)
    images[:, :, 11:17, 8:20] = 1  # six pixels high and twelve wide, in the middle
    ink = (distorted(images).squeeze(1).double() + 1) / 2
    ink /= ink.sum((1, 2), keepdim=True)
    position = torch.arange(28) - 13.5
    down, right = (ink.sum(along) @ position.double() for along in (2, 1))
    for moved in (down, right):  # each by its own, up to 2.1 pixels, which scaling stretches
        assert 2 < moved.abs().max() < 2.1 / 0.85**2
        assert moved.mean().abs() < 0.2
        assert len(moved.unique()) == 500
    far_down = position - down.unsqueeze(1)
    far_right = position - right.unsqueeze(1)
    height = (ink.sum(2) * far_down**2).sum(1).sqrt()
    width = (ink.sum(1) * far_right**2).sum(1).sqrt()
    both = torch.einsum("nij,ni,nj->n", ink, far_down, far_right)
    for size, usual, slant in ((height, 6, 0.3), (width, 12, 0.1)):
        scale = size * 12**0.5 / usual  # a slanted one is longer
        assert 0.85 < scale.min() < 0.93 and 1.1 < scale.max() < 1.25 + slant
        assert scale.mean().sub(1).abs() < 0.1
    slope = both / width**2
    assert 0.1 < slope.max() < 0.25 and -0.25 < slope.min() < -0.1
    grey = torch.full((3, 1, 28, 28), 0.5)  # what comes in at the edges is like them
    torch.testing.assert_close(distorted(grey), grey)


@pytest.mark.parametrize("name", ["simple", "wsimple"])
@pytest.mark.parametrize(("epochs", "distorts", "moved"), [(19, False, 2), (20, True, 0)])
def test_long_runs_distort_their_images(
    epochs: int,
    distorts: bool,
    moved: int,
    name: str,
    few_digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = {"simple": simple, "wsimple": wsimple}[name]
    seen: list[tuple[Tensor, int]] = []

    def stopped(*given: Any) -> float:
        (images, labels), reach = next(iter(given[4])), given[5]
        assert images.shape == (100, 1, 28, 28) and labels.shape == (100,)
        seen.append((images, reach))
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "train_epoch", stopped)
    flags = ["--data", str(few_digits), "--epochs", str(epochs), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [f"{name}.py", *flags])
    with pytest.raises(SystemExit, match="130"):
        script.main()
    ((images, reach),) = seen
    grey = images * 127.5 + 127.5
    whole = (grey - grey.round()).abs().max() < 0.01  # the pixels as they are in the file
    assert (not whole, reach) == (distorts, moved)


def test_batch_norm_statistics_are_those_of_a_pass_over_the_data() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 5, 3),
        nn.BatchNorm2d(5, momentum=0.05),
        ReLUDropout(0.5),
        nn.Conv2d(5, 7, 3, stride=2),
        nn.BatchNorm2d(7, momentum=0.3),
    )
    # Batches that differ from each other, and a short last one.
    sizes = [16, 16, 16, 3]
    data = [
        (torch.randn(size, 1, 9, 9) * (number + 1) + number, torch.zeros(size))
        for number, size in enumerate(sizes)
    ]
    for images, _ in data:  # statistics of before, which must not count
        model(10 * images)

    entered: dict[int, list[Tensor]] = {1: [], 4: []}
    with torch.no_grad():
        for images, _ in data:
            x = images
            for number, layer in enumerate(model):
                if isinstance(layer, nn.BatchNorm2d):
                    entered[number].append(x)
                    x = nn.functional.batch_norm(x, None, None, layer.weight, layer.bias, True)
                else:
                    x = torch.relu(x) if isinstance(layer, ReLUDropout) else layer(x)

    renew_batch_norm(model, data)
    for number, inputs in entered.items():
        norm = model[number]
        assert isinstance(norm, nn.BatchNorm2d)
        everything = torch.cat(inputs)
        torch.testing.assert_close(norm.running_mean, everything.mean((0, 2, 3)))
        torch.testing.assert_close(norm.running_var, everything.var((0, 2, 3)))
    assert not any(module.training for module in model.modules())
    assert [model[1].momentum, model[4].momentum] == [0.05, 0.3]
    before = model[1].get_buffer("running_mean").clone()
    model.train()(data[0][0])  # in training they go on as ever, and nothing is added up any more
    after = model[1].get_buffer("running_mean")
    torch.testing.assert_close(after, 0.95 * before + 0.05 * entered[1][0].mean((0, 2, 3)))


def test_simple_writes_all_its_files(few_digits: Path, tmp_path: Path) -> None:
    flags = ("--data", str(few_digits), "--limit", "200", "--epochs", "1", "--out", str(tmp_path))
    done = run_script("simple", *flags)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "simple.log").read_text()
    assert done.stdout == log
    assert "model: SimpNet, 1,022,656 parameters\n" in log
    assert "epochs: 1, batch size: 100, iterations per epoch: 2, seed: 0\n" in log
    assert re.findall(EPOCH, log, re.M) == ["1"]
    assert (tmp_path / "simple.txt").read_text() == f"{SimpNet(0.04)}\n"
    assert Image.open(tmp_path / "simple.png").mode == "L"
    SimpNet().load_state_dict(torch.load(tmp_path / "simple.pt", weights_only=True))
    # With other epochs the dropout would be another; a run that is refused changes no file.
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = run_script("simple", *flags, "--epochs", "9", "--resume")
    assert done.returncode == 1 and "--epochs 1, not 9" in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["simple", "wsimple"])
@pytest.mark.parametrize(("epochs", "dropout"), [(3, 0.05), (20, 0.11), (50, 0.2), (100, 0.2)])
def test_dropout_grows_with_the_epochs(
    epochs: int,
    dropout: float,
    name: str,
    few_digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = {"simple": simple, "wsimple": wsimple}[name]
    trained: list[nn.Module] = []

    def stopped(model: nn.Module, *_: Any) -> float:
        trained.append(model)
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "train_epoch", stopped)
    flags = ["--data", str(few_digits), "--epochs", str(epochs), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [f"{name}.py", *flags])
    with pytest.raises(SystemExit, match="130"):
        script.main()
    (model,) = trained
    shares = [layer.p for layer in model.modules() if isinstance(layer, ReLUDropout)]
    assert shares == [dropout] * 13


def test_wsimple_averages_the_last_third(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script itself, with a look at the weights after each of its epochs."""
    weights: list[list[Tensor]] = []

    def looking_on(model: nn.Module, *others: Any) -> float:
        loss = train_epoch(model, *others)
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
        return loss

    train_epoch = wsimple.train_epoch
    monkeypatch.setattr(wsimple, "train_epoch", looking_on)
    flags = ["--data", str(few_digits), "--limit", "200", "--epochs", "5", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["wsimple.py", *flags, "--batch-size", "80"])
    wsimple.main()

    assert len(weights) == 5
    network = SimpNet()
    network.load_state_dict(torch.load(tmp_path / "wsimple.pt", weights_only=True))
    for average, *last in zip(network.parameters(), *weights[3:], strict=True):
        torch.testing.assert_close(average.data, torch.stack(last).mean(0))

    # The statistics saved with them belong to the average weights.
    images = torch.from_numpy(mnist(few_digits)["x"][:200]).unsqueeze(1)
    with torch.no_grad():
        entering = network[0](scaled(images))
    norm = network[1]
    torch.testing.assert_close(norm.get_buffer("running_mean"), entering.mean((0, 2, 3)))
    torch.testing.assert_close(norm.get_buffer("running_var"), entering.var((0, 2, 3)))

    log = (tmp_path / "wsimple.log").read_text().splitlines()
    begin = log.index("weight averaging:")
    assert re.match(EPOCH, log[begin - 1]) and log[begin - 1].startswith("  3.")
    assert re.match(EPOCH, log[begin + 1]) and log[begin + 1].startswith("  4.")
    assert log[begin + 3] == "average weights of epochs 4 to 5:"
    rates = [line.split()[2] for line in log[begin - 3 : begin + 3] if "lr:" in line]
    assert rates[-1] == rates[-2] == "0.0010"
    assert (tmp_path / "wsimple.png").exists()
