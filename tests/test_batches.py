"""Batches hold every image once, scaled, beside its label."""

import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from common.batches import Losses, batches, joined, pixels, scaled


@pytest.mark.parametrize(("images", "size"), [(1234, 100), (800, 100), (7, 100), (1, 1)])
def test_each_image_comes_once_with_its_label(images: int, size: int) -> None:
    x = torch.randint(0, 256, (images, 1, 28, 28), dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.arange(images) % 256  # by which an image is known
    y = torch.arange(images)
    found = list(batches(x, y, size))
    lengths = [len(labels) for _, labels in found]
    assert lengths == [size] * (images // size) + [images % size] * (images % size > 0)
    for shown, labels in found:
        torch.testing.assert_close(shown, scaled(x[labels]), rtol=0, atol=0)
    assert sorted(torch.cat([labels for _, labels in found]).tolist()) == y.tolist()


def test_the_order_is_another_each_time_and_that_of_the_seed() -> None:
    x, y = torch.zeros(300, 1, 28, 28, dtype=torch.uint8), torch.arange(300)
    orders = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        for _ in range(2):
            orders.append(torch.cat([labels for _, labels in batches(x, y, 30)]).tolist())
    assert orders[:2] == orders[4:]
    assert len({tuple(order) for order in orders}) == 4


def test_pixels_are_scaled_from_minus_1_to_1_and_back() -> None:
    x = torch.arange(256, dtype=torch.uint8)
    assert scaled(x).dtype == torch.float32
    assert scaled(x)[[0, 255]].tolist() == pytest.approx([-1, 1], abs=1e-6)
    assert torch.equal(pixels(scaled(x)), x)


@pytest.mark.parametrize("steps", [1, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("shape", [(), (2,)])
def test_losses_are_those_that_were_added(steps: int, shape: tuple[int, ...]) -> None:
    values = torch.randn(steps, *shape)
    losses = Losses()
    for value in values:
        losses.append(value)
    assert torch.equal(losses.stack(), values)


def test_losses_keep_no_tensor_that_was_added() -> None:
    losses, loss = Losses(), torch.tensor(2.5)
    losses.append(loss)
    alive = weakref.ref(loss)
    loss.zero_()
    del loss
    assert alive() is None
    assert losses.stack().tolist() == [2.5]


@pytest.mark.parametrize("lengths", [[3, 3, 1], [4], [0], []])
def test_joined_is_cat(lengths: list[int]) -> None:
    parts = [torch.randn(length, 2, 5) for length in lengths]
    whole = joined(iter(parts), sum(lengths))
    assert len(whole) == sum(lengths)
    if parts:
        assert torch.equal(whole, torch.cat(parts))


def test_joined_keeps_no_part_until_the_end() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def parts() -> Iterator[Tensor]:
        for number in range(10):
            assert sum(part() is not None for part in alive) <= 1
            part = torch.full((2, 3), number)
            alive.append(weakref.ref(part))
            yield part
            del part

    assert joined(parts(), 20)[:, 0].tolist() == [number // 2 for number in range(20)]
