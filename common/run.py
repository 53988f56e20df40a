"""One training run: its seed, device, data, epochs and checkpoints."""

import ctypes
import json
import os
import platform
import re
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from common.batches import accuracy, predict
from common.checkpoint import load_state, load_weights, save_state
from common.data import MisfitError, load
from common.errors import InputError, clear_errors
from common.flags import choose_precision, device_name, shown
from common.mnist import mismatch_grid, mismatch_lines, mismatches
from common.record import Record

Model = TypeVar("Model", bound=nn.Module)


class Run(Record):
    """One run of a script: from its flags to the files in `--out`.

    A context manager: it turns Ctrl-C, and errors that the user can mend, into one line.

    Attributes:
        flags: the parsed flags.
        device: where the network is trained.
        autocast: a context in which the network runs in the run's precision.
        steps: the number of batches in all epochs.
        tested: "test" or "held-out", for the log.
    """

    def __init__(self, flags: Namespace, bfloat16_pays: bool = False) -> None:
        """Set random seed, device, precision and threads.

        The flags are those of `parse_flags`. `bfloat16_pays` says whether `--precision auto` is
        bfloat16 where the device has it.
        """
        script, name = flags.script, flags.script.stem
        super().__init__(f"{name}-evaluated" if flags.evaluate else name, flags.out)
        self.flags = flags
        self.device: torch.device = flags.device
        precision = choose_precision(flags.precision, self.device, bfloat16_pays)
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=precision == "bfloat16"
        )
        if flags.threads:
            torch.set_num_threads(flags.threads)
        torch.manual_seed(flags.seed)
        torch.set_float32_matmul_precision("high")  # TF32 where the device has it
        torch.backends.cudnn.benchmark = True
        keep_freed_memory()
        self.steps = 0
        self.tested = "held-out" if flags.validate else "test"
        self._trained = flags.out / f"{name}.pt"
        self._parts: dict[str, Any] = {}
        given = [flag for flag in flags.argv if flag != "--resume"]
        command = shlex.join(["python", shown(script), *given])
        go_on = shlex.join(["python", os.path.relpath(script), *given, "--resume"])
        self._errors = clear_errors(self.name, f"; to continue: {go_on}")
        self.header |= {
            "script": shown(script),
            "command": command,
            "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "precision": precision,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: vars(flags)[name] for name in ("epochs", "batch_size", "lr", "seed")},
        }

    def __enter__(self) -> "Run":
        self._errors.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._errors.__exit__(kind, error, traceback)

    def load(
        self, shape: tuple[int, int, int], classes: int, arrays: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x_train, y_train, x_test, y_test on the run's device.

        Images are (n, c, h, w), uint8 of 0 to 255 or floats; labels are (n,) int64. Shape and
        classes are what the network takes. `arrays` are the four, as arrays or tensors, in place of
        the files in `--data`.
        """
        try:
            loaded = load(self.flags.data if arrays is None else arrays, shape, classes)
        except MisfitError as error:
            caller = sys._getframe(1)
            script = Path(caller.f_code.co_filename).name
            raise InputError(f"{error}; change it in {script}, line {caller.f_lineno}") from None
        x_train, y_train, x_test, y_test, names = loaded
        if self.flags.validate:
            kept = len(x_train) - min(10_000, len(x_train) // 6)
            x_train, x_test = x_train[:kept], x_train[kept:]
            y_train, y_test = y_train[:kept], y_train[kept:]
        tensors = [tensor[: self.flags.limit] for tensor in (x_train, y_train, x_test, y_test)]
        self.header |= {"shape": shape, "classes": list(names), "images": len(tensors[0])}
        test_set = "held-out training images" if self.flags.validate else "test images"
        self.header |= {"tested": len(tensors[2]), "test set": test_set}
        self.steps = self.flags.epochs * -(-len(tensors[0]) // self.flags.batch_size)  # rounded up
        x_train, y_train, x_test, y_test = (tensor.to(self.device) for tensor in tensors)
        return x_train, y_train, x_test, y_test

    def place(self, model: Model, load: bool = True) -> Model:
        """Return the model on the run's device, channels last; with `load`, take `--weights`."""
        if load and (self.flags.weights or self.flags.evaluate):
            load_weights(model, self.flags.weights or self._trained)
        model.to(self.device)
        if self.device.type != "mps":  # batch norm is wrong there in torch 2.13: pytorch#175189
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def epochs(self, **parts: Any) -> Iterator[int]:
        """Yield the epochs' numbers, from 1 on, and save the figures and a checkpoint after each.

        The parts are everything that changes: models, optimizers, schedules, averages. With
        `--resume` they, the random numbers and the log are first set to what they were after the
        last finished epoch. With `--evaluate` there are no epochs.
        """
        self._parts = parts
        sizes = {
            type(part).__name__: sum(x.numel() for x in part.parameters())
            for part in parts.values()
            if isinstance(part, nn.Module) and not isinstance(part, AveragedModel)
        }
        self.header |= {"network": next(iter(sizes)), "parameters": sizes}
        path = self.path(".resume.pt")
        first = self._resumed(path) if self.flags.resume else 1
        if first == 1:
            self.log_header()
            path.unlink(missing_ok=True)  # it belongs to an older run
            self.save_figures()
        for epoch in () if self.flags.evaluate else range(first, self.flags.epochs + 1):
            start = time.perf_counter()
            self.figures.append({"epoch": epoch})
            yield epoch
            self.figures[-1]["seconds"] = time.perf_counter() - start
            progress = {"settings": self._settings(), "figures": self.figures, "lines": self.lines}
            save_state(path, parts, self.device, progress)
            self.save_figures()

    def finish(
        self,
        model: nn.Module,
        x_test: Tensor,
        y_test: Tensor,
        temperature: float = 1,
        unsure: float = 0,
    ) -> None:
        """Log accuracy, time and mismatches; write the picture of the mismatches and the weights.

        Images are (n, c, h, w), uint8 or floats, labels (n,) int64. predict.py divides the logits
        by the temperature, and answers "?" where the probability is below `unsure`.
        """
        logits = predict(model, x_test)
        predicted, actual = logits.argmax(1).cpu().numpy(), y_test.cpu().numpy()
        percent, misread = accuracy(logits, y_test), int((predicted != actual).sum())
        self.log(f"\n{percent:.2f}% {self.tested} accuracy, {misread} of {len(actual):,} misread")
        spent = self.log_time()
        wrong = mismatch_lines(mismatches(actual, predicted), self.header["classes"])
        self.log("\n".join(["", "mismatches:", *wrong, ""]))
        self.save_picture(".png", mismatch_grid(x_test.cpu(), actual, predicted))
        self.log(f"grid of mismatches: {shown(self.path('.png'))}")
        if not self.flags.evaluate:
            self.save_weights(model)
        final = {"accuracy": percent, "misread": misread, **spent}
        self.save_figures({**final, "temperature": temperature, "unsure": unsure})

    def log_time(self) -> dict[str, float]:
        """Log the seconds of all epochs and the peak memory; return them by name."""
        seconds = sum(epoch["seconds"] for epoch in self.figures)
        peak = peak_memory(self.device)
        if self.figures:
            text = f"seconds: {seconds:.1f} in all, {seconds / len(self.figures):.2f} an epoch"
            self.log(f"{text}, {peak:,.0f} MB at the peak")
        return {"seconds": seconds, "peak_mb": peak}

    def _settings(self) -> dict[str, str]:
        """Return what must be the same for a run to be resumed, as texts."""
        names = ("epochs", "batch_size", "lr", "seed", "data", "limit", "validate", "weights")
        settings = {f"--{name.replace('_', '-')}": vars(self.flags)[name] for name in names}
        for name in ("device", "precision", "threads", "judge"):
            settings[name] = self.header.get(name)
        networks = {k: part for k, part in self._parts.items() if isinstance(part, nn.Module)}
        settings["--data"] = shown(self.flags.data)  # the same in a repository that was moved
        return {name: str(value) for name, value in {**settings, **networks}.items()}

    def _resumed(self, path: Path) -> int:
        """Set everything to the state in a checkpoint, and return the number of the next epoch."""
        if not path.exists():
            print(f"{self.name}: no {shown(path)}; starting at epoch 1", file=sys.stderr)
            return 1
        state = load_state(path, self._parts, self.device, self._settings())
        figures = self.path(".json")
        finished = figures.exists() and json.loads(figures.read_bytes())["final"]
        if len(state["figures"]) == self.flags.epochs and finished:
            print(f"{self.name}: finished already, see {shown(self.path('.log'))}", file=sys.stderr)
            raise SystemExit(0)
        self.figures, self.lines = state["figures"], state["lines"]
        self.save_log()
        print("\n".join(self.lines), flush=True)
        return len(self.figures) + 1


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step.

    By default it returns large blocks to the system, and each step pays for their pages again.
    Source: mallopt(3). Elsewhere than with glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        libc, trim_threshold, mmap_threshold = ctypes.CDLL(None), -1, -3  # malloc.h
        libc.mallopt(mmap_threshold, 16 * 2**20)  # bytes: SimpNet would keep too much
        libc.mallopt(trim_threshold, 2**31 - 1)


def peak_memory(device: torch.device) -> float:
    """Return the most memory that this process has held, in MB; 0 where it is not known.

    On cuda and xpu this is the memory of the tensors on the device.
    """
    status = Path("/proc/self/status")
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).max_memory_allocated(device) / 2**20
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 2**10 if found else 0.0
