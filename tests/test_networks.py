"""The networks and what they are made of: layers, batches, averages, changes of the images."""

import importlib
import inspect
from types import ModuleType

import pytest
import torch
from torch import nn

from common.augment import distorted, shifted
from common.batches import batches, pixels, scaled
from common.dropout import Dropout
from mnist import cgan, conv, gan, lstm, parallel, plain, simple, swa, wsimple
from tests.conftest import SHORT

SCRIPTS = [importlib.import_module(f"mnist.{name}") for name in SHORT]


@pytest.mark.parametrize("script", [plain, *SCRIPTS])
def test_networks_have_the_stated_parameters(script: ModuleType) -> None:
    classes = [x for x in vars(script).values() if isinstance(x, type)]
    parts = [x for x in classes if issubclass(x, nn.Module) and x.__module__ == script.__name__]
    networks = [part for part in parts if "parameters" in str(part.__doc__)]
    assert len(networks) == (2 if script in (gan, cgan) else 1)
    for network in networks:
        count = sum(parameter.numel() for parameter in network().parameters())
        assert f"{count:,} parameters" in " ".join(str(network.__doc__).split())


def test_conv_prints_as_the_original() -> None:
    """The listing in https://github.com/ktorch/examples, in Python's form of the same layers."""
    pool = "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"
    activated = ["ReLU()", "Dropout(p=0.5, inplace=False)"]
    convnet = [
        *("Conv2d(1, 20, kernel_size=(5, 5), stride=(1, 1))", *activated, pool),
        *("Conv2d(20, 50, kernel_size=(5, 5), stride=(1, 1))", *activated, pool),
        "Flatten(start_dim=1, end_dim=-1)",
        *("Linear(in_features=800, out_features=500, bias=True)", *activated),
        "Linear(in_features=500, out_features=10, bias=True)",
    ]
    printed = [f"  ({number}): {layer}" for number, layer in enumerate(convnet)]
    assert str(conv.ConvNet(0.5)).splitlines() == ["ConvNet(", *printed, ")"]


def test_lstm_goes_on_from_the_state_it_gave() -> None:
    torch.manual_seed(0)
    model, images = lstm.RowLSTM(), torch.randn(3, 1, 28, 28)
    logits, (hidden, cell) = model(images)
    assert logits.shape == (3, 10) and hidden.shape == cell.shape == (2, 3, 128)
    _, state = model(images[:, :, :14])  # the upper half, and then the lower
    torch.testing.assert_close(model(images[:, :, 14:], state)[0], logits)
    assert not torch.allclose(model(images[:, :, 14:])[0], logits)


@pytest.mark.parametrize("script", [gan, cgan])
def test_logits_leave_discriminators_in_float32(script: ModuleType) -> None:
    torch.manual_seed(0)
    digits = [torch.tensor([7, 0, 7])] if script is cgan else []
    with torch.autocast("cpu", torch.bfloat16):
        real = script.Discriminator()(torch.randn(3, 1, 28, 28), *digits)
    assert real.dtype == torch.float32


def test_copies_are_the_same() -> None:
    """Scripts are complete, so that swa, parallel and wsimple have a network of their own."""
    assert inspect.getsource(conv.ConvNet) == inspect.getsource(swa.ConvNet)
    assert inspect.getsource(conv.ConvNet) == inspect.getsource(parallel.ConvNet)
    assert inspect.getsource(simple.SimpNet) == inspect.getsource(wsimple.SimpNet)
    assert simple.LAYERS == wsimple.LAYERS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.5, 0.2, 0.03])
def test_dropout_drops_its_share_and_scales_the_rest(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = torch.ones(1001, 999, dtype=dtype, requires_grad=True)
    result = Dropout(p)(x)
    result.sum().backward()
    values = result.detach().double()
    assert (values == 0).double().mean().item() == pytest.approx(p, rel=0.05)
    assert values[values != 0].unique().tolist() == [pytest.approx(1 / (1 - p), rel=0.01)]
    assert x.grad is not None and x.grad.dtype == dtype
    torch.testing.assert_close(x.grad, result.detach())  # of ones: the mask itself
    first, second = ((mask != 0).double().sub(1 - p).flatten() for mask in (values, Dropout(p)(x)))
    bound = 6 * p * (1 - p) / len(first) ** 0.5 + 1e-5  # six standard deviations of the mean
    for other in (second, *(first.roll(distance) for distance in range(1, 17))):
        assert (first * other).mean().abs() < bound  # masks and elements are independent


def test_dropout_keeps_layout_and_is_the_identity_in_evaluation() -> None:
    image = torch.randn(3, 5, 4, 2).to(memory_format=torch.channels_last)
    assert torch.equal(Dropout(0.5).eval()(image), image)
    assert torch.equal(Dropout(0.0)(image), image) and not Dropout(1.0)(image).any()
    assert Dropout(0.5)(image).stride() == image.stride()
    rows = torch.randn(60, 28, 128)[:, -1]  # a part of a tensor
    assert (Dropout(0.2)(rows) == 0).double().mean().item() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(("images", "size"), [(1234, 100), (800, 100), (1, 1)])
def test_batches_hold_each_image_once_with_its_label(images: int, size: int) -> None:
    x, y = torch.randint(0, 256, (images, 1, 28, 28), dtype=torch.uint8), torch.arange(images)
    found = list(batches(x, y, size))
    lengths = [len(labels) for _, labels in found]
    assert lengths == [size] * (images // size) + [images % size] * (images % size > 0)
    assert all(torch.equal(shown, scaled(x[labels])) for shown, labels in found)
    assert sorted(torch.cat([labels for _, labels in found]).tolist()) == y.tolist()


def test_pixels_are_scaled_and_back() -> None:
    pixel = torch.arange(256, dtype=torch.uint8)
    assert scaled(pixel)[[0, 255]].tolist() == pytest.approx([-1, 1], abs=1e-6)
    assert torch.equal(pixels(scaled(pixel)), pixel)
    floats = torch.rand(2, 5)
    before = floats.clone()
    assert torch.equal(scaled(floats), before) and torch.equal(floats, before)


def test_shifted_moves_all_images_alike_and_wraps() -> None:
    torch.manual_seed(0)
    images, steps = torch.rand(5, 1, 28, 28), range(-2, 3)
    ways = {(a, b): images.roll((a, b), (2, 3)) for a in steps for b in steps}
    moved = [shifted(images, 2) for _ in range(300)]
    seen = [{way for way, expected in ways.items() if torch.equal(x, expected)} for x in moved]
    assert all(len(found) == 1 for found in seen) and set.union(*seen) == set(ways)
    assert torch.equal(shifted(images, 0), images)


def test_distorted_moves_turns_scales_and_slants() -> None:
    torch.manual_seed(0)
    images = torch.full((500, 1, 28, 28), -1.0)
    images[:, :, 11:17, 8:20] = 1  # six pixels high and twelve wide, in the middle
    ink = (distorted(images, 0.15).squeeze(1).double() + 1) / 2
    ink /= ink.sum((1, 2), keepdim=True)
    position = torch.arange(28, dtype=torch.float64) - 13.5
    down, right = (ink.sum(along) @ position for along in (2, 1))
    for moved in (down, right):  # each by its own, up to 2.1 pixels, which scaling stretches
        assert 2 < moved.abs().max() < 2.1 / 0.85**2
        assert moved.mean().abs() < 0.2 and len(moved.unique()) == 500
    height = (12 * (ink.sum(2) * (position - down.unsqueeze(1)) ** 2).sum(1)).sqrt()
    assert 5.1 < height.min() < 5.6 and 6.6 < height.max() < 9.3  # a slanted one is higher
    grey = torch.full((3, 1, 28, 28), 0.5)  # what comes in at the edges is like them
    torch.testing.assert_close(distorted(grey, 0.15), grey)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):  # places are exact in it, too
        again = distorted(images, 0.15)
    torch.manual_seed(0)
    assert torch.equal(again, distorted(images, 0.15))
