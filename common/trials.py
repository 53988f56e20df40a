"""Trials of two ways to train: spread over processes, kept as they end, and compared in pairs."""

import io
import json
import math
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from matplotlib.figure import Figure
from torch import nn

from common.run import Run, shown

WAYS = ("regular", "averaging")

# Test accuracies in percent by the name of the way, and the seconds that both took.
Trial = dict[str, float]


def join_processes() -> None:
    """Join the processes that torchrun has started, if it has, and compute on one thread.

    On the CPU the last digits of a sum depend on how many threads share it, and torchrun gives each
    process one. Every study therefore takes one, and its figures are the same however many
    processes it is spread over. Where there are several accelerators each process takes its own.
    """
    torch.set_num_threads(1)
    if "LOCAL_RANK" in os.environ:
        # They exchange a few numbers when they start and when they end, maybe days apart.
        dist.init_process_group("gloo", timeout=timedelta(days=365))
        if torch.accelerator.device_count() > 1:
            index = int(os.environ["LOCAL_RANK"]) % torch.accelerator.device_count()
            torch.accelerator.set_device_index(index)


@contextmanager
def one_ahead() -> Iterator[None]:
    """Have one process of each machine go through a block, and only then the others.

    MNIST is then fetched once, where it has to be: the others find it in its place.
    """
    first = os.environ.get("LOCAL_RANK") == "0"
    if dist.is_initialized() and not first:
        dist.barrier()
    try:
        yield
    finally:  # the others wait, whatever became of it
        if dist.is_initialized() and first:
            dist.barrier()


def study(run: Run, model: nn.Module, trial: Callable[[int], tuple[float, float]]) -> None:
    """Run the trials of a study, as many as `--trials` says, and log what came of them.

    The trials that are still to do are dealt to the processes in turn. Each is kept when it ends,
    in `out/NAME.seed-N.json`, and with `--resume` it is not run again. The first process writes the
    log and the picture of both distributions, `out/NAME.png`.

    Args:
        run: what it holds of flags and data is the same in all processes.
        model: what is trained, for the log's header and lest trials of another are taken for it.
        trial: takes a seed; returns the test accuracies in percent of the two `WAYS`.
    """
    seeds = range(run.args.seed, run.args.seed + run.args.trials)
    rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    kept = _kept(run, model, seeds) if run.args.resume else {}
    if rank == 0:
        # Whatever ends the program up to here, what an older study kept is still there.
        run.log_header(model=model)
        if not run.args.resume:
            for path in run.args.out.glob(f"{run.name}.seed-*.json"):
                run.remove(path)
    # The exchange also has everyone wait until old trials are read, or removed.
    trials = _of_all_processes(kept)
    for seed in [seed for seed in seeds if seed not in trials][rank::processes]:
        start = time.perf_counter()
        accuracies = dict(zip(WAYS, trial(seed), strict=True))
        trials[seed] = {**accuracies, "seconds": time.perf_counter() - start}
        ended = {"settings": run.settings(), "network": str(model), **trials[seed]}
        run.save_bytes(f".seed-{seed}.json", json.dumps(ended, indent=1).encode())
        print(f"{run.name}: seed {seed} done", file=sys.stderr)
    trials = _of_all_processes(trials)
    if rank > 0:
        os._exit(0)  # gloo's threads have been seen to abort a process that ended as usual
    if dist.is_initialized():
        dist.destroy_process_group()
    pairs = [(trials[seed][WAYS[0]], trials[seed][WAYS[1]]) for seed in seeds]
    for seed, (regular, averaging) in zip(seeds, pairs, strict=True):
        run.log(f"seed: {seed:3}  regular: {regular:5.2f}%  averaging: {averaging:5.2f}%")
    for line in ["", *table(pairs), "", *comparison(pairs)]:
        run.log(line)
    run.log(f"seconds: {sum(trials[seed]['seconds'] for seed in seeds):,.1f} for all trials")
    run.save_bytes(".png", distributions(pairs))
    run.log(f"distributions: {shown(run.path('.png'))}")


def table(pairs: Sequence[tuple[float, float]]) -> list[str]:
    """Return the lines of a table: how often each accuracy, to two decimals, came of each way."""
    counts = [Counter(f"{accuracy:.2f}" for accuracy in way) for way in zip(*pairs, strict=True)]
    lines = ["accuracy| regular averaging", "--------| -----------------"]
    for accuracy in sorted(set().union(*counts), key=float):
        regular, averaging = (str(count[accuracy] or "") for count in counts)
        lines.append(f"{accuracy:8}| {regular:7} {averaging}".rstrip())
    return lines


def comparison(pairs: Sequence[tuple[float, float]]) -> list[str]:
    """Return three lines: mean and standard deviation of each way, and their mean difference.

    The differences of the pairs have the 95 % confidence interval of Student's t distribution.
    Spread and interval need two pairs at least.
    """
    lines = []
    for way, accuracies in zip(WAYS, zip(*pairs, strict=True), strict=True):
        lines.append(f"{way + ':':10} mean {statistics.fmean(accuracies):.3f}%")
        if len(pairs) > 1:
            lines[-1] += f", standard deviation {statistics.stdev(accuracies):.3f}"
    differences = [averaging - regular for regular, averaging in pairs]
    mean = statistics.fmean(differences)
    lines.append(f"averaging less regular: mean {mean:+.3f}")
    if len(pairs) > 1:
        error = statistics.stdev(differences) / math.sqrt(len(pairs))
        reach = student_t(len(pairs) - 1) * error
        lines[-1] += f", 95% interval {mean - reach:+.3f} to {mean + reach:+.3f}"
    return lines


def student_t(degrees: int, share: float = 0.95) -> float:
    """Return the t that |T| stays below with a probability of `share`.

    T is of Student's distribution with so many degrees of freedom. Written as sqrt(degrees) times
    the tangent of an angle, that angle's density is proportional to cos(angle) ** (degrees - 1),
    which is added up here.
    """
    angle = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angle) ** (degrees - 1)
    probability = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    found = np.interp(share, probability / probability[-1], angle)
    return float(math.sqrt(degrees) * np.tan(found))


def distributions(pairs: Sequence[tuple[float, float]]) -> bytes:
    """Return a PNG of the two distributions of accuracies, one above the other."""
    low, high = min(map(min, pairs)), max(map(max, pairs))
    step = 0.01 * max(1, math.ceil((high - low) / 0.5))  # about 50 bars at the most
    edges = np.arange(low - step / 2, high + step, step)
    figure = Figure(figsize=(6.4, 4), dpi=150, layout="constrained")
    axes = figure.subplots(2, sharex=True, sharey=True)
    for way, accuracies, color, ax in zip(
        WAYS, zip(*pairs, strict=True), ("C0", "C1"), axes, strict=True
    ):
        mean = statistics.fmean(accuracies)
        ax.hist(accuracies, edges, color=color, rwidth=0.9)
        ax.axvline(mean, color="black", linestyle="--", linewidth=1)
        ax.set_title(f"{way}: mean {mean:.3f}%", fontsize="medium")
        ax.set_ylabel("trials")
        ax.yaxis.get_major_locator().set_params(integer=True)
    axes[-1].set_xlabel("test accuracy, %")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _kept(run: Run, model: nn.Module, seeds: range) -> dict[int, Trial]:
    """Return the trials that are kept and asked for.

    Ends the program with one line if one is damaged or of another study.
    """
    trials = {}
    for seed in seeds:
        path = run.path(f".seed-{seed}.json")
        try:
            kept = json.loads(path.read_bytes())
            trials[seed] = {name: float(kept[name]) for name in (*WAYS, "seconds")}
            settings, network = dict(kept["settings"]), kept["network"]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            raise SystemExit(f"{run.name}: {path} is damaged: remove it") from None
        run.require_settings(settings, path)
        if network != str(model):
            raise SystemExit(f"{run.name}: {path} is of another network: remove it")
    return trials


def _of_all_processes(trials: dict[int, Trial]) -> dict[int, Trial]:
    """Return the trials that all processes hold; each waits here for all the others."""
    if not dist.is_initialized():
        return trials
    of_each: list[dict[int, Trial]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(of_each, trials)
    return {seed: trial for of_one in of_each for seed, trial in of_one.items()}
