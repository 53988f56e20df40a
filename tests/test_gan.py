"""The three generative scripts: the files of a run, and its steps."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, mse_loss

from common.batches import scaled
from common.mnist import mnist
from mnist import cgan, flow, gan
from tests.conftest import Finished, call_main, figures, files_in

SCRIPTS = {"gan": gan, "cgan": cgan}
MEDIANS = (
    "Epoch: {epoch:<5}    Median loss for discriminator: {discriminator_loss:.3f}"
    "\tgenerator: {generator_loss:.3f}"
)
FORMS = {"gan": MEDIANS, "cgan": MEDIANS}
FORMS |= {"flow": "Epoch: {epoch:<5}    training loss: {loss:.4f}"}


@pytest.mark.parametrize("name", FORMS)
def test_a_run_leaves_pictures_figures_and_weights(name: str, finished: Finished) -> None:
    out = finished(name)
    pictures = [f"{name}{epoch:02}.png" for epoch in (1, 2, 3)]
    endings = [".gif", ".json", ".log", ".pt", ".resume.pt", *([".txt"] if name in SCRIPTS else [])]
    assert sorted(files_in(out)) == sorted([*pictures, *(name + ending for ending in endings)])
    with Image.open(out / f"{name}.gif") as image:
        assert getattr(image, "n_frames", 1) == 3 and image.info["loop"] == 0
        for epoch, picture in enumerate(pictures):
            image.seek(epoch)
            with Image.open(out / picture) as still:
                assert np.array_equal(np.asarray(image.convert("L")), np.asarray(still))
    run, log = figures(out, name), (out / f"{name}.log").read_text()
    lines = [re.sub(r"\d\d:\d\d:\d\d", "", x) for x in re.findall(r"^Epoch: .*", log, re.M)]
    assert lines == [FORMS[name].format(**epoch) for epoch in run["epochs"]] and len(lines) == 3
    assert run["final"].keys() == {"seconds", "peak_mb"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_step_is_the_three_steps_written_plainly(
    name: str, few_digits: Path, tmp_path: Path
) -> None:
    """Of one batch; after its step the average weights are the generator's."""
    flags = ["--limit", "30", "--batch-size", "30", "--epochs", "1", "--precision", "float32"]
    call_main(name, *flags, "--lr", "0.0002", "--data", few_digits, "--out", tmp_path)
    script = SCRIPTS[name]
    data = {key: torch.from_numpy(array[:30]) for key, array in mnist(few_digits).items()}

    def noisy(x: Tensor) -> Tensor:
        return x + 0.6 * torch.randn_like(x) if script is gan else x

    def apply(network: nn.Module, x: Tensor, digits: Tensor) -> Tensor:
        return network(x) if script is gan else network(x, digits)

    torch.manual_seed(0)
    torch.randn(10_000, 100, 1, 1)
    generator: nn.Module = script.Generator().to(memory_format=torch.channels_last)
    discriminator: nn.Module = script.Discriminator().to(memory_format=torch.channels_last)
    betas, rate = ((0.5, 0.99), 1e-4) if script is gan else ((0.5, 0.999), 2e-4)
    generator_step = torch.optim.Adam(generator.parameters(), 2e-4, betas).step
    discriminator_step = torch.optim.Adam(discriminator.parameters(), rate, betas).step
    order = torch.randperm(30)
    images, labels = scaled(data["x"][:, None])[order], data["y"].long()[order]
    drawn = 60 if script is gan else 30
    latent = torch.randn(drawn, 100, 1, 1)
    digits = labels if script is gan else torch.randint(10, (30,))
    generated = apply(generator, latent, digits)
    real = apply(discriminator, noisy(images), labels)
    fake = apply(discriminator, noisy(generated[:30].detach()), digits)
    target = torch.empty(30).uniform_(0.8, 1)
    discriminator_loss = binary_cross_entropy(real, target)
    discriminator_loss += binary_cross_entropy(fake, torch.zeros(30))
    discriminator_loss.backward()
    discriminator_step()
    accepted = apply(discriminator, noisy(generated), digits)
    generator_loss = binary_cross_entropy(accepted, torch.ones(drawn))
    generator_loss.backward()
    generator_step()

    (losses,) = figures(tmp_path, name)["epochs"]
    found = [losses["discriminator_loss"], losses["generator_loss"]]
    assert found == pytest.approx([discriminator_loss.item(), generator_loss.item()], rel=1e-4)
    for key, saved in torch.load(tmp_path / f"{name}.pt").items():
        # Adam's first step is the rate in the direction of the gradient's sign, whatever its size.
        differs = (saved - generator.state_dict()[key]).double().abs() > 1e-5
        assert differs.double().mean() < 0.001, key


def test_a_step_of_flow_learns_what_is_between_noise_and_digit(
    few_digits: Path, tmp_path: Path
) -> None:
    flags = ["--limit", "30", "--batch-size", "30", "--epochs", "1", "--precision", "float32"]
    call_main("flow", *flags, "--data", few_digits, "--out", tmp_path)
    data = {key: torch.from_numpy(array[:30]) for key, array in mnist(few_digits).items()}
    torch.manual_seed(0)
    torch.randn(10_000, 1, 28, 28)
    model, order = flow.Flow(), torch.randperm(30)
    digits, noise = scaled(data["x"][:, None])[order], torch.randn(30, 1, 28, 28)
    t, named = torch.rand(30), torch.rand(30) > 0.1
    labels = torch.where(named, data["y"].long()[order], 10)
    mixed = torch.lerp(noise, digits, t[:, None, None, None])
    loss = mse_loss(noise + model.velocity(mixed, t, labels), digits)
    (epoch,) = figures(tmp_path, "flow")["epochs"]
    assert epoch["loss"] == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("steps", [1, 5])
def test_flow_moves_noise_by_the_velocity(steps: int) -> None:
    """One that is the same everywhere, at all times and for all digits: guidance leaves it."""
    model, noise = flow.Flow(steps), torch.rand(3, 1, 28, 28) - 1
    with torch.no_grad():
        *weights, bias = model.leave.parameters()
        for weight in weights:
            weight.fill_(0)
        bias.fill_(0.75)
        images = model(noise, torch.tensor([3, 1, 4]))
    torch.testing.assert_close(images, noise + 0.75)
