"""How long an epoch takes on a CUDA device, and what CUDA graphs make of it.

python bench/graph.py                    # all scripts, a minute; nothing else may run
python bench/graph.py conv simple        # some of them

The loop is the script's own `train_epoch`, in the precision that the script takes by itself. Usual
steps and steps with `--graph` are taken in turn, some of each, and the table holds the medians,
for an epoch of 60,000 images. Beside them stand the kernels that a usual step launches, the time of
all of an epoch's kernels, and how often in a step the host waits for the device.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.speed import SCRIPTS, our_epoch, scripts_parser, training_data
from common.batches import batches
from common.run import device_name

STEPS = 40  # in a turn
TURNS = 5
FLOAT32 = ("logit", "lstm")  # the others take bfloat16


def main() -> None:
    args = scripts_parser(__doc__).parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("bench: no CUDA device here")

    x, y = (tensor.cuda() for tensor in training_data())
    torch.set_float32_matmul_precision("high")  # as the scripts do
    torch.backends.cudnn.benchmark = True
    print(f"date: {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC")
    print(f"device: {device_name(torch.device('cuda'))}")
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, {TURNS} turns of {STEPS} steps\n")
    print(
        "| script | kernels a step | all kernels, s an epoch | usual, s an epoch"
        " | --graph, s an epoch | waits a step |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in args.scripts or SCRIPTS:
        torch.manual_seed(0)
        batch_size = SCRIPTS[name][0]
        autocast = torch.autocast("cuda", torch.bfloat16, enabled=name not in FLOAT32)
        ways = [our_epoch(name, autocast, device="cuda")]
        if "gan" not in name:  # which train two networks
            ways.append(our_epoch(name, autocast, device="cuda", graph=True))

        def turn(way: Callable[..., object], steps: int = STEPS, size: int = batch_size) -> None:
            way(islice(batches(x, y, size), steps))

        for way in ways:
            turn(way)
        seconds: list[list[float]] = [[] for _ in ways]
        for _ in range(TURNS):
            for way, taken in zip(ways, seconds, strict=True):
                torch.cuda.synchronize()
                start = time.perf_counter()
                turn(way)
                torch.cuda.synchronize()
                taken.append((time.perf_counter() - start) / STEPS)
        kernels = kernels_of(partial(turn, ways[0], 10))
        waits = waits_of(partial(turn, ways[0]))
        steps = 60000 / batch_size
        usual, *graph = (f"{steps * statistics.median(taken):.2f}" for taken in seconds)
        print(
            f"| {name} | {len(kernels) / 10:.0f}"
            f" | {steps * sum(kernel.self_device_time_total for kernel in kernels) / 1e7:.2f}"
            f" | {usual} | {graph[0] if graph else 'none'} | {waits / STEPS:.2f} |",
            flush=True,
        )


def kernels_of(call: Callable[[], None]) -> list[FunctionEvent]:
    """Return the kernels that run on the device, copies among them, during a call."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        call()
        torch.cuda.synchronize()
    events = profiler.events() or []
    return [
        event
        for event in events
        if event.device_type.name == "CUDA" and not event.is_user_annotation
    ]


def waits_of(call: Callable[[], None]) -> int:
    """Return how often the host waits for the device during a call, as far as torch tells."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        call()
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(warning.message) for warning in caught)


if __name__ == "__main__":
    main()
