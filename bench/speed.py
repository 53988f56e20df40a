"""How long an epoch takes, ours against the plain way to write it.

python bench/speed.py                    # all scripts, about 20 minutes; nothing else may run
python bench/speed.py conv lstm          # some of them
python bench/speed.py keras jax compile  # conv against other libraries, see peers.py

A pair is two programs, first plain.py or peers.py, then the script, with the same images, batch
size and number of epochs. Both test after each epoch, on a sixth as many images as they train on.
The first epoch is a warm-up. The table has medians of seconds, scaled to 60,000 images, and of
ratios.
"""

import json
import subprocess
import sys
import tempfile
import time
import timeit
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.data import NAMES, Data, load
from common.devices import device_name
from common.errors import InputError, clear_errors
from common.flags import ROOT, positive

SCRIPTS = {"logit": 60_000, "linear": 60_000, "conv": 12_000, "simple": 1_200, "lstm": 12_000}
SCRIPTS |= {"gan": 2_400, "cgan": 2_400}  # training images of an epoch
PEERS = dict.fromkeys(("compile", "jax", "keras"), 12_000)


def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add, count, names = parser.add_argument, positive(int), ", ".join(SCRIPTS | PEERS)
    add("scripts", nargs="*", metavar="SCRIPT", help=names)
    add("--rounds", type=count, default=5, metavar="N", help="pairs (default: 5)")
    add("--precision", choices=("float32", "bfloat16"), default="float32", help="of ours")
    add("--limit", type=count, metavar="N", help="training images (default: 1200 to 60000)")
    flags = parser.parse_args(argv)
    if unknown := [name for name in flags.scripts if name not in SCRIPTS | PEERS]:
        parser.error(f"no script {unknown[0]}; there are {names}")
    with clear_errors("speed"):
        data = load(ROOT / "mnist/data", (1, 28, 28), 10)
        print(f"date: {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC")
        print(f"device: {device_name(torch.device('cpu'))}, {torch.get_num_threads()} threads")
        print(f"torch {torch.__version__}, ours in {flags.precision}, {flags.rounds} pairs")
        print(f"sgemm: {sgemm_rate():.0f} GFLOP/s\n")
        titles = ("script", "plain, s an epoch", "ours, s an epoch", "ours / plain")
        print(f"| {' | '.join(titles)} | lowest to highest |")
        print("| --- | --- | --- | --- | --- |", flush=True)
        for name in flags.scripts or SCRIPTS:
            limit = min(flags.limit or (SCRIPTS | PEERS)[name], len(data.x_train))
            rounds = tqdm(range(flags.rounds), desc=name, disable=None, leave=False)
            pairs = [pair(name, data, limit, flags.precision) for _ in rounds]
            plain, ours = (60_000 / limit * median(seconds) for seconds in zip(*pairs, strict=True))
            ratios = [both[1] / both[0] for both in pairs]
            row = f"| {name} | {plain:.2f} | {ours:.2f} | {median(ratios):.2f}"
            print(f"{row} | {min(ratios):.2f} to {max(ratios):.2f} |", flush=True)


def pair(name: str, data: Data, limit: int, precision: str) -> tuple[float, float]:
    """Return the seconds of an epoch of the plain version, or a peer, and of the script."""
    script, other = ("conv", "peers") if name in PEERS else (name, "plain")
    with tempfile.TemporaryDirectory() as folder:
        tested = -(-limit // 6)  # rounded up: the share of a whole epoch
        arrays = (*data[:2], data.x_test[:tested], data.y_test[:tested])
        np.savez(f"{folder}/data.npz", **dict(zip(NAMES, arrays, strict=True)))  # type: ignore[arg-type]
        shared = ["--epochs", "3", "--limit", str(limit), "--out", folder]
        shared += ["--data", f"{folder}/data.npz"]
        ours = [f"mnist/{script}.py", "--precision", precision, "--device", "cpu", *shared]
        plain = seconds([f"bench/{other}.py", name, *shared], f"{folder}/{other}-{name}.json")
        return plain, seconds(ours, f"{folder}/{script}.json")


def seconds(command: list[str], figures: str) -> float:
    """Return the mean seconds of an epoch after the first, by the figures a program has written."""
    command = [sys.executable, *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{command[1]}: {done.stderr.strip().splitlines()[-1]}")
    return fmean(epoch["seconds"] for epoch in json.loads(Path(figures).read_bytes())["epochs"][1:])


def sgemm_rate(size: int = 2000) -> float:
    """Return how many GFLOP/s a product of two large float32 matrices runs at, the best of 10."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(timeit.repeat(lambda: a @ b, number=1, repeat=10)) / 1e9


if __name__ == "__main__":
    main()
