"""What a run leaves behind: its log for people, its figures by name, its pictures and weights."""

import json
import math
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray
from torch import nn

from common.batches import batch_count
from common.checkpoint import save, unwrapped
from common.errors import DIVERGED, InputError
from common.files import file_hash, replace, write_whole
from common.flags import ROOT, shown

PUBLISHED = ROOT / "mnist/results"  # a script's folder has weights beside a run's figures


class Record:
    """The files of one run in its output folder: `NAME.log`, `NAME.json` and others.

    Its header has what anyone needs to repeat the run, its figures are those of each epoch, both by
    name. The lines are the log's so far. If a run is several processes, one of them `writes`.
    """

    def __init__(self, name: str, out: Path, writes: bool = True) -> None:
        self.name = name
        self.out = out
        self.writes = writes
        self.header: dict[str, Any] = {"name": name}
        self.figures: list[dict[str, float]] = []
        self.lines: list[str] = []
        self.started = True  # a run begins with its first epoch

    def path(self, ending: str) -> Path:
        """Return the path of the run's file with an ending, for instance `.log`."""
        return self.out / (self.name + ending)

    def log(self, line: str = "", **figures: Any) -> None:
        """Print and log a line, keep the epoch's figures.

        A figure is a number or a tensor of one; InputError is raised if it is not finite.
        """
        numbers = {name: float(figure) for name, figure in figures.items()}
        if not all(map(math.isfinite, numbers.values())):
            raise InputError(DIVERGED)
        if self.writes:
            print(line, flush=True)
        self.lines.append(line)
        self.save_log()
        if self.figures:
            self.figures[-1] |= numbers

    def log_header(self) -> None:
        """Log the header."""
        h = self.header
        self.log(f"command: {h['command']}\ndate: {h['date']}")
        self.log(f"device: {h['device']}, {h['threads']} threads, {h['precision']}")
        self.log(f"versions: Python {h['python']}, torch {h['torch']}")
        for name, network in h["networks"].items():
            self.log(f"{name}: {network}, {h['parameters'][name]:,} parameters")
        if "judge" in h:
            self.log(f"judge: {h['judge']}")
        data = h["data"]
        self.log(f"data: {data['path']}, {data['kind']}, hash {data['hash']}")
        for note in data["notes"]:
            self.log(f"data: {note}")
        self.log(f"images: {h['images']:,} to train on, {h['tested']:,} {h['test set']}")
        self.log(f"classes: {' '.join(h['classes'])}")
        steps = batch_count(h["images"], h["batch_size"])
        text = f"epochs: {h['epochs']}, batch size: {h['batch_size']}, iterations per epoch"
        self.log(f"{text}: {steps}, seed: {h['seed']}\n")

    def save_log(self) -> None:
        """Write all lines to `NAME.log`, if the run has begun."""
        if self.started and self.writes:
            text = "".join(f"{line}\n" for line in self.lines)
            write_whole(self.path(".log"), text.encode(errors="backslashreplace"))

    def save_figures(self, final: Mapping[str, Any] | None = None) -> None:
        """Write header, epochs and final figures, None while the run goes on, to `NAME.json`."""
        figures = {"header": self.header, "epochs": self.figures, "final": final}
        if self.writes:
            write_whole(self.path(".json"), json.dumps(figures, indent=1).encode())
        if final is not None:  # a finished run needs no checkpoint
            self.path(".resume.pt").unlink(missing_ok=True)

    def save_picture(self, ending: str, pixels: NDArray[np.uint8]) -> None:
        """Write pixels, (h, w) or (h, w, 3) uint8, as a PNG."""
        write_whole(self.path(ending), imageio.imwrite("<bytes>", pixels, extension=".png"))

    def save_weights(self, model: nn.Module, ending: str = ".pt") -> str:
        """Write a network's state dict to `NAME.pt`, log the path, return a hash of the file."""
        states = {name: tensor.cpu() for name, tensor in unwrapped(model).state_dict().items()}
        save(self.path(ending), states)
        self.log(f"weights: {shown(self.path(ending))}")
        return file_hash(self.path(ending))

    def put_aside(self) -> None:
        """Begin: move the files of an earlier run of this name to `earlier/NAME-DATE/`.

        The date is that of its start. Its figures are last: while they are here, the move is not
        complete.
        """
        if self.writes and not self.started and (files := self._files()):
            folder = self._aside(files[-1])
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                replace(file, folder / file.name)
            text = f"{self.name}: the files of the earlier run are now in {shown(folder)}"
            print(text, file=sys.stderr, flush=True)
        self.started = True

    def undo_half_a_move(self) -> None:
        """Move back what a `put_aside` that was ended in the middle has moved."""
        if (figures := self.out / f"{self.name}.json").exists():
            for file in self._aside(figures).glob("*"):
                replace(file, self.out / file.name)

    def _files(self) -> list[Path]:
        """Return the files of the run that is in the folder: checkpoint and figures are last.

        A file that begins with a run's name is its own, but conv2.png is not conv's if there is a
        conv2.json.
        """
        # A picture's number has two digits at least: cgan20.png is cgan's, not cgan2's.
        name = re.compile(re.escape(self.name) + r"(?![A-Za-z_]|\d\.png)")
        found = [path for path in sorted(self.out.glob("*")) if name.match(path.name)]
        others = [path.stem for path in found if path.suffix == ".json" and path.stem != self.name]
        theirs = [re.compile(re.escape(other) + r"(?!\d\.png)") for other in others]
        mine = [x for x in found if x.is_file() and not any(one.match(x.name) for one in theirs)]
        last = f"{self.name}.resume.pt", f"{self.name}.json"
        return sorted(mine, key=lambda path: last.index(path.name) if path.name in last else -1)

    def _aside(self, file: Path) -> Path:
        """Return the folder for the run of the figures, or of any other file if it has none."""
        try:
            date = str(read_figures(file).header["date"])
        except (InputError, KeyError, OSError):
            date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(file.stat().st_mtime))
        folder = self.out / "earlier" / f"{self.name}-{'-'.join(re.findall(r'[0-9]+', date))}"
        # One that has figures is a complete one of the same second. Without figures any is taken.
        taken = file.name if file.suffix == ".json" else ""
        while (folder / taken).exists():
            folder = folder.with_name(f"{folder.name}_")
        return folder


class Figures(NamedTuple):
    """What `NAME.json` says of a run: header and figures by name, final ones when it has ended."""

    header: dict[str, Any]
    epochs: list[dict[str, float]]
    final: dict[str, Any] | None


NUMBER = (-1e100, 1e100)
# Types of what a run's JSON holds, by name: a pair is the lowest number and the highest, a list has
# the type of its elements. All that HEADER names is in the header of a script's run.
HEADER: dict[str, Any] = {
    **dict.fromkeys(["name", "script", "command", "date", "precision", "test set"], str),
    **{"epochs": int, "seed": int, "tested": int, "shape": [int], "classes": [str]},
}
TYPES: dict[str, Any] = {
    **HEADER,
    **dict.fromkeys(["script hash", "network", "judge", "hash", "dtype"], str),
    **dict.fromkeys(["seconds", "distance", "asked", "rarest", "low", "high"], NUMBER),
    **{"epoch": int, "misread": int, "data": dict, "dark": bool},
    **{"accuracy": (0, 100), "read": (0, 100), "temperature": (1e-6, 1e6), "unsure": (0, 2)},
}


def read_figures(path: Path) -> Figures:
    """Return what `save_figures` has written, of any version; InputError if it is something else.

    Final figures have at least the seconds.
    """
    try:
        run = Figures(**json.loads(path.read_bytes()))
        final = {"seconds": 0} if run.final is None else run.final
        parts = [run.header, run.header.get("data") or {}, final]
        named = [(value, TYPES.get(x)) for part in parts for x, value in part.items()]
        named += [(row[x], TYPES.get(x, NUMBER)) for row in run.epochs for x in ["epoch", *row]]
        fits = all(_fits(*pair) for pair in named) and type(run.epochs) is list
        fits &= "seconds" in final
        fits &= "script" not in run.header or run.header.keys() >= HEADER.keys()
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(f"{path} is damaged, or does not hold the figures of a run")
    return run


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return type(value) in (int, float) and kind[0] <= value <= kind[1]
    if isinstance(kind, list):
        return type(value) is list and all(type(element) is kind[0] for element in value)
    return kind is None or type(value) is kind
