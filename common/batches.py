"""Batches of images, and what a network says of them."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.memory import keep_freed_memory, return_freed_memory


def scaled(images: Tensor) -> Tensor:
    """Return pixels of 0 to 255, uint8, any shape, as float32 from -1 to 1."""
    return images.float().mul_(1 / 127.5).sub_(1)


def pixels(images: Tensor) -> Tensor:
    """Return images from -1 to 1, any shape, as pixels of 0 to 255, uint8: `scaled` undone."""
    return images.float().add(1).mul_(127.5).round_().to(torch.uint8)


def batches(x: Tensor, y: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all images and labels once, in random order, with a progress bar on a terminal.

    The data stays uint8 until it is taken, for several batches at a time, which makes few large
    operations of many small ones; with `index_select`, for a few rows several times faster than
    `x[index]`.

    From the second such time on freed memory is kept; after the last batch it is given back
    (`common.memory`).

    Args:
        x: (n, 1, 28, 28) uint8.
        y: (n,) int64.
        batch_size: images a batch; the last one holds what is left.

    Yields:
        Images (batch_size, 1, 28, 28), float32 from -1 to 1, and labels (batch_size,), int64.
    """
    order = torch.randperm(len(x), device=x.device)
    with tqdm(total=-(-len(x) // batch_size), disable=None, leave=False) as progress:
        for number, index in enumerate(order.split(8 * batch_size)):
            if number == 1:  # the first steps have left behind what stays
                keep_freed_memory()
            images, labels = scaled(x.index_select(0, index)), y.index_select(0, index)
            for batch in zip(images.split(batch_size), labels.split(batch_size), strict=True):
                yield batch
                progress.update()
    keep_freed_memory()  # where there were the first steps alone
    return_freed_memory()


class Losses:
    """The losses of an epoch's steps, in one tensor on their device, which need not be waited for.

    A list of them would do, but for the memory: each would lie where there was room in the middle
    of its step, and stay, and hold open a gap between what the next steps need.
    """

    def __init__(self) -> None:
        self._values = torch.empty(0)
        self._count = 0

    def append(self, loss: Tensor) -> None:
        """Add a step's loss or losses, of the same shape each time, without gradient."""
        if self._count == 0:
            self._values = loss.new_empty(1024, *loss.shape)
        elif self._count == len(self._values):
            self._values = torch.cat([self._values, torch.empty_like(self._values)])
        self._values[self._count] = loss
        self._count += 1

    def stack(self) -> Tensor:
        """Return all of them, (steps, ...)."""
        return self._values[: self._count]


def joined(parts: Iterable[Tensor], length: int) -> Tensor:
    """Return tensors of (n, ...), one after another, as one of (length, ...).

    As `torch.cat`, but each is copied to its place as it comes. Were all of them kept until the
    last has come, they would lie scattered over the memory in which a network's far larger
    tensors come and go, and these would find less and less room between them.
    """
    whole, start = torch.empty(0), 0
    for part in parts:
        if start == 0:
            whole = part.new_empty(length, *part.shape[1:])
        whole[start : start + len(part)] = part
        start += len(part)
    return whole


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, batch_size: int = 100) -> Tensor:
    """Return the model's logits, (n, 10) float32, in evaluation mode, of images.

    They are (n, 1, 28, 28) uint8. Of a recurrent model, which gives its state after them, the
    logits alone.
    """
    model.eval()
    outputs = (model(scaled(images)) for images in x.split(batch_size))
    return joined((given[0] if isinstance(given, tuple) else given for given in outputs), len(x))


@torch.no_grad()
def draw(generator: nn.Module, autocast: torch.autocast, *inputs: Tensor) -> Tensor:
    """Return the images, (n, 1, 28, 28) uint8, that a generator makes in evaluation mode.

    Args:
        generator: a network from its inputs to images of -1 to 1.
        autocast: the context in which it runs.
        inputs: what it takes, each of n rows: latent vectors, and digits if they can be asked for.
    """
    generator.eval()

    def images() -> Iterator[Tensor]:
        for rows in zip(*(tensor.split(250) for tensor in inputs), strict=True):
            with autocast:
                generated = generator(*rows)
            yield pixels(generated)

    return joined(images(), len(inputs[0]))


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Return the percentage of images whose largest logit, of (n, 10), is their label's, (n,)."""
    return 100 * (logits.argmax(1) == y).float().mean().item()
