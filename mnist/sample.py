"""Draw digits with a generator that cgan.py, flow.py, gan.py or vae.py has trained.

python mnist/sample.py 2026                            # mnist/out/sample.png, different each time
python mnist/sample.py 2026 --seed 7                   # the same each time
python mnist/sample.py 3 --count 500 --pictures DIR    # 500 threes, a PNG file each
python mnist/sample.py --network gan --count 20        # 20 random digits
python mnist/sample.py --score DIR                     # how good the digits in a folder are
"""

import argparse
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.batches import draw
from common.checkpoint import load_weights
from common.devices import find_device
from common.errors import InputError, clear_errors
from common.files import write_whole
from common.flags import parse_flags, positive, script_parser, shown
from common.mnist import makegrid
from common.pictures import upright
from common.record import Record
from common.run import Run
from common.scores import Judge, score_line
from common.weights import class_numbers, find_weights
from mnist import cgan, flow, gan, vae
from mnist.conv import ConvNet

MOST = 1_000_000  # digits at once: 2 GB of memory
# The class of each network, its latent vectors' shape, and whether it is told the digits.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], bool]] = {
    "cgan": (cgan.Generator, (100, 1, 1), True),
    "flow": (flow.Flow, (1, 28, 28), True),
    "gan": (gan.Generator, (100, 1, 1), False),
    "vae": (vae.VAE, (40,), False),
}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the flags; end the program if the digits do not suit the network."""
    parser = script_parser(__file__, __doc__)
    add = parser.add_argument
    add("digits", nargs="?", default="", metavar="DIGITS", help="digits to draw, for instance 2026")
    add("--network", choices=NETWORKS, default="cgan", help="generator (default: cgan)")
    add("--count", type=positive(int), default=1, metavar="N", help="draw DIGITS N times")
    add("--pictures", type=Path, metavar="DIR", help="a new folder for a PNG file of each digit")
    add("--score", type=Path, metavar="DIR", help="score pictures of 28 x 28 pixels; draw nothing")
    add("--seed", type=int, metavar="N", help="random seed (default: a new one each time)")
    add("--device", type=find_device, default="auto", metavar="NAME", help="cpu, cuda, mps or xpu")
    flags = parser.parse_args(argv)
    if flags.score:
        if flags.digits or flags.pictures:
            parser.error("--score draws nothing: leave out digits and --pictures")
    elif NETWORKS[flags.network][2]:
        if not re.fullmatch("[0-9]+", flags.digits):
            parser.error(f"{flags.network} needs digits to draw, for instance 2026")
    elif flags.digits:
        parser.error(f"{flags.network} cannot be told what to draw: leave out {flags.digits}")
    if (len(flags.digits) or 1) * flags.count > MOST:
        parser.error(f"more than {MOST:,} digits: give a lower --count")
    return flags


def write_pictures(folder: Path, images: NDArray[np.uint8], digits: list[int]) -> None:
    """Write images, (n, 28, 28), as PNG files, and their digits, if known, to labels.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:05}.png" for number in range(1, len(images) + 1)]
    for name, image in zip(names, images, strict=True):
        imageio.imwrite(folder / name, image)
    if digits:
        rows = [f"{name},{digit}\n" for name, digit in zip(names, digits, strict=True)]
        write_whole(folder / "labels.csv", "".join(["file,digit\n", *rows]).encode())


def score(folder: Path, out: Path, device: torch.device) -> str:
    """Return the scores of the PNG files in a folder as text; see `Judge.rate`.

    What was asked for is in labels.csv, as `write_pictures` leaves it, or the first sign of each
    name: 7-12.png.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    opened = [upright(path.read_bytes(), str(path)) for path in paths]  # refuses 16 bits
    images = [np.asarray(picture.convert("L")) for picture in opened]
    pairs = zip(paths, images, strict=True)
    if wrong := [path for path, image in pairs if image.shape != (28, 28)]:
        raise InputError(f"{wrong[0]}: only pictures of 28 x 28 pixels can be scored")
    if not images:
        raise InputError(f"{folder}: there is no PNG file")
    names = {path.name: path.name for path in paths if re.match("[0-9](?![0-9])", path.name)}
    if (labels := folder / "labels.csv").exists():
        rows = labels.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
        names = dict(row.split(",") for row in rows if re.fullmatch("[^,]+,[0-9]", row))
    asked = [int(names[path.name][0]) for path in paths if path.name in names]
    if len(asked) != len(paths) and (asked or labels.exists()):
        raise InputError(f"{folder}: only {len(asked)} of {len(paths)} pictures say what was asked")
    flags = ["--out", str(out), "--device", str(device)]
    run = Run(parse_flags(flags, __file__, None, epochs=1, batch_size=1, lr=1))
    x_train, _, x_test, y_test = run.load((1, 28, 28), classes=10)
    judge = Judge(run, ConvNet, x_train, x_test, y_test)
    if "judge" not in run.header:
        raise InputError(f"{folder} is not scored")
    x = torch.from_numpy(np.stack(images)).unsqueeze(1).to(device)
    scores = judge.rate(x, torch.tensor(asked) if asked else None)
    few = "" if len(x) >= 10_000 else "  (of fewer than 10,000, the distance is too high)"
    print(f"judge: {run.header['judge']}")
    return f"{shown(folder)}: {len(x):,} pictures  {score_line(scores)}{few}"


def main(argv: list[str] | None = None) -> None:
    flags = parse(argv)
    kind, shape, _ = NETWORKS[flags.network]
    folder = flags.pictures
    seed = random.randrange(10**6) if flags.seed is None else flags.seed
    width = len(flags.digits) or 1  # digits side by side
    with clear_errors("sample"):
        if flags.score:
            print(score(flags.score, flags.out, flags.device))
            return
        if folder and folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty: name a new folder")
        generator = kind()
        weights = find_weights(flags.network, flags.out)
        load_weights(generator, weights)
        numbers = class_numbers(weights, flags.digits * flags.count)
        torch.manual_seed(seed)  # after the network, whose first weights are random numbers, too
        digits = [int(digit) for digit in flags.digits * flags.count]
        latent = torch.randn(width * flags.count, *shape).to(flags.device)
        inputs = [latent, torch.tensor(numbers, device=flags.device)] if digits else [latent]
        float32 = torch.autocast(flags.device.type, enabled=False)
        images = draw(generator.to(flags.device), float32, *inputs).squeeze(1).cpu().numpy()
        # About 20 digits a row, which ends where DIGITS end.
        columns = width * min(flags.count, max(20 // width, 1))
        record = Record("sample", flags.out)
        record.save_picture(".png", makegrid(images, -(-len(images) // columns), columns))
        print(f"{shown(record.path('.png'))}: {flags.digits or len(images)}, --seed {seed}")
        if folder:
            write_pictures(folder, images, digits)
            print(f"{shown(folder)}: {len(images)} pictures")


if __name__ == "__main__":
    main()
