"""Batches of images, and what a network makes of them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from tqdm import tqdm


def scaled(images: Tensor) -> Tensor:
    """Return images as float32: uint8 of 0 to 255 becomes -1 to 1, floats keep their values."""
    if images.dtype != torch.uint8:
        return images.float()
    return images.float().mul_(1 / 127.5).sub_(1)  # in place: float() made a copy


def pixels(images: Tensor) -> Tensor:
    """Return images from -1 to 1, any shape, as uint8 of 0 to 255: `scaled` undone."""
    return images.float().add(1).mul_(127.5).round_().to(torch.uint8)


def batch_count(images: int, batch_size: int) -> int:
    """Return the number of batches of so many images.

    The last batch is smaller, and left out if it is a single image after others: batch norm has
    nothing to normalize in it.
    """
    whole, rest = divmod(images, batch_size)
    return whole + (rest > 1 or whole == 0)


def batches(x: Tensor, y: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all images and labels once, in random order, with a progress bar on a terminal.

    Images x, (n, c, h, w) uint8 or floats, become batches (batch_size, c, h, w) float32, `scaled`;
    labels y, (n,) int64, become (batch_size,). The last batch holds the rest, see `batch_count`.
    """
    # Eight batches at a time: few large operations are faster than many small ones, and
    # index_select is faster than x[index].
    order, total = torch.randperm(len(x), device=x.device), batch_count(len(x), batch_size)
    order = order[: total * batch_size]
    with tqdm(total=total, disable=None, leave=False) as progress:
        for index in order.split(8 * batch_size):
            images, labels = scaled(x.index_select(0, index)), y.index_select(0, index)
            for batch in zip(images.split(batch_size), labels.split(batch_size), strict=True):
                yield batch
                progress.update()


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, batch_size: int = 100) -> Tensor:
    """Return the model's logits, (n, classes) float32, for images x, in evaluation mode.

    Images are (n, c, h, w), uint8 or floats. A recurrent network also returns a state, which is
    left out.
    """
    model.eval()
    outputs = (model(scaled(images)) for images in x.split(batch_size))
    return torch.cat([given[0] if isinstance(given, tuple) else given for given in outputs])


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Return how often, in percent, the largest of the logits (n, classes) is the label's (n,)."""
    return 100 * (logits.argmax(1) == y).sum().item() / len(y)


@torch.no_grad()
def draw(generator: nn.Module, autocast: torch.autocast, *inputs: Tensor) -> Tensor:
    """Return the images, (n, 1, 28, 28) uint8, that a generator makes in evaluation mode.

    Its inputs have n rows each: latent vectors, and digits if it takes them.
    """
    generator.eval()
    images = []
    for rows in zip(*(tensor.split(250) for tensor in inputs), strict=True):
        with autocast:
            images.append(pixels(generator(*rows)))
    return torch.cat(images)
