"""The flags that all scripts share."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path

from common.devices import find_device

ROOT = Path(__file__).resolve().parents[1]


def script_parser(script: str, description: str | None) -> ArgumentParser:
    """Return a parser that shows a script's docstring as it is, with the flag `--out`.

    The script is its `__file__`; by default, `--out` is the folder `out` beside it.
    """
    # No abbreviations: the command in a log's header must name each flag in full.
    raw = RawDescriptionHelpFormatter
    parser = ArgumentParser(description=description, formatter_class=raw, allow_abbrev=False)
    out = Path(script).resolve().with_name("out")
    text = f"folder for weights, logs and pictures (default: {shown(out)})"
    parser.add_argument("--out", type=Path, metavar="DIR", default=out, help=text)
    return parser


def parse_flags(
    argv: Sequence[str] | None,
    script: str,
    description: str | None,
    epochs: int,
    batch_size: int,
    lr: float,
    processes: bool = False,
    few_labels: bool = False,
) -> Namespace:
    """Return the flags that all scripts share, `argv`, these as they were given, and `script`.

    The script is its `__file__`, the description its docstring; epochs, batch_size and lr are
    defaults. If argv is None, the flags are those of the command line. Without `processes`, the
    script refuses to be one of several that torchrun has started. With `few_labels`, it has
    `--labels`, too, and learns from images without labels.
    """
    parser = script_parser(script, description)
    add, default = parser.add_argument, " (default: %(default)s)"
    count, real = positive(int), positive(float)
    add("--epochs", type=count, metavar="N", default=epochs, help="passes over the data" + default)
    add("--batch-size", type=count, metavar="N", default=batch_size, help="batch size" + default)
    add("--lr", type=real, metavar="X", default=lr, help="peak learning rate" + default)
    add("--seed", type=int, metavar="N", default=0, help="random seed" + default)
    if few_labels:
        text = "labels of each class (default: 10, or all if there are images without labels)"
        add("--labels", type=count, metavar="N", help=text)
    text = "cpu, cuda, mps, xpu, or auto: an accelerator if there is one" + default
    add("--device", type=find_device, metavar="NAME", default="auto", help=text)
    text = "auto: bfloat16 if the device supports it and the script gains from it" + default
    add("--precision", choices=("float32", "bfloat16", "auto"), default="auto", help=text)
    add("--threads", type=count, metavar="N", help="CPU threads (default: one per core)")
    data = Path(script).resolve().with_name("data")
    text = f"IDX files, an .npz or CSV file or folders of pictures (default: {shown(data)})"
    add("--data", type=Path, metavar="PATH", default=data, help=text)
    text = "the pictures are digits on paper: find each, and bring it to MNIST's form"
    add("--ink", action="store_true", help=text)
    text = "use the first N training images and the first N test images"
    add("--limit", type=count, metavar="N", help=text)
    text = "test on the last sixth of the training images, at most 10,000, which are held out"
    add("--validate", action="store_true", help=text)
    text = "continue an interrupted run after its last finished epoch"
    add("--resume", action="store_true", help=text)
    add("--weights", type=Path, metavar="FILE", help="start with the weights in this file")
    text = "do not train: test --weights, or this script's weights in --out"
    add("--evaluate", action="store_true", help=text)
    argv = sys.argv[1:] if argv is None else argv
    flags = parser.parse_args(argv)
    flags.argv, flags.script = list(argv), Path(script)
    if not processes and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        parser.error("start it with python, as it is one process; torchrun is for parallel.py")
    return flags


def positive(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    """Return a parser of positive numbers for argparse."""

    def parse(text: str) -> int | float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ArgumentTypeError(f"{text} is not a positive number")
        return value

    parse.__name__ = f"positive {kind.__name__}"  # argparse prints it in its error line
    return parse


def program() -> list[str]:
    """Return the words of the command ahead of the script: python, or torchrun and its flags."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ["python"]
    local = os.environ["LOCAL_WORLD_SIZE"]
    machines = int(os.environ["WORLD_SIZE"]) // int(local)
    nodes = ["--nnodes", str(machines)] if machines > 1 else []
    return ["torchrun", *nodes, "--nproc-per-node", local]


def shown(path: Path) -> str:
    """Return a path as text, relative to the repository if it is inside."""
    resolved = path.resolve()
    return str(resolved.relative_to(ROOT) if resolved.is_relative_to(ROOT) else path)


def from_here(path: Path) -> str:
    """Return a path as text, relative to the current folder; absolute on another Windows drive."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path.absolute())
