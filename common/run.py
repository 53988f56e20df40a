"""One training run: its seed, device, data, epochs and checkpoints."""

import platform
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from common.batches import accuracy, batch_count, predict
from common.checkpoint import check_settings, load_state, load_weights, save_state, unwrapped
from common.data import load
from common.devices import choose_precision, device_name, keep_freed_memory, peak_memory
from common.errors import InputError, clear_errors
from common.files import file_hash, only_process, script_hash
from common.flags import from_here, program, shown
from common.mnist import mismatch_grid, mismatch_lines, mismatches
from common.record import Record, read_figures
from common.weights import check_data, check_weights

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

    def __init__(self, flags: Namespace, bfloat16_pays: bool = False, writes: bool = True) -> None:
        """Set random seed, device, precision and threads.

        The flags are those of `parse_flags`. `bfloat16_pays` says whether `--precision auto` is
        bfloat16 where the device has it. If the run is several processes, one of them `writes`.
        """
        script, name = flags.script, flags.script.stem
        super().__init__(f"{name}-evaluated" if flags.evaluate else name, flags.out, writes)
        self.flags = flags
        self.device: torch.device = flags.device
        precision = choose_precision(flags.precision, self.device, bfloat16_pays)
        mixed = precision == "bfloat16"
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)
        if precision == "float32" and self.device.type == "cuda" and torch.cuda.is_tf32_supported():
            precision = "float32 with TF32"
        with clear_errors(name):
            if flags.threads:
                torch.set_num_threads(flags.threads)
            torch.manual_seed(flags.seed)
        torch.set_float32_matmul_precision("high")  # TF32 where the device has it
        torch.backends.cudnn.benchmark = True
        keep_freed_memory()
        self.steps = 0
        self.tested = "held-out" if flags.validate else "test"
        self.started = False
        self._trained = flags.out / f"{name}.pt"
        self._checkpoint = flags.out / f"{self.name}.resume.pt"
        self._stack = ExitStack()
        given = [flag for flag in flags.argv if flag != "--resume"]
        command = shlex.join([*program(), shown(script), *given])
        again = [*program(), from_here(script), *given, "--resume"]
        self._go_on = f"; to continue: {shlex.join(again)}"
        start = flags.weights or (self._trained if flags.evaluate else None)
        self.header |= {
            "script": shown(script),
            "script hash": script_hash(script),
            "command": command,
            "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "precision": precision,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "weights": flags.weights and shown(flags.weights),
            "weights hash": file_hash(start) if start and start.is_file() else None,
            **{name: vars(flags)[name] for name in ("epochs", "batch_size", "lr", "seed")},
        }

    def __enter__(self) -> "Run":
        with ExitStack() as stack:
            stack.enter_context(clear_errors(self.name, self._go_on))
            if self.writes:
                stack.enter_context(only_process(self.name, self.out))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._stack.__exit__(kind, error, traceback)

    def load(self, shape: tuple[int, int, int], classes: int) -> tuple[Tensor, ...]:
        """Return x_train, y_train, x_test, y_test on the run's device.

        Images are (n, c, h, w), uint8 of 0 to 255 or floats; labels are (n,) int64. Shape and
        classes are what the network takes.
        """
        flags = self.flags
        given = flags.limit, flags.validate, flags.ink, "labels" in flags
        data = load(flags.data, shape, classes, *given)
        self.header["data"] = {"path": shown(flags.data), **data.about}
        self.header |= {"shape": shape, "classes": list(data.classes), "images": len(data.x_train)}
        if flags.weights or flags.evaluate:
            check_data(flags.weights or self._trained, self.header, flags.evaluate)
        test_set = "held-out training images" if flags.validate else "test images"
        self.header |= {"tested": len(data.x_test), "test set": test_set}
        self.steps = flags.epochs * batch_count(len(data.x_train), flags.batch_size)
        return tuple(part.to(self.device) for part in data[:4])

    def place(self, model: Model, weights: str | None = ".pt") -> Model:
        """Return the model on the run's device, channels last; take its weights, if there are any.

        They are those of `--weights FILE`, or, with `--evaluate`, of the run in `--out`. A second
        network has its own ending, and begins anew where no such file is. None takes no weights.
        """
        path = self.flags.weights or (self._trained if self.flags.evaluate else None)
        # They may have been an earlier run's of this name, and moved with it.
        moved = path and not path.exists() and self.flags.resume and self._checkpoint.exists()
        if path and weights and not moved:
            check_weights(path)
            own = path.with_suffix(weights)
            if weights == ".pt" or own.exists():
                load_weights(model, path if weights == ".pt" else own)
            elif not self.flags.evaluate:
                text = f"no {shown(own)}: {type(model).__name__} begins anew"
                print(f"{self.name}: {text}", file=sys.stderr)
        model.to(self.device)
        if self.device.type != "mps":  # batch norm is wrong there in torch 2.13: pytorch#175189
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def path(self, ending: str) -> Path:
        """Return the path of the run's file with an ending; an earlier run's is moved away."""
        if not self.started and not self.flags.resume:
            self.put_aside()
        return super().path(ending)

    def epochs(self, **parts: Any) -> Iterator[int]:
        """Yield the epochs' numbers, from 1 on, and save the figures and a checkpoint after each.

        The parts are everything that changes: models, optimizers, schedules, averages. With
        `--resume` they, the random numbers and the log are first set to what they were after the
        last finished epoch. With `--evaluate` there are no epochs. Otherwise, the files of an
        earlier run of the same name are first moved to `earlier/`.
        """
        networks = {
            name: unwrapped(part)
            for name, part in parts.items()
            if isinstance(part, nn.Module) and not isinstance(part, AveragedModel)
        }
        self.header["networks"] = {name: type(part).__name__ for name, part in networks.items()}
        self.header["parameters"] = {
            name: sum(x.numel() for x in part.parameters()) for name, part in networks.items()
        }
        first = self._resumed(parts) if self.flags.resume else 1
        if first == 1:
            self.put_aside()
            self.save_figures()
            self.log_header()
        for epoch in () if self.flags.evaluate else range(first, self.flags.epochs + 1):
            start = time.perf_counter()
            self.figures.append({"epoch": epoch})
            yield epoch
            self.figures[-1]["seconds"] = time.perf_counter() - start
            progress = {"header": self.header, "figures": self.figures, "lines": self.lines}
            if self.writes:
                save_state(self._checkpoint, parts, self.device, progress)
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
        final = {"accuracy": percent, "misread": misread, **self.log_time()}
        final |= {"network": type(unwrapped(model)).__name__}
        final |= {"temperature": temperature, "unsure": unsure}
        wrong = mismatch_lines(mismatches(actual, predicted), self.header["classes"])
        self.log("\n".join(["", "mismatches:", *wrong, ""]))
        if not self.flags.evaluate:
            final["weights"] = self.save_weights(model)
        self.save_picture(".png", mismatch_grid(x_test.cpu(), actual, predicted))
        self.log(f"grid of mismatches: {shown(self.path('.png'))}")
        self.save_figures(final)

    def log_time(self) -> dict[str, Any]:
        """Log the seconds of all epochs and, if it is known, the peak memory; return both."""
        seconds = sum(epoch["seconds"] for epoch in self.figures)
        peak = peak_memory(self.device)
        if self.figures:
            text = f"seconds: {seconds:.1f} in all, {seconds / len(self.figures):.2f} an epoch"
            self.log(text + (f", {peak:,.0f} MB at the peak" if peak else ""))
        return {"seconds": seconds, **({"peak_mb": peak} if peak else {})}

    def _resumed(self, parts: Mapping[str, Any]) -> int:
        """Set all to the state in the checkpoint, and return the number of the next epoch."""
        checkpoint = self._checkpoint
        if self.writes:
            self.undo_half_a_move()
        figures, run = self.out / f"{self.name}.json", None
        with suppress(InputError, OSError):
            run = read_figures(figures)
        if run and run.final:
            check_settings(figures, run.header, self.header)
            checkpoint.unlink(missing_ok=True)  # if it was killed between two files
            print(f"{self.name}: finished already, see {shown(self.path('.log'))}", file=sys.stderr)
            raise SystemExit(0)
        if not checkpoint.exists():
            print(f"{self.name}: no {shown(checkpoint)}; starting at epoch 1", file=sys.stderr)
            return 1
        state, now = load_state(checkpoint, self.header, parts, self.device), self.header
        start = self.header = state["header"]
        self.figures, self.lines = state["figures"], state["lines"]
        self.started = True
        self.save_log()
        if self.writes:
            print("\n".join(self.lines), flush=True)
        names = ("script hash", "python", "torch")
        if changed := [name.split()[0] for name in names if now[name] != start.get(name)]:
            text = f"changed since epoch {len(self.figures)}: {', '.join(changed)}"
            text += "; the settings of optimizer and schedule are those of the checkpoint"
            print(f"{self.name}: {text}", file=sys.stderr)
            self.log(text)
        return len(self.figures) + 1
