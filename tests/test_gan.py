"""The generative scripts: the files of a run, and its steps."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from common.batches import pixels, scaled
from common.mnist import mnist
from mnist import flow, gan, vae
from tests.conftest import Finished, Train, call_main, figures, files_in, write_npz
from tests.test_sample import cells

MEDIANS = (
    "Epoch: {epoch:<5}    Median loss for discriminator: {discriminator_loss:.3f}"
    "\tgenerator: {generator_loss:.3f}"
)
FORMS = {"gan": MEDIANS, "cgan": MEDIANS}
FORMS |= {"flow": "Epoch: {epoch:<5}training loss: {loss:.4f}"}
FORMS["vae"] = (
    "Epoch: {epoch:<5}training: reconstruction {reconstruction:.2f} + KL {kl:.2f}"
    "  test: reconstruction {test_reconstruction:.2f} + KL {test_kl:.2f} nats"
)


@pytest.mark.parametrize("name", FORMS)
def test_a_run_leaves_pictures_figures_and_weights(name: str, finished: Finished) -> None:
    out = finished(name)
    pictures = [f"{name}{epoch:02}.png" for epoch in (1, 2, 3)]
    endings = [".gif", ".json", ".log", ".pt"]
    endings += [".discriminator.pt", ".txt"] if "gan" in name else []
    endings += [".rebuilt.png"] if name == "vae" else []
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
    own = {"bound"} if name == "vae" else set()
    assert run["final"].keys() == {"seconds", "peak_mb", "weights", "network"} | own


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


def test_vae_takes_a_step_on_both_sums(few_digits: Path, tmp_path: Path) -> None:
    """Of one batch; after its step the average weights are the network's."""
    flags = ["--limit", "30", "--batch-size", "30", "--epochs", "1", "--precision", "float32"]
    call_main("vae", *flags, "--lr", "0.0025", "--data", few_digits, "--out", tmp_path)
    data = {key: torch.from_numpy(array[:30, None]) for key, array in mnist(few_digits).items()}
    torch.manual_seed(0)
    torch.randn(10_000, 40)
    tested = torch.bernoulli((scaled(data["X"]) + 1) / 2)
    model = vae.VAE()
    step = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.01).step
    images = torch.bernoulli((scaled(data["x"])[torch.randperm(30)] + 1) / 2)
    mean, log_variance = model.encode(images)
    variance = log_variance.exp()
    logits = model.decoder(mean + variance.sqrt() * torch.randn(30, 40))
    reconstruction = binary_cross_entropy_with_logits(logits, images, reduction="sum") / 30
    kl = (mean.square() + variance - log_variance - 1).sum() / 2 / 30
    (reconstruction + kl).backward()
    step()
    (epoch,) = figures(tmp_path, "vae")["epochs"]
    found = [epoch["reconstruction"], epoch["kl"]]
    assert found == pytest.approx([reconstruction.item(), kl.item()], rel=1e-4)
    for key, saved in torch.load(tmp_path / "vae.pt").items():
        # Adam's first step is the rate in the direction of the gradient's sign, whatever its size:
        # a gradient near 0 may have either sign, by rounding.
        differs = (saved - model.state_dict()[key]).double().abs() > 1e-5
        assert differs.double().mean() < 0.01, key
    with torch.no_grad():
        both = model.eval().losses(tested).mean(0).tolist()
    assert [epoch["test_reconstruction"], epoch["test_kl"]] == pytest.approx(both, rel=1e-3)


def test_vae_losses_are_those_of_the_distributions() -> None:
    torch.manual_seed(0)
    model, images = vae.VAE().eval(), torch.bernoulli(torch.rand(3, 1, 28, 28))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    with torch.no_grad():
        mean, log_variance = model.encode(images)
        q, prior = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
        torch.manual_seed(1)
        found = model.losses(images)
        torch.manual_seed(1)
        latent = q.sample()
        reconstruction = -Bernoulli((model(latent) + 1) / 2).log_prob(images).sum((1, 2, 3))
        kl = kl_divergence(q, prior).sum(1)
    assert kl.min() > 0.1
    torch.testing.assert_close(found, torch.stack([reconstruction, kl], 1), rtol=1e-4, atol=1e-3)


def test_vae_bound_comes_down_to_the_likelihood() -> None:
    """Of a decoder that draws the same whatever the latent vector, so the likelihood is known."""
    torch.manual_seed(0)
    model: Any = vae.VAE().eval()
    image = torch.bernoulli(torch.rand(1, 1, 28, 28))
    for layer, bias in ((model.encoder[-1], 0.2), (model.decoder[-2], 1.0)):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, bias)
    model.encoder[-1].bias.data[40:] = 4 - 0.2
    expected = -Bernoulli(logits=torch.ones(784)).log_prob(image.flatten()).sum().item()
    with torch.no_grad():
        loss = model.losses(image).sum().item()
        few, many = (torch.stack([model.bound(image, n) for _ in range(9)]) for n in (1, 3000))
    assert loss > expected + 1
    assert few.mean().item() == pytest.approx(loss, abs=1.5) and few.std() > 0.1
    assert many.tolist() == [pytest.approx(expected, abs=0.3)] * 9


def test_vae_shows_digits_their_reconstructions_and_a_walk(
    train: Train, few_digits: Path, tmp_path: Path
) -> None:
    model = vae.VAE().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    torch.save(model.state_dict(), tmp_path / "mine.pt")
    flags = ["--evaluate", "--limit", "30", "--precision", "float32"]
    train("vae", *flags, "--weights", tmp_path / "mine.pt")
    torch.manual_seed(0)
    torch.randn(10_000, 40)
    images = scaled(torch.from_numpy(mnist(few_digits)["X"][:30, None]))
    shown = torch.bernoulli((images + 1) / 2)[:20]
    with torch.no_grad():
        mean, _ = model.encode(shown)
        expected = pixels(model(torch.cat([mean, mean[:1] + (mean[-1:] - mean[:1]) / 19])))
    first, second, third = cells(tmp_path / "vae-evaluated.rebuilt.png").astype(int)
    assert np.array_equal(first, 255 * shown.squeeze(1).numpy())
    *rebuilt, after_a_step = expected.squeeze(1).numpy()
    assert np.abs(second - rebuilt).max() <= 1
    assert np.abs(third[[0, 1, -1]] - [rebuilt[0], after_a_step, rebuilt[-1]]).max() <= 1


def test_vae_needs_pixels_that_are_probabilities(train: Train, tmp_path: Path) -> None:
    x, y = np.linspace(0, 1, 20 * 784, dtype=np.float32).reshape(20, 28, 28), np.arange(20) % 10
    data = write_npz(tmp_path / "floats.npz", x, y, x, y)
    assert "uint8, 0 to 255" in str(train("vae", "--data", data))
