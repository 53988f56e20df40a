"""What each fast part is worth: training steps with it against steps without it, in turn.

python bench/parts.py                    # all of them, some minutes; nothing else may run
python bench/parts.py conv               # those that conv has

Both kinds of steps run in one process, a few of each in turn; where memory is kept or returned, in
two fresh ones. A ratio under 1 means that the part pays; it is the median over the rounds, and the
lowest and the highest stand beside it. Last come parts that conv was tried with and does not have.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.speed import SCRIPTS, our_epoch, scripts_parser, timed, training_data
from common.batches import batches
from common.memory import keep_freed_memory, leave_out_compiler
from common.run import device_name
from mnist import cgan, conv, gan, simple

ROUNDS = 9
KEEPING = ["conv", "simple", "lstm", "gan"]  # scripts of which large tensors are freed in each step
FLOAT32 = torch.autocast("cpu", torch.bfloat16, enabled=False)
BFLOAT16 = torch.autocast("cpu", torch.bfloat16)

Context = Callable[[], AbstractContextManager[Any]]


@contextmanager
def usual_layers() -> Iterator[None]:
    """Make the networks of torch's own layers alone."""

    def relu_dropout(p: float) -> nn.Module:
        return nn.Sequential(nn.ReLU(), nn.Dropout(p))

    with ExitStack() as stack:
        for script in (conv, simple):
            stack.enter_context(patch.object(script, "ReLUDropout", relu_dropout))
        for script in (gan, cgan):
            stack.enter_context(patch.object(script, "Conv2d", nn.Conv2d))
            stack.enter_context(patch.object(script, "ConvTranspose2d", nn.ConvTranspose2d))
        yield


@contextmanager
def usual_optimizers() -> Iterator[None]:
    """Make optimizers that are not fused."""

    def not_fused(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
        return lambda *args, fused, **flags: kind(*args, **flags)

    with ExitStack() as stack:
        for name in ("SGD", "Adam", "AdamW"):
            usual = not_fused(getattr(torch.optim, name))
            stack.enter_context(patch.object(torch.optim, name, usual))
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with a single thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def indexed_rows() -> AbstractContextManager[Any]:
    """Take the images of a batch by x[index]."""
    return patch.object(Tensor, "index_select", lambda x, _, index: x[index])


def all_gradients() -> AbstractContextManager[Any]:
    """Compute the gradients of the discriminator's weights in the generator's step, too."""
    return patch.object(nn.Module, "requires_grad_", lambda module, _=True: module)


def compiled() -> AbstractContextManager[Any]:
    """Have torch.compile make conv's network."""
    network = conv.ConvNet
    return patch.object(conv, "ConvNet", lambda: torch.compile(network()))


# A part, the scripts that have it, and the context of steps without it.
PARTS: list[tuple[str, list[str], Context]] = [
    ("dropout from random bits or bytes", ["conv", "simple"], usual_layers),
    ("products for images of one pixel", ["gan", "cgan"], usual_layers),
    ("discriminator frozen in the generator's step", ["gan", "cgan"], all_gradients),
    ("fused optimizer", ["linear", "conv", "gan"], usual_optimizers),
    ("rows by index_select", ["logit", "linear"], indexed_rows),
    ("all threads in place of one", ["logit", "linear", "conv"], one_thread),
]


def main() -> None:
    args = scripts_parser(__doc__).parse_args()

    training_data()  # ends here, ahead of the table, if there is none
    leave_out_compiler()
    print(f"date: {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC")
    print(f"device: {device_name(torch.device('cpu'))}, {torch.get_num_threads()} threads")
    print(f"torch {torch.__version__}, float32, {ROUNDS} rounds\n")
    print("| part | script | with it / without it | lowest to highest |")
    print("| --- | --- | --- | --- |")
    for name in args.scripts or SCRIPTS:
        ours = our_epoch(name, FLOAT32)
        usual = our_epoch(name, FLOAT32, torch.contiguous_format)
        print_row("channels-last layout", name, ours, usual)
        for part, scripts, without in PARTS:
            if name in scripts:
                with without():
                    usual = our_epoch(name, FLOAT32)
                print_row(part, name, ours, usual, without)
        if name in KEEPING:
            pairs = [
                [timed(name, one, "float32") for one in ("ours", "returning")] for _ in range(5)
            ]
            print_ratios("freed memory kept", name, [kept / not_kept for kept, not_kept in pairs])
        print_row("bfloat16", name, our_epoch(name, BFLOAT16), ours)
        if name == "conv":
            with compiled():
                print_row("left out: torch.compile", name, our_epoch(name, FLOAT32), ours)
            print_row("left out: chunks of 32 images", name, epoch_in_chunks(32), ours)
            for size in (60, 250, 1000):
                part = f"left out: batches of {size}, by the image"
                print_row(part, name, ours, ours, batch_size=size)


def epoch_in_chunks(size: int) -> Callable[..., object]:
    """Return what trains conv on batches in chunks, whose gradients are summed."""
    model = conv.ConvNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), 0.001, fused=True)

    def epoch(data: Iterable[tuple[Tensor, Tensor]]) -> None:
        for images, labels in data:
            optimizer.zero_grad()
            images = conv.shifted(images, 2)
            for chunk, of_chunk in zip(images.split(size), labels.split(size), strict=True):
                loss = cross_entropy(model(chunk), of_chunk, reduction="sum", label_smoothing=0.01)
                (loss / len(images)).backward()
            optimizer.step()

    return epoch


def print_row(
    part: str,
    name: str,
    ours: Callable[..., object],
    usual: Callable[..., object],
    without: Context = nullcontext,
    batch_size: int | None = None,
) -> None:
    """Time steps of a script with a part against steps without it, and print their ratio.

    Args:
        part: what is looked at.
        name: the script.
        ours: runs the steps with it on batches.
        usual: runs the steps without it.
        without: the context in which the latter run.
        batch_size: of the steps with it, if that is the part; the ratio is then that by the image.
    """
    keep_freed_memory()
    usual_size, steps = SCRIPTS[name]
    images = usual_size * (steps // 5)
    x, y = training_data()

    def seconds(epoch: Callable[..., object], size: int) -> float:
        steps = images // size
        start = time.perf_counter()
        epoch(islice(batches(x, y, size), steps))
        return (time.perf_counter() - start) / (steps * size)

    ratios = []
    for _ in tqdm(range(ROUNDS + 1), desc=f"{name}, {part}", disable=None, leave=False):
        with_it = seconds(ours, batch_size or usual_size)
        with without():
            ratios.append(with_it / seconds(usual, usual_size))
    print_ratios(part, name, ratios[1:])  # the first round warms up


def print_ratios(part: str, name: str, ratios: list[float]) -> None:
    """Print the row of a part of a script: the median of the ratios, the lowest and the highest."""
    ratios = sorted(ratios)
    print(
        f"| {part} | {name} | {statistics.median(ratios):.2f}"
        f" | {ratios[0]:.2f} to {ratios[-1]:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
