"""Batches of images, and what a network says of them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from tqdm import tqdm


def scaled(images: Tensor) -> Tensor:
    """Return pixels of 0 to 255, uint8, any shape, as float32 from -1 to 1."""
    return images.float().mul_(1 / 127.5).sub_(1)


def batches(x: Tensor, y: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all images and labels once, in random order, with a progress bar on a terminal.

    The data stays uint8 until a batch is taken, and a batch is taken with `index_select`, for a
    few rows several times faster than `x[index]`.

    Args:
        x: (n, 1, 28, 28) uint8.
        y: (n,) int64.
        batch_size: images a batch; the last one holds what is left.

    Yields:
        Images (batch_size, 1, 28, 28), float32 from -1 to 1, and labels (batch_size,), int64.
    """
    order = torch.randperm(len(x), device=x.device)
    for index in tqdm(order.split(batch_size), disable=None, leave=False):
        yield scaled(x.index_select(0, index)), y.index_select(0, index)


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, batch_size: int = 500) -> Tensor:
    """Return the model's logits, (n, 10) float32, in evaluation mode, of images (n, 1, 28, 28)."""
    model.eval()
    return torch.cat([model(scaled(images)) for images in x.split(batch_size)]).float()


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Return the percentage of images whose largest logit, of (n, 10), is their label's, (n,)."""
    return 100 * (logits.argmax(1) == y).float().mean().item()
