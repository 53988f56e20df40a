"""Digits that one asks for, drawn by the generator that cgan.py has trained.

python mnist/sample.py 2026              # mnist/out/sample.png, different each time
python mnist/sample.py 2026 --seed 7     # the same each time
"""

import argparse
import random
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.batches import draw
from common.mnist import makegrid
from common.run import ROOT, Parser, Run, command_for, echo, find_device, seed, shown
from common.weights import load_weights
from mnist.cgan import Generator


def arguments() -> argparse.Namespace:
    """Return the parsed command line; end the program with one line if it asks for no digits."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("digits", metavar="DIGITS", help="what to draw, for instance 2026")
    add("--seed", type=seed, metavar="N", help="to draw the same again (default: at random)")
    add("--device", type=find_device, default="auto", metavar="NAME", help="as in cgan.py")
    add(
        "--out",
        type=Path,
        default=ROOT / "mnist/out",
        metavar="DIR",
        help="where cgan.pt is and sample.png goes (default: mnist/out)",
    )
    args = parser.parse_args()
    if not args.digits or not set(args.digits) <= set("0123456789"):
        parser.exit(2, f"sample: {args.digits!r} is not made of digits, as 2026 is\n")
    if args.seed is None:
        args.seed = random.randrange(10**6)
    args.precision = "float32"
    return args


def main() -> None:
    args = arguments()
    weights = args.out / "cgan.pt"
    with Run("sample", args) as run:
        try:
            generator = run.place(load_weights(Generator, weights))
        except FileNotFoundError:
            raise SystemExit(
                f"sample: no {shown(weights)}: {command_for('cgan', args.out)} trains it"
            ) from None
        except (OSError, ValueError) as error:
            raise SystemExit(f"sample: {error}") from None
        asked = torch.tensor([int(digit) for digit in args.digits])
        latent = torch.randn(len(asked), 100, 1, 1)
        images = draw(generator, run.autocast, latent.to(run.device), asked.to(run.device))
        run.save_picture(".png", makegrid(images.squeeze(1).cpu().numpy(), 1, len(asked)))
        echo(f"{shown(run.path('.png'))}: {args.digits}, --seed {args.seed}")


if __name__ == "__main__":
    main()
