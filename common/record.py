"""What a run leaves behind: its log for people, its figures by name, its pictures and weights."""

import json
import math
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
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
from common.flags import shown


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
        self.log(f"images: {h['images']:,} to train on, {h['tested']:,} {h['test set']}")
        self.log(f"classes: {' '.join(h['classes'])}")
        steps = batch_count(h["images"], h["batch_size"])
        text = f"epochs: {h['epochs']}, batch size: {h['batch_size']}, iterations per epoch"
        self.log(f"{text}: {steps}, seed: {h['seed']}\n")

    def save_log(self) -> None:
        """Write all lines to `NAME.log`, if the run has begun."""
        if self.started and self.writes:
            write_whole(self.path(".log"), "".join(f"{line}\n" for line in self.lines).encode())

    def save_figures(self, final: Mapping[str, Any] | None = None) -> None:
        """Write header, epochs and final figures, None while the run goes on, to `NAME.json`."""
        figures = {"header": self.header, "epochs": self.figures, "final": final}
        if self.writes:
            write_whole(self.path(".json"), json.dumps(figures, indent=1).encode())

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

        A file belongs to the longest name of a run with which its own begins: conv2.png is conv's,
        but conv2's if there is a conv2.json.
        """
        names = {self.name, *(path.stem for path in self.out.glob("*.json"))}

        def owner(file: str) -> str:
            found = [x for x in names if re.match(rf"{re.escape(x)}(?![A-Za-z_])", file)]
            return max(found, key=len, default="")

        found = [path for path in sorted(self.out.glob(f"{self.name}*")) if path.is_file()]
        mine = [path for path in found if owner(path.name) == self.name]
        last = f"{self.name}.resume.pt", f"{self.name}.json"
        return sorted(mine, key=lambda path: last.index(path.name) if path.name in last else -1)

    def _aside(self, file: Path) -> Path:
        """Return the folder for the run of the figures, or of any other file if it has none."""
        try:
            date = str(read_figures(file).header["date"])
        except (InputError, KeyError, OSError):
            date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(file.stat().st_mtime))
        folder = self.out / "earlier" / f"{self.name}-{'-'.join(re.findall(r'[0-9]+', date))}"
        number = 1
        while (folder / f"{self.name}.json").exists():  # a complete one of the same second
            number += 1
            folder = folder.with_name(f"{folder.name.partition('_')[0]}_{number}")
        return folder


class Figures(NamedTuple):
    """What `NAME.json` says of a run: header and figures by name, final ones when it has ended."""

    header: dict[str, Any]
    epochs: list[dict[str, float]]
    final: dict[str, Any] | None


def read_figures(path: Path) -> Figures:
    """Return what `save_figures` has written; InputError if the file holds something else."""
    try:
        run = Figures(**json.loads(path.read_bytes()))
        kinds = type(run.header), type(run.epochs), type(run.final)
    except (TypeError, ValueError):
        kinds = None
    if kinds not in ((dict, list, dict), (dict, list, type(None))):
        raise InputError(f"{path} is damaged, or does not hold the figures of a run")
    return run


def check_weights(path: Path) -> None:
    """Raise InputError if a finished run, whose figures are beside a file of weights, wrote others.

    Weights without figures are as good as any.
    """
    with suppress(OSError):
        own, final = file_hash(path), None
        with suppress(InputError):
            final = read_figures(path.with_suffix(".json")).final
        if (final or {}).get("weights", own) != own:
            text = f"the figures beside it, {path.stem}.json, are those of other weights"
            raise InputError(f"{path}: {text}; move one of the two elsewhere")
