"""The two generative scripts: their networks, their steps, and whole runs on real data."""

import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common.batches import draw, scaled
from common.layers import Conv2d, ConvTranspose2d
from common.mnist import makegrid, mnist
from common.scores import Judge
from common.weights import load_weights
from mnist import cgan, gan
from mnist.conv import ConvNet
from tests.conftest import ROOT, run_script

SCRIPTS = {"gan": gan, "cgan": cgan}
LIMIT = 121  # two batches, and a last one of a single image
FLAGS = ("--limit", str(LIMIT), "--device", "cpu", "--precision", "float32")
FLOAT32 = torch.autocast("cpu", torch.bfloat16, enabled=False)
CLOCK = r"\d\d:\d\d:\d\d"

Batch = tuple[Tensor, Tensor]
both = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)


def test_the_conditional_loop_differs_by_digits_noise_and_number_alone() -> None:
    conditional = inspect.getsource(cgan.train_epoch)
    for digits in (r", asked\b", r", labels\b", r" +asked = .*\n"):
        conditional = re.sub(digits, "", conditional)
    loop = inspect.getsource(gan.train_epoch)
    alone = ((r"noisy\((.+)\)\)", r"\1)", 3), (r"\[: len\(images\)\]", "", 1))
    for pattern, other, times in (*alone, (r" +# Twice .*\n", "", 1), (r"2 \* ", "", 1)):
        loop, count = re.subn(pattern, other, loop)
        assert count == times, pattern
    assert conditional == loop.replace(", _", "")


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (gan.Generator(), 837_504),
        (gan.Discriminator(), 659_456),
        (cgan.Generator(), 878_564),
        (cgan.Discriminator(), 700_964),
    ],
)
def test_parameters(network: nn.Module, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@both
def test_shapes_at_each_layer(script: ModuleType) -> None:
    digits = torch.arange(5)
    generator, discriminator = script.Generator(), script.Discriminator()
    assert shapes(generator, torch.randn(5, 100, 1, 1), digits) == [
        (256, 4, 4),
        (128, 7, 7),
        (64, 14, 14),
        (1, 28, 28),
    ]
    assert shapes(discriminator, torch.randn(5, 1, 28, 28), digits) == [
        (64, 14, 14),
        (128, 7, 7),
        (256, 3, 3),
        (1, 1, 1),
    ]
    images = apply(generator, 3 * torch.randn(5, 100, 1, 1), digits)
    assert images.shape == (5, 1, 28, 28) and images.abs().max() <= 1
    real = apply(discriminator, images, digits)
    assert real.shape == (5,) and real.min() > 0 and real.max() < 1


def test_digits_are_joined_to_both_inputs() -> None:
    """110 x 1 x 1 enter the generator's layers, 2 x 28 x 28 the discriminator's, as they should."""
    generator, discriminator = cgan.Generator(), cgan.Discriminator()
    latent, images = torch.randn(3, 100, 1, 1), torch.randn(3, 1, 28, 28)
    digits = torch.tensor([7, 0, 7])
    entered: list[Tensor] = []
    for network, x in ((generator, latent), (discriminator, images)):
        network.layers.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
        network(x, digits)
    assert entered[0].shape == (3, 110, 1, 1) and entered[1].shape == (3, 2, 28, 28)
    assert torch.equal(entered[0][:, :100], latent) and torch.equal(entered[1][:, :1], images)
    for x in (entered[0][:, 100:], entered[1][:, 1:]):
        assert torch.equal(x[0], x[2]) and not torch.equal(x[0], x[1])


@both
def test_a_step_leaves_the_other_network_untouched(script: ModuleType) -> None:
    training = Training(script)
    networks = {"generator": training.generator, "discriminator": training.discriminator}
    optimizers = {
        "generator": training.generator_optimizer,
        "discriminator": training.discriminator_optimizer,
    }
    steps: list[str] = []
    before: dict[str, list[Tensor]] = {}
    gradients: dict[str, list[Tensor | None]] = {name: [None] * 99 for name in networks}

    def watch(name: str, other: str) -> None:
        def about_to_step(*_: object) -> None:
            for key, network in networks.items():
                before[key] = [x.detach().clone() for x in network.parameters()]
            # The other network's gradients are those of its own last step.
            for x, gradient in zip(networks[other].parameters(), gradients[other], strict=False):
                assert (x.grad is None) == (gradient is None)
                assert gradient is None or torch.equal(x.grad, gradient)
            gradients[name] = [x.grad.clone() for x in networks[name].parameters()]

        def has_stepped(*_: object) -> None:
            steps.append(name)
            for key, network in networks.items():
                for x, was in zip(network.parameters(), before[key], strict=True):
                    assert torch.equal(x, was) == (key == other)

        optimizers[name].register_step_pre_hook(about_to_step)
        optimizers[name].register_step_post_hook(has_stepped)

    watch("discriminator", "generator")
    watch("generator", "discriminator")
    training.epoch(batches(30, 3))
    assert steps == ["discriminator", "generator"] * 3
    for network in networks.values():
        assert network.training and all(x.requires_grad for x in network.parameters())


@both
def test_losses_and_gradients_are_those_of_the_three_steps_written_plainly(
    script: ModuleType,
) -> None:
    """Each loss with a backward pass of its own, and the gradients of all weights."""
    training, plain = Training(script), Training(script)
    taken: dict[str, list[Tensor]] = {}
    for name in ("generator", "discriminator"):
        network, optimizer = getattr(training, name), getattr(training, f"{name}_optimizer")
        optimizer.register_step_pre_hook(
            lambda *_, name=name, network=network: taken.update(
                {name: [x.grad.clone() for x in network.parameters()]}
            )
        )
    (batch,) = batches(30, 1)
    torch.manual_seed(5)
    losses = training.epoch([batch])

    torch.manual_seed(5)
    images, labels = batch
    drawn = 60 if script is gan else 30
    latent = torch.randn(drawn, 100, 1, 1)
    asked = torch.randint(10, (30,)) if script is cgan else labels
    generator, discriminator = plain.generator, plain.discriminator
    generated = apply(generator, latent, asked)
    noise_of_real, noise_of_fake = torch.zeros(2, *images.shape)
    noise_in_the_last_step = torch.zeros_like(generated)
    if script is gan:
        noise_of_real, noise_of_fake = (0.6 * torch.randn_like(images) for _ in range(2))
    target = torch.empty(30).uniform_(0.8, 1)
    real_loss = binary_cross_entropy(apply(discriminator, images + noise_of_real, labels), target)
    real_loss.backward()
    fake = apply(discriminator, generated[:30].detach() + noise_of_fake, asked)
    fake_loss = binary_cross_entropy(fake, torch.zeros(30))
    fake_loss.backward()
    for x, gradient in zip(discriminator.parameters(), taken["discriminator"], strict=True):
        torch.testing.assert_close(gradient, x.grad, rtol=1e-3, atol=1e-6)
    plain.discriminator_optimizer.step()
    if script is gan:
        noise_in_the_last_step = 0.6 * torch.randn_like(generated)
    accepted = apply(discriminator, generated + noise_in_the_last_step, asked)
    generator_loss = binary_cross_entropy(accepted, torch.ones(drawn))
    generator_loss.backward()
    for x, gradient in zip(generator.parameters(), taken["generator"], strict=True):
        torch.testing.assert_close(gradient, x.grad, rtol=1e-3, atol=1e-6)
    expected = [(real_loss + fake_loss).item(), generator_loss.item()]
    assert losses == pytest.approx(expected, rel=1e-5)


@both
def test_targets(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    targets: list[Tensor] = []

    def noting(probability: Tensor, target: Tensor) -> Tensor:
        assert probability.dtype == target.dtype == torch.float32
        targets.append(target)
        return binary_cross_entropy(probability, target)

    monkeypatch.setattr(script, "binary_cross_entropy", noting)
    autocast = torch.autocast("cpu", torch.bfloat16)
    Training(script).epoch(batches(60, 2), autocast)
    assert len(targets) == 6
    for real, fake, generated in (targets[:3], targets[3:]):
        assert real.shape == fake.shape == (60,)
        assert generated.shape == (120 if script is gan else 60,)
        assert 0.8 <= real.min() < 0.82 and 0.98 < real.max() <= 1
        assert 0.87 < real.mean() < 0.93
        assert (fake == 0).all() and (generated == 1).all()
    assert not torch.equal(targets[0], targets[3])


def test_losses_are_the_medians_over_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []

    def noting(probability: Tensor, target: Tensor) -> Tensor:
        loss = binary_cross_entropy(probability, target)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(gan, "binary_cross_entropy", noting)
    medians = Training(gan).epoch(batches(20, 4))
    real, fake, generated = (np.array(losses[step::3]) for step in range(3))
    assert medians == pytest.approx([np.median(real + fake), np.median(generated)], rel=1e-5)


def test_averaged_generator_follows_weights_and_statistics() -> None:
    training = Training(gan)
    training.averaged.multi_avg_fn = get_ema_multi_avg_fn(0.75)
    states: list[dict[str, Tensor]] = []

    def looked_at() -> Iterator[Batch]:
        for batch in batches(20, 3):
            yield batch
            states.append(
                {k: x.double().clone() for k, x in training.generator.state_dict().items()}
            )

    training.epoch(looked_at())
    for name, average in training.averaged.module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            first, second, third = (state[name] for state in states)
            expected = 0.25 * third + 0.75 * (0.25 * second + 0.75 * first)
            torch.testing.assert_close(average.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module", params=SCRIPTS)
def run(
    request: pytest.FixtureRequest, trained_conv: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, str]:
    """A script's name, the folder of its run of three epochs with a judge, and what it printed."""
    name, out = request.param, tmp_path_factory.mktemp(request.param)
    shutil.copy(trained_conv, out)
    done = run_script(name, *FLAGS, "--epochs", "3", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return name, out, done.stdout


def test_run_writes_all_files(run: tuple[str, Path, str]) -> None:
    name, out, printed = run
    pictures = [f"{name}{epoch:02}.png" for epoch in (1, 2, 3)]
    others = [
        f"{name}{end}" for end in (".gif", ".log", ".pt", ".resume.pt", ".txt", "-course.png")
    ]
    assert sorted(x.name for x in out.iterdir()) == sorted([*pictures, *others, "conv.pt"])
    assert (out / f"{name}.log").read_text() == printed

    columns = 6 if name == "gan" else 10
    for picture in pictures:
        with Image.open(out / picture) as image:
            assert image.mode == "L" and image.size == (columns * 30 + 2, 10 * 30 + 2)
    with Image.open(out / f"{name}.gif") as image:
        assert getattr(image, "n_frames", 1) == 3 and image.info["loop"] == 0
        for epoch, picture in enumerate(pictures):
            image.seek(epoch)
            assert image.info["duration"] == 1000
            with Image.open(out / picture) as still:
                assert np.array_equal(np.asarray(image.convert("L")), np.asarray(still))

    script = SCRIPTS[name]
    models = f"{script.Generator()}\n{script.Discriminator()}\n"
    assert (out / f"{name}.txt").read_text() == models
    latent = {"gan": 100, "cgan": 110}[name]
    assert (
        f"ConvTranspose2d({latent}, 256, kernel_size=(4, 4), stride=(1, 1), bias=False)" in models
    )
    channels = {"gan": 1, "cgan": 2}[name]
    assert f"Conv2d({channels}, 64, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1)" in models


def test_log(run: tuple[str, Path, str]) -> None:
    name, out, printed = run
    assert re.search(
        rf"^judge: {out}/conv\.pt, 9\d\.\d\d% of the test images read right,"
        rf" temperature 0\.\d{{3}}; Frechet distance of {LIMIT} training images: \d+\.\d{{3}}$",
        printed,
        re.M,
    )
    assert "epochs: 3, batch size: 60, iterations per epoch: 3, seed: 0\n\n" in printed
    lines = printed.split("\n\n")[1].splitlines()
    assert len(lines) == 6
    asked = r"digit as asked: \d+\.\d\d%  " if name == "cgan" else ""
    for epoch in (1, 2, 3):
        assert re.fullmatch(
            rf"Epoch: {epoch}    {CLOCK}    Median loss for discriminator: \d\.\d{{3}}"
            r"\tgenerator: \d\.\d{3}",
            lines[2 * epoch - 2],
        )
        assert re.fullmatch(
            rf" {{10}}{asked}Frechet distance: \d+\.\d\d \(training images: 1\)"
            r"  rarest digit: \d+\.\d\d%  Inception Score: \d\.\d\d \(test images: \d\.\d\d\)",
            lines[2 * epoch - 1],
        )
    assert f"Generated digits in dir {out}, {name}01.png - {name}03.png, {name}.gif\n" in printed
    memory = re.search(r"([\d,]+) MB at the peak", printed)
    assert memory is not None
    assert int(memory[1].replace(",", "")) < 700
    seconds = re.search(r"^seconds: ([\d.]+) in all", printed, re.M)
    of_scores = re.search(r"^seconds of the scores: ([\d.]+) of these$", printed, re.M)
    assert seconds is not None and of_scores is not None
    assert 0 < float(of_scores[1]) < float(seconds[1])


def test_what_is_saved_is_what_was_drawn_and_scored(run: tuple[str, Path, str]) -> None:
    """The weights that the run has left draw its last picture, and have its last scores."""
    name, out, printed = run
    generator = load_weights(SCRIPTS[name].Generator, out / f"{name}.pt")
    generator = generator.to(memory_format=torch.channels_last)
    torch.manual_seed(0)  # the default of --seed
    latent = torch.randn(10_000, 100, 1, 1)
    asked: list[Tensor] = []
    if name == "gan":
        columns, digits = 6, draw(generator, FLOAT32, latent[:60])
    else:
        # A row for a latent vector, a column for a digit.
        cells = [(latent[row], torch.tensor(column)) for row in range(10) for column in range(10)]
        rows, numbers = (torch.stack(x) for x in zip(*cells, strict=True))
        columns, digits = 10, draw(generator, FLOAT32, rows, numbers)
        asked = [torch.arange(10_000) % 10]
    with Image.open(out / f"{name}03.png") as image:
        drawn = np.asarray(image).astype(int)
    grid = makegrid(digits.squeeze(1).numpy(), 10, columns)
    assert np.abs(grid - drawn).max() <= 1  # channels-last or not, by a rounding
    assert (grid != drawn).mean() < 0.01

    data = {key: torch.from_numpy(array) for key, array in mnist().items()}
    x_train, x_test = data["x"][:LIMIT, None], data["X"][:, None]
    judge = Judge(load_weights(ConvNet, out / "conv.pt"), x_train, x_test, data["Y"].long())
    scores = judge.scores(draw(generator, FLOAT32, latent, *asked), *asked)
    line = [x for x in printed.splitlines() if "Inception" in x][-1]
    ours, theirs = (re.findall(r"\d+\.\d\d", text) for text in (judge.line(scores), line))
    assert np.array(ours, float) == pytest.approx(np.array(theirs, float), abs=0.0101)


def test_killed_and_resumed_is_as_never_stopped(run: tuple[str, Path, str], tmp_path: Path) -> None:
    name, never, printed = run
    shutil.copy(never / "conv.pt", tmp_path)
    flags = [*FLAGS, "--epochs", "3", "--out", str(tmp_path)]
    command = [sys.executable, str(ROOT / "mnist" / f"{name}.py"), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Epoch: 2"):
                process.kill()
    assert (tmp_path / f"{name}.resume.pt").exists()
    done = run_script(name, *flags, "--resume")
    assert done.returncode == 0, done.stderr
    assert comparable(done.stdout, tmp_path) == comparable(printed, never)
    for path in never.iterdir():
        if path.suffix in (".png", ".gif", ".txt"):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    ours, theirs = (torch.load(x / f"{name}.pt", weights_only=True) for x in (tmp_path, never))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)

    # Another judge's scores do not belong into the same log.
    torch.manual_seed(0)
    torch.save(ConvNet().state_dict(), tmp_path / "conv.pt")
    done = run_script(name, *flags, "--resume")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"is of a run with judge \d.+, not \d.+: give the same flags", done.stderr)
    shutil.copy(never / "conv.pt", tmp_path)

    # A finished run has nothing left to draw; a picture that is damaged is not taken for its own.
    picture = tmp_path / f"{name}02.png"
    picture.write_bytes(picture.read_bytes()[:100])
    done = run_script(name, *flags, "--resume")
    assert done.returncode == 1
    assert done.stderr == f"{name}: {picture} is damaged: remove it, and give --resume\n"

    # Without its pictures no GIF can be made.
    for path in tmp_path.glob(f"{name}0?.png"):
        path.unlink()
    done = run_script(name, *flags, "--resume")
    reason = "no picture of an epoch is left to make a GIF of"
    assert done.returncode == 1
    assert done.stderr == f"{name}: {reason}: leave out --resume\n"


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_without_a_judge_training_goes_on_as_with_one(
    content: bytes | None, run: tuple[str, Path, str], tmp_path: Path
) -> None:
    name, _, printed = run
    path = tmp_path / "conv.pt"
    if content is not None:
        path.write_bytes(content)
    done = run_script(name, *FLAGS, "--epochs", "1", "--out", str(tmp_path))
    assert done.returncode == 0
    reason = f"no {path}"
    if content is not None:
        reason = (
            f"{path} is damaged, or holds other weights than ConvNet's: train it anew, or remove it"
        )
    command = f"python mnist/conv.py --out {tmp_path}"
    line = f"{name}: no scores of the digits: {reason} ({command} trains it)"
    assert line in done.stderr.splitlines()  # beside it matplotlib may tell of its fonts
    assert "Traceback" not in done.stderr
    assert not re.search(r"^judge|Inception|^seconds of the scores", done.stdout, re.M)
    with_judge, without = (re.findall(r"^Epoch: 1 .*", x, re.M) for x in (printed, done.stdout))
    assert [re.sub(CLOCK, "", x) for x in with_judge] == [re.sub(CLOCK, "", x) for x in without]
    with Image.open(tmp_path / f"{name}-course.png") as image:
        assert image.height < 400  # the losses alone


@both
def test_help_shows_defaults_and_an_example(script: ModuleType) -> None:
    name = script.__name__.removeprefix("mnist.")
    text = run_script(name, "--help").stdout
    assert f"python mnist/{name}.py" in text
    rate = {"gan": "0.004", "cgan": "0.0002"}[name]
    for flag, default in (("--epochs N", "20"), ("--batch-size N", "60"), ("--lr X", rate)):
        assert re.search(rf"{flag}\s.*\(default: {default}\)", text)


class Training:
    """The networks and optimizers of a script, the same each time."""

    def __init__(self, script: ModuleType) -> None:
        torch.manual_seed(3)
        self.script = script
        self.generator, self.discriminator = script.Generator(), script.Discriminator()
        average = get_ema_multi_avg_fn(0.999)
        self.averaged = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), 0.0002, betas=(0.5, 0.999))
            for network in (self.generator, self.discriminator)
        )

    def epoch(
        self, data: list[Batch] | Iterator[Batch], autocast: torch.autocast = FLOAT32
    ) -> list[float]:
        """Call the script's `train_epoch`."""
        return self.script.train_epoch(
            self.generator,
            self.discriminator,
            self.averaged,
            self.generator_optimizer,
            self.discriminator_optimizer,
            autocast,
            data,
        )


def batches(size: int, count: int) -> list[Batch]:
    """Return the first training images and labels."""
    data = {key: torch.from_numpy(array[: size * count]) for key, array in mnist().items()}
    return list(
        zip(scaled(data["x"][:, None]).split(size), data["y"].long().split(size), strict=True)
    )


def apply(network: nn.Module, x: Tensor, digits: Tensor) -> Tensor:
    """Return what a network says of latent vectors or images; of digits, if it takes them."""
    return network(x, digits) if hasattr(network, "embedding") else network(x)


def shapes(network: nn.Module, x: Tensor, digits: Tensor) -> list[tuple[int, ...]]:
    """Return the shapes that come out of a network's convolutions, without the first dimension."""
    found: list[tuple[int, ...]] = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, __, out: found.append(tuple(out.shape[1:])))
    apply(network, x, digits)
    return found


def comparable(log: str, out: Path) -> list[str]:
    """Return a log's lines without what is another's in an equal run: dates, times and paths."""
    log = re.sub(CLOCK, "", log.replace(str(out), ""))
    return [
        line for line in log.splitlines() if not line.startswith(("command", "date", "seconds"))
    ]


@pytest.mark.parametrize(
    ("ours", "usual", "flags"),
    [
        (Conv2d, nn.Conv2d, {"groups": 2}),
        (Conv2d, nn.Conv2d, {"padding": 1}),
        (Conv2d, nn.Conv2d, {"dilation": 2, "padding": 2}),
        (Conv2d, nn.Conv2d, {}),
        (ConvTranspose2d, nn.ConvTranspose2d, {"groups": 2}),
        (ConvTranspose2d, nn.ConvTranspose2d, {"padding": 1, "bias": False}),
        (ConvTranspose2d, nn.ConvTranspose2d, {"dilation": 2, "bias": False}),
        (ConvTranspose2d, nn.ConvTranspose2d, {"stride": 2, "output_padding": 1}),
        (ConvTranspose2d, nn.ConvTranspose2d, {"bias": False}),
    ],
)
def test_layers_are_torchs_with_any_flags(
    ours: type[nn.Module], usual: type[nn.Module], flags: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    one, other = (kind(4, 6, 3, **flags) for kind in (ours, usual))
    one.load_state_dict(other.state_dict())
    size = 1 if usual is nn.ConvTranspose2d else 3
    x = torch.randn(2, 4, size, size)
    torch.testing.assert_close(one(x), other(x))
