"""The three generative scripts: the files of a run, and its steps."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from common.batches import scaled
from common.mnist import mnist
from mnist import flow, gan
from tests.conftest import Finished, call_main, figures, files_in

MEDIANS = (
    "Epoch: {epoch:<5}    Median loss for discriminator: {discriminator_loss:.3f}"
    "\tgenerator: {generator_loss:.3f}"
)
FORMS = {"gan": MEDIANS, "cgan": MEDIANS}
FORMS |= {"flow": "Epoch: {epoch:<5}training loss: {loss:.4f}"}


@pytest.mark.parametrize("name", FORMS)
def test_a_run_leaves_pictures_figures_and_weights(name: str, finished: Finished) -> None:
    out = finished(name)
    pictures = [f"{name}{epoch:02}.png" for epoch in (1, 2, 3)]
    endings = [".gif", ".json", ".log", ".pt", ".txt"]
    endings += [".discriminator.pt"] if "gan" in name else []
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
    assert run["final"].keys() == {"seconds", "peak_mb", "weights", "network"}


def test_flow_learns_what_is_between_noise_and_digit(few_digits: Path, tmp_path: Path) -> None:
    """Of two batches, because the digit's name has no effect before the first step."""
    flags = ["--limit", "30", "--batch-size", "15", "--epochs", "1", "--precision", "float32"]
    call_main("flow", *flags, "--lr", "0.5", "--data", few_digits, "--out", tmp_path)
    data = {key: torch.from_numpy(array[:30]) for key, array in mnist(few_digits).items()}
    torch.manual_seed(0)
    torch.randn(10_000, 1, 28, 28)
    model, losses = flow.Flow(), []
    optimizer = torch.optim.AdamW(model.parameters(), 0.5 / 25, (0.95, 0.999), weight_decay=0.01)
    for batch in torch.randperm(30).split(15):
        digits, noise = scaled(data["x"][batch, None]), torch.randn(15, 1, 28, 28)
        t, named = torch.rand(15), torch.rand(15) > 0.1
        labels = torch.where(named, data["y"].long()[batch], 10)
        mixed = torch.lerp(noise, digits, t[:, None, None, None])
        loss = mse_loss(noise + model.velocity(mixed, t, labels), digits)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    (epoch,) = figures(tmp_path, "flow")["epochs"]
    assert epoch["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("steps", [1, 5])
def test_flow_moves_noise_by_the_velocity_at_each_time(steps: int) -> None:
    class Faster(flow.Flow):
        def velocity(self, images: Tensor, t: Tensor, digits: Tensor) -> Tensor:
            return 1.5 * t.view(-1, 1, 1, 1).expand_as(images)

    noise = torch.rand(3, 1, 28, 28) - 1
    images = Faster(steps)(noise, torch.tensor([3, 1, 4]))
    torch.testing.assert_close(images, noise + 0.75)  # 1.5 t from 0 to 1 adds up to 0.75


def test_flow_exaggerates_what_the_digits_change_half_way() -> None:
    model, noise = flow.Flow(guidance=3), torch.randn(3, 1, 28, 28)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    t, late, digits = torch.full((3,), 0.5), torch.full((3,), 0.75), torch.tensor([3, 1, 4])
    with torch.no_grad():
        any_digit = model.velocity(noise, t, torch.full((3,), 10))
        asked = model.velocity(noise, t, digits)
        assert not torch.allclose(asked, any_digit, atol=0.01)
        torch.testing.assert_close(model.guided(noise, 0.5, digits), 3 * asked - 2 * any_digit)
        late_asked = model.velocity(noise, late, digits)
        torch.testing.assert_close(model.guided(noise, 0.75, digits), late_asked)


def test_gan_chooses_by_the_largest_of_ten_numbers() -> None:
    generator, latent = gan.Generator().eval(), torch.randn(10, 100, 1, 1)
    larger, other = latent.clone(), latent.clone()
    larger[:, :10] *= 2
    other[:, :10] *= -1
    images = generator(latent)
    assert torch.equal(generator(larger), images)
    assert not torch.allclose(generator(other), images)
