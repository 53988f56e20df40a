"""How long an epoch takes, ours against the plain way to write it, in pairs.

python bench/speed.py                    # all scripts, some minutes; nothing else may run
python bench/speed.py conv lstm          # some of them

Each pair runs in two fresh processes, one after the other: first the plain version (plain.py), then
ours (the script's own `train_epoch`), on as many steps of the same images; the table holds the
medians of several pairs, both times for an epoch of 60,000 images, and the ratio pair by pair.
"""

import argparse
import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import plain
from common import memory
from common.batches import batches, scaled
from common.graphs import replay_passes
from common.mnist import mnist
from common.run import device_name, positive

# Batch size, and steps that are timed.
SCRIPTS = {
    "logit": (100, 600),
    "linear": (100, 300),
    "conv": (125, 200),
    "simple": (100, 10),
    "lstm": (60, 100),
    "gan": (60, 40),
    "cgan": (60, 40),
}
MODELS = {
    "logit": "Logit",
    "linear": "Linear",
    "conv": "ConvNet",
    "simple": "SimpNet",
    "lstm": "RowLSTM",
}
Data = Iterable[tuple[Tensor, Tensor]]
Epoch = Callable[[Data], object]


def main() -> None:
    parser = scripts_parser(__doc__)
    parser.add_argument(
        "--rounds", type=positive(int), default=5, metavar="N", help="pairs (default: 5)"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of ours; the plain version is in float32 (default: float32)",
    )
    parser.add_argument("--one", choices=("plain", "ours", "returning"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(seconds_a_step(args.scripts[0], args.one, args.precision))
        return

    training_data()  # lest all of the processes fail for want of it
    print(f"date: {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC")
    print(f"device: {device_name(torch.device('cpu'))}, {torch.get_num_threads()} threads")
    print(f"torch {torch.__version__}, ours in {args.precision}, {args.rounds} pairs")
    print(f"sgemm: {sgemm_rate():.0f} GFLOP/s\n")
    print("| script | plain, s an epoch | ours, s an epoch | ours / plain | lowest to highest |")
    print("| --- | --- | --- | --- | --- |")
    for name in args.scripts or SCRIPTS:
        pairs = []
        for _ in tqdm(range(args.rounds), desc=name, disable=None, leave=False):
            pairs.append([timed(name, one, args.precision) for one in ("plain", "ours")])
        steps = 60000 / SCRIPTS[name][0]
        usual, ours = (steps * statistics.median(pair[k] for pair in pairs) for k in (0, 1))
        ratios = sorted(pair[1] / pair[0] for pair in pairs)
        print(
            f"| {name} | {usual:.2f} | {ours:.2f} | {statistics.median(ratios):.2f}"
            f" | {ratios[0]:.2f} to {ratios[-1]:.2f} |",
            flush=True,
        )


def scripts_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser that takes the names of any of the scripts, as a list `scripts`.

    `--help` shows the description as it stands; another name ends the program with one line.
    """

    def script(name: str) -> str:
        if name not in SCRIPTS:
            raise argparse.ArgumentTypeError(f"no script {name}; there are {', '.join(SCRIPTS)}")
        return name

    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "scripts", nargs="*", type=script, metavar="SCRIPT", help=", ".join(SCRIPTS)
    )
    return parser


def timed(name: str, one: str, precision: str) -> float:
    """Return the seconds a step of one version takes, measured in a process of its own."""
    command = [sys.executable, __file__, name, "--one", one, "--precision", precision]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def training_data() -> tuple[Tensor, Tensor]:
    """Return the training images, (60000, 1, 28, 28) uint8, and their labels, (60000,) int64.

    Ends the program with one line if they cannot be read.
    """
    try:
        data = mnist()
    except (OSError, ValueError) as error:
        raise SystemExit(f"bench: {error}") from None
    return torch.from_numpy(data["x"]).unsqueeze(1), torch.from_numpy(data["y"]).long()


def seconds_a_step(name: str, one: str, precision: str) -> float:
    """Return the seconds a training step of a script takes in this process.

    Plain, ours, or ours "returning" freed memory to the system, as is glibc's default.
    """
    batch_size, steps = SCRIPTS[name]
    warm_up = steps // 5
    torch.manual_seed(0)
    x, y = training_data()
    if one == "plain":
        step = plain.gan_step(name) if "gan" in name else plain.classifier_step(name)
        loader = DataLoader(TensorDataset(scaled(x), y), batch_size, shuffle=True)
        epoch: Epoch = lambda data: [step(*batch) for batch in data]  # noqa: E731
        epoch(islice(loader, warm_up))
        start = time.perf_counter()
        epoch(islice(loader, steps))
    else:
        memory.leave_out_compiler()
        if one == "returning":
            memory.LIBC = None
        memory.keep_freed_memory()  # from the first step on, since there are few
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
        epoch = our_epoch(name, autocast)
        epoch(islice(batches(x, y, batch_size), warm_up))
        start = time.perf_counter()
        epoch(islice(batches(x, y, batch_size), steps))
    return (time.perf_counter() - start) / steps


def our_epoch(
    name: str,
    autocast: torch.autocast,
    layout: torch.memory_format = torch.channels_last,
    device: str = "cpu",
    graph: bool = False,
) -> Epoch:
    """Return the part of a script that trains its network on batches, maybe as with `--graph`."""
    script = importlib.import_module(f"mnist.{name}")
    if "gan" in name:
        return our_gan_epoch(script, autocast, layout, device)
    model = getattr(script, MODELS[name])().to(device).to(memory_format=layout)
    optimizer: torch.optim.Optimizer
    if name == "logit":
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
    elif name == "linear":
        optimizer = torch.optim.SGD(
            model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), 0.001, fused=True)
    schedule = CosineAnnealingLR(optimizer, 1000000)
    if graph:
        images = torch.zeros(SCRIPTS[name][0], 1, 28, 28, device=device)
        replay_passes(model, images, autocast)
    reach = (2,) if name in ("conv", "simple") else ()
    return lambda data: script.train_epoch(model, optimizer, schedule, autocast, data, *reach)


def our_gan_epoch(
    script: ModuleType, autocast: torch.autocast, layout: torch.memory_format, device: str
) -> Epoch:
    """Return the part of gan.py or cgan.py that trains its two networks on batches."""
    generator, discriminator = script.Generator(), script.Discriminator()
    optimizers = []
    for model in (generator, discriminator):
        model.to(device).to(memory_format=layout)
        optimizers.append(
            torch.optim.Adam(model.parameters(), 0.0002, betas=(0.5, 0.999), fused=True)
        )
    averaged = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True)
    return lambda data: script.train_epoch(
        generator, discriminator, averaged, *optimizers, autocast, data
    )


def sgemm_rate(size: int = 2000) -> float:
    """Return how many GFLOP/s a product of two large matrices of float32 runs at, at best of 10."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9


if __name__ == "__main__":
    main()
