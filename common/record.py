"""What a run leaves behind: its log for people, its figures by name, its pictures and weights."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray
from torch import nn

from common.checkpoint import save, write_whole
from common.errors import DIVERGED, InputError
from common.flags import shown


class Record:
    """The files of one run in its output folder: `NAME.log`, `NAME.json` and others.

    Its header has what anyone needs to repeat the run, its figures are those of each epoch, both by
    name. The lines are the log's so far.
    """

    def __init__(self, name: str, out: Path) -> None:
        self.name = name
        self.out = out
        self.header: dict[str, Any] = {"name": name}
        self.figures: list[dict[str, float]] = []
        self.lines: list[str] = []

    def path(self, ending: str) -> Path:
        """Return the path of the run's file with an ending, for instance `.log`."""
        return self.out / (self.name + ending)

    def log(self, line: str = "", **figures: float) -> None:
        """Print and log a line, keep the epoch's figures; InputError if one is not finite."""
        if not all(map(math.isfinite, figures.values())):
            raise InputError(DIVERGED)
        print(line, flush=True)
        self.lines.append(line)
        self.save_log()
        if self.figures:
            self.figures[-1] |= figures

    def log_header(self) -> None:
        """Log the header."""
        h = self.header
        self.log(f"command: {h['command']}\ndate: {h['date']}")
        self.log(f"device: {h['device']}, {h['threads']} threads, {h['precision']}")
        self.log(f"versions: Python {h['python']}, torch {h['torch']}")
        for name, count in h["parameters"].items():
            self.log(f"model: {name}, {count:,} parameters")
        if "judge" in h:
            self.log(f"judge: {h['judge']}")
        self.log(f"images: {h['images']:,} to train on, {h['tested']:,} {h['test set']}")
        self.log(f"classes: {' '.join(h['classes'])}")
        steps = -(-h["images"] // h["batch_size"])  # rounded up
        text = f"epochs: {h['epochs']}, batch size: {h['batch_size']}, iterations per epoch"
        self.log(f"{text}: {steps}, seed: {h['seed']}\n")

    def save_log(self) -> None:
        """Write all lines to `NAME.log`."""
        write_whole(self.path(".log"), "".join(f"{line}\n" for line in self.lines).encode())

    def save_figures(self, final: Mapping[str, Any] | None = None) -> None:
        """Write header, epochs and final figures, None while the run goes on, to `NAME.json`."""
        figures = {"header": self.header, "epochs": self.figures, "final": final}
        write_whole(self.path(".json"), json.dumps(figures, indent=1).encode())

    def save_picture(self, ending: str, pixels: NDArray[np.uint8]) -> None:
        """Write pixels, (h, w) or (h, w, 3) uint8, as a PNG."""
        write_whole(self.path(ending), imageio.imwrite("<bytes>", pixels, extension=".png"))

    def save_weights(self, model: nn.Module) -> None:
        """Write a network's state dict to `NAME.pt` and log the path."""
        states = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
        save(self.path(".pt"), states)
        self.log(f"weights: {shown(self.path('.pt'))}")
