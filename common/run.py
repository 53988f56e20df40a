"""One training run: its flags, device, seed, data, log, checkpoints and pictures.

Nothing here decides how a network is trained; that stands in the scripts.
"""

import argparse
import io
import math
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from common.graphs import replay_passes
from common.grid import mismatch_grid, mismatch_lines, mismatches
from common.memory import leave_out_compiler, map_large_blocks
from common.mnist import mnist

Model = TypeVar("Model", bound=nn.Module)

ROOT = Path(__file__).resolve().parents[1]


class Stateful(Protocol):
    """What a checkpoint can hold: models, optimizers, schedules, averages of weights."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors, numbers and texts."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Set the state to what `state_dict` returned."""
        ...


class Parser(argparse.ArgumentParser):
    """A parser whose help can be printed in any encoding, and to a pipe that nobody reads."""

    def print_help(self, file: Any = None) -> None:
        if file is None:
            echo(self.format_help(), end="")
        else:
            super().print_help(file)


def argument_parser(
    description: str | None, epochs: int, batch_size: int, lr: float, graph: bool = True
) -> argparse.ArgumentParser:
    """Return a parser of the flags that all scripts share, with a script's own defaults.

    Args:
        description: the script's docstring.
        epochs: how many, unless told.
        batch_size: images a step, unless told.
        lr: the highest learning rate, unless told.
        graph: whether the script trains one network, whose passes can be replayed.
    """

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """The docstring as it stands, and the default of each flag that has one."""

        def _get_help_string(self, action: argparse.Action) -> str | None:
            has_one = action.default is not None and action.default is not False
            return super()._get_help_string(action) if has_one else action.help

    # Flags in full, as the log's header and those who read it need them.
    parser = Parser(description=description, formatter_class=Formatter, allow_abbrev=False)
    add = parser.add_argument
    add("--epochs", type=positive(int), default=epochs, metavar="N", help="passes over the data")
    add("--batch-size", type=positive(int), default=batch_size, metavar="N", help="images a step")
    add("--lr", type=positive(float), default=lr, metavar="X", help="highest learning rate")
    add("--seed", type=seed, default=0, metavar="N", help="of all of torch's random numbers")
    add(
        "--device",
        type=find_device,
        default="auto",
        metavar="NAME",
        help="cpu, cuda, mps, xpu, or auto: the accelerator that torch finds, else the CPU",
    )
    add(
        "--precision",
        choices=("float32", "bfloat16", "auto"),
        default="auto",
        help="of the network's arithmetic; auto: bfloat16 where it pays for this network",
    )
    if graph:
        add(
            "--graph",
            action="store_true",
            help="on cuda: launch the network's passes as CUDA graphs, which saves the host's time",
        )
    add("--data", type=Path, default=ROOT / "mnist/data", metavar="DIR", help="the IDX files")
    add("--out", type=Path, default=ROOT / "mnist/out", metavar="DIR", help="logs and pictures")
    add("--limit", type=positive(int), metavar="N", help="the first N training images only")
    add(
        "--validate",
        action="store_true",
        help="hold out the last 10,000 training images, and test on them",
    )
    add(
        "--resume",
        action="store_true",
        help="go on from the last finished epoch of an interrupted run",
    )
    return parser


class Run:
    """One run of a script: from its arguments to the files in `--out`.

    A context manager: leaving it on Ctrl-C prints how to go on, in one line.

    Attributes:
        args: the parsed arguments.
        device: where the network is trained.
        autocast: a context in which the network runs in the run's precision.
        tested: what the network is tested on, in words.
        header: lines of a script's own for the header of the log.
        history: a dictionary of figures an epoch, for a script's own use; it is in the checkpoint.
    """

    def __init__(self, name: str, args: argparse.Namespace, bfloat16_pays: bool = False) -> None:
        """Seed torch, choose device and precision, set up memory.

        Args:
            name: the script's name, of which the names of its files are made.
            args: what `argument_parser` parsed.
            bfloat16_pays: whether `--precision auto` takes bfloat16 where the device has it.
        """
        self.name = name
        self.args = args
        self.device: torch.device = args.device
        if "graph" in args and args.graph and self.device.type != "cuda":
            raise SystemExit(f"{name}: --graph is for cuda, not {self.device.type}: leave it out")
        self.precision = _precision(args.precision, self.device, bfloat16_pays)
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )
        self.tested = "test images"
        self.header: list[str] = []
        self.history: list[dict[str, float]] = []
        self._lines: list[str] = []
        self._seconds = 0.0  # of the epochs that are finished
        self._images = 0
        self._checksum = 0  # of all four arrays of the data
        # A program can be started without them, which tqdm does not expect.
        sys.stdout = sys.stdout or io.StringIO()
        sys.stderr = sys.stderr or io.StringIO()
        leave_out_compiler()
        map_large_blocks()
        torch.manual_seed(args.seed)
        torch.set_float32_matmul_precision("high")  # TF32 where the device has it
        torch.backends.cudnn.benchmark = True

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            print(f"\nstopped{self._way_on()}", file=sys.stderr)
            raise SystemExit(130) from None

    def load(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x_train, y_train, x_test, y_test on the run's device.

        Images are (n, 1, 28, 28) uint8 and stay so until a batch is taken; labels are (n,) int64.
        Ends the program with one line if the data cannot be read.
        """
        try:
            data = mnist(self.args.data)
        except (OSError, ValueError) as error:
            raise SystemExit(f"{self.name}: {error}") from None
        x_train, x_test = (torch.from_numpy(data[key]).unsqueeze(1) for key in ("x", "X"))
        y_train, y_test = (torch.from_numpy(data[key]).long() for key in ("y", "Y"))
        if self.args.validate:
            if len(x_train) <= 10_000:
                raise SystemExit(
                    f"{self.name}: --validate holds out 10,000 training images, and"
                    f" {shown(self.args.data)} has {len(x_train):,}: leave it out"
                )
            x_train, x_test = x_train[:-10000], x_train[-10000:]
            y_train, y_test = y_train[:-10000], y_train[-10000:]
            self.tested = "held-out training images"
        limit = self.args.limit
        tensors = x_train[:limit], y_train[:limit], x_test, y_test
        self._images = len(tensors[0])
        self._image_shape = tensors[0].shape[1:]
        for array in data.values():
            self._checksum = zlib.crc32(array.data, self._checksum)
        self._tested = len(x_test)
        x_train, y_train, x_test, y_test = (tensor.to(self.device) for tensor in tensors)
        return x_train, y_train, x_test, y_test

    def place(self, model: Model) -> Model:
        """Return the model on the run's device, convolutions in channels-last layout.

        There the channels of a pixel lie side by side, which convolutions are faster with.
        """
        return model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def graph(self, model: nn.Module) -> None:
        """With `--graph` have the network's passes in training replayed (`common.graphs`).

        Copies of it have to be made before. `epochs` does this for a network called model.
        """
        if "graph" in self.args and self.args.graph:
            shape = min(self.args.batch_size, self._images), *self._image_shape
            replay_passes(model, torch.zeros(shape, device=self.device), self.autocast)

    def epochs(self, **parts: Stateful) -> Iterator[int]:
        """Yield the numbers of the epochs, from 1 on, and save a checkpoint after each.

        The first call prints the header of the log. With `--graph` it also records the passes of
        the network called model. With `--resume` all objects and the random numbers are set back to
        where the interrupted run's last finished epoch left them, the log likewise, and the epochs
        go on from there.

        Ends the program with one line if torchrun started several processes: all of them would
        write the same files.

        Args:
            parts: whatever changes from epoch to epoch: models, optimizers, schedules, averages.
        """
        if int(os.environ.get("WORLD_SIZE") or "1") > 1:  # torchrun sets it
            raise SystemExit(
                f"{self.name}: runs in one process: start it with python in place of torchrun"
                " (only the trials of swa.py can be spread)"
            )
        if isinstance(model := parts.get("model"), nn.Module):
            self.graph(model)
        first = self._resumed(parts) if self.args.resume else 1
        if first == 1:
            with self._writing():
                open(self.path(".log"), "a").close()  # ends here, while nothing is lost, if at all
            self.log_header(**parts)
        for epoch in range(first, self.args.epochs + 1):
            start = time.perf_counter()
            yield epoch
            self._seconds += time.perf_counter() - start
            self._save_checkpoint(epoch, parts)

    def log_header(self, **parts: Stateful) -> None:
        """Start the log, in place of an older run's, with what anyone needs to repeat the run.

        Args:
            parts: as for `epochs`, which does this for a run that is not resumed.
        """
        models = [
            f"{type(part).__name__}, {sum(x.numel() for x in part.parameters()):,} parameters"
            for part in parts.values()
            if isinstance(part, nn.Module) and not isinstance(part, AveragedModel)
        ]
        lines = [
            f"date: {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC",
            f"device: {device_name(self.device)}, {torch.get_num_threads()} threads,"
            f" {self.precision}",
            f"versions: Python {platform.python_version()}, torch {torch.__version__}",
            *(f"model: {model}" for model in models),
            *self.header,
            f"images: {self._images:,} to train on, {self._tested:,} {self.tested}",
            f"epochs: {self.args.epochs}, batch size: {self.args.batch_size},"
            f" iterations per epoch: {-(-self._images // self.args.batch_size)},"
            f" seed: {self.args.seed}",
            "",
        ]
        self._lines, self.history = [], []
        self.log(f"command: {_command()}")  # ends here if nothing takes it, and the old run stays
        self.remove(self.path(".resume.pt"))  # lest it be taken for this run's
        for line in lines:
            self.log(line)

    def log(self, line: str = "") -> None:
        """Print a line and add it to the log, `out/NAME.log`."""
        line = printable(line)
        echo(line, way_on=self._way_on())
        self._lines.append(line)
        mode = "w" if len(self._lines) == 1 else "a"
        with self._writing(), open(self.path(".log"), mode, encoding="utf-8") as file:
            file.write(line + "\n")

    def require_finite(self, *losses: float) -> None:
        """End the program with one line if a loss is infinite or not a number."""
        if not all(map(math.isfinite, losses)):
            path = self.path(".resume.pt")
            line = f"{self.name}: the loss is no longer finite; try a lower --lr"
            if path.exists():
                line += f" (the last good epoch is in {shown(path)} until a new run starts)"
            raise SystemExit(line)

    def finish(self, model: nn.Module, logits: Tensor, x_test: Tensor, y_test: Tensor) -> None:
        """Log the final figures, the mismatches and the time; write their picture and the weights.

        Args:
            model: the trained network; its state dict goes to `out/NAME.pt`.
            logits: (n, 10), what it says of the test images.
            x_test: (n, 1, 28, 28) uint8.
            y_test: (n,) int64.
        """
        predicted = logits.argmax(1).cpu().numpy()
        actual = y_test.cpu().numpy()
        misread = int((predicted != actual).sum())
        share = 100 * (len(actual) - misread) / len(actual)
        self.log()
        self.log(f"{share:.2f}% test accuracy, {misread} of {len(actual):,} misread")
        self.log_time()
        self.log()
        self.log("mismatches:")
        for line in mismatch_lines(mismatches(actual, predicted)):
            self.log(line)
        self.log()
        grid = mismatch_grid(x_test.squeeze(1).cpu().numpy(), actual, predicted)
        self.save_picture(".png", grid)
        self.log(f"grid of mismatches: {shown(self.path('.png'))}")
        self.save_weights(model)

    def log_time(self) -> None:
        """Log the seconds of all epochs, the images a second and the most memory taken."""
        images = self._images * self.args.epochs
        self.log(
            f"seconds: {self._seconds:.1f} in all, {self._seconds / self.args.epochs:.2f} an epoch,"
            f" {images / self._seconds:,.0f} images a second{_peak_memory(self.device)}"
        )

    def save_weights(self, model: nn.Module) -> None:
        """Write a network's state dict to `out/NAME.pt` and log the path."""
        path = self.path(".pt")
        self._save_states(path, _on_cpu(model.state_dict()))
        self.log(f"weights: {shown(path)}")

    def save_picture(self, ending: str, pixels: NDArray[np.uint8]) -> None:
        """Write grey pixels (height, width), uint8, to the PNG `out/NAME` + ending."""
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        self._save(self.path(ending), content.getvalue())

    def save_bytes(self, ending: str, content: bytes) -> None:
        """Write content to the file `out/NAME` + ending."""
        self._save(self.path(ending), content)

    def remove(self, path: Path) -> None:
        """Remove a file of an older run, if it is there."""
        with self._writing():
            path.unlink(missing_ok=True)

    def settings(self) -> dict[str, str]:
        """Return what must be the same for a run to be resumed, as texts."""
        settings = {
            f"--{name.replace('_', '-')}": str(value)
            for name, value in vars(self.args).items()
            if name not in ("out", "data", "resume", "trials")
        }
        return {
            **settings,
            "--precision": self.precision,
            "threads": str(torch.get_num_threads()),
            "images": str(self._images),
            "data of check sum": f"{self._checksum:08x}",
            # What a script's own header tells, but for the path: it depends on where one stands.
            "judge": "; ".join(line.partition(", ")[2] for line in self.header) or "none",
        }

    def require_settings(self, settings: dict[str, str], path: Path) -> None:
        """End the program with one line if a file's settings are not those of this run."""
        for name, value in self.settings().items():
            if settings.get(name) != value:
                raise SystemExit(
                    f"{self.name}: {path} is of a run with {name} {settings.get(name)},"
                    f" not {value}: give the same flags, or leave out --resume"
                )

    def path(self, ending: str) -> Path:
        """Return the path of this run's file with an ending, for instance `.log`."""
        return self.args.out / (self.name + ending)

    def _save_checkpoint(self, epoch: int, parts: dict[str, Stateful]) -> None:
        """Write all that an interrupted run needs to go on to `out/NAME.resume.pt`."""
        states = {name: part.state_dict() for name, part in parts.items()}
        if not _finite(states):
            self.require_finite(math.nan)
        checkpoint = {
            "epoch": epoch,
            "settings": self.settings(),
            "states": states,
            "networks": _networks(parts),
            "random": random_states(self.device),
            "lines": self._lines,
            "history": self.history,
            "seconds": self._seconds,
        }
        self._save_states(self.path(".resume.pt"), checkpoint)

    def _resumed(self, parts: dict[str, Stateful]) -> int:
        """Restore the interrupted run's state, and return the number of its next epoch."""
        path = self.path(".resume.pt")
        try:
            content = io.BytesIO(path.read_bytes())
        except FileNotFoundError:
            print(f"{self.name}: no {shown(path)} to go on from: from the start", file=sys.stderr)
            return 1
        except OSError as error:
            raise SystemExit(f"{self.name}: cannot read {path}: {error.strerror}") from None
        try:
            checkpoint = torch.load(content, map_location=self.device, weights_only=True)
            settings, epoch = dict(checkpoint["settings"]), int(checkpoint["epoch"])
        except Exception as error:  # torch.load raises whatever a damaged file leads it to
            reason = str(error).split("\n")[0] or type(error).__name__
            raise SystemExit(
                f"{self.name}: {path} is damaged ({reason}): leave out --resume"
            ) from None
        self.require_settings(settings, path)
        try:
            if checkpoint["networks"] != _networks(parts):  # they may differ in dropout alone
                raise ValueError
            for name, part in parts.items():
                part.load_state_dict(checkpoint["states"][name])
        except Exception:  # each kind of part has its own
            raise SystemExit(
                f"{self.name}: {path} is of another network or optimizer: leave out --resume"
            ) from None
        set_random_states(self.device, checkpoint["random"])
        self.history = checkpoint["history"]
        self._seconds = checkpoint["seconds"]
        self._lines = checkpoint["lines"]
        text = "".join(line + "\n" for line in self._lines)
        self.save_bytes(".log", text.encode())
        echo(text, "", self._way_on())
        return epoch + 1

    def _save(self, path: Path, content: bytes) -> None:
        """Write a file as a whole, without letting Ctrl-C in."""
        with self._writing(), _uninterrupted():
            write_whole(path, content)

    def _save_states(self, path: Path, states: dict[str, Any]) -> None:
        """Write what torch.save makes of states, as a whole, without letting Ctrl-C in.

        Were torch.save to write to a full disk itself, its own error would hide that of the disk.
        """
        with _uninterrupted():
            content = io.BytesIO()
            torch.save(states, content)
            self._save(path, content.getvalue())

    def _way_on(self) -> str:
        """Return the end of a line that says how to go on, if the script can."""
        return f"; to go on: {_command(resume=True)}" if "resume" in self.args else ""

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make the folder of the output; end the program with one line if it cannot be written."""
        try:
            self.args.out.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise SystemExit(f"{self.name}: cannot write to {self.args.out}: {error}") from None


def positive(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    """Return a parser of positive numbers that torch can take, for argparse."""
    most = 2**31 - 1 if kind is int else torch.finfo(torch.float32).max

    def parse(text: str) -> int | float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        if value > most:
            raise argparse.ArgumentTypeError(f"{text} is more than {most:.6g}")
        return value

    parse.__name__ = f"positive {kind.__name__}"  # argparse names it in its error line
    return parse


def seed(text: str) -> int:
    """Return a seed that torch takes, for argparse."""
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text} has more than 64 bits")
    return value


def find_device(name: str) -> torch.device:
    """Return the device of a name, for argparse; `auto` is the accelerator, or else the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    found = [torch.device("cpu"), *([accelerator] if accelerator else [])]
    if name == "auto":
        return found[-1]
    try:
        device = torch.device(name)
        if device.type not in [one.type for one in found]:
            raise RuntimeError
        torch.empty(0, device=device)
    except RuntimeError:
        names = " and ".join(one.type for one in found)
        raise argparse.ArgumentTypeError(f"no device {name} here; there is {names}") from None
    # All cores are one device: a checkpoint's tensors cannot be loaded to a "cpu:0".
    return torch.device("cpu") if device.type == "cpu" else device


def _precision(wanted: str, device: torch.device, pays: bool) -> str:
    """Return float32 or bfloat16, with a warning where bfloat16 would be emulated."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        features = torch.cpu.get_capabilities()
        native = any(features.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    elif device.type == "xpu":
        native = torch.xpu.is_bf16_supported(including_emulation=False)
    else:
        native = False
    if wanted == "auto":
        return "bfloat16" if native and pays else "float32"
    if wanted == "bfloat16" and not native:
        print(
            f"warning: {device_name(device)} has no bfloat16 instructions that torch tells of:"
            " emulated, it may be slower than float32",
            file=sys.stderr,
        )
    return wanted


def device_name(device: torch.device) -> str:
    """Return a device's type and the name its maker gave it, for instance `cpu, AMD EPYC`."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif device.type == "xpu":
        name = torch.xpu.get_device_name(device)
    elif device.type == "cpu" and Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        name = found[1] if found else name
    return f"{device.type}, {name}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: nobody sees a half-written one.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _command(resume: bool = False) -> str:
    """Return the command line of this program, from the repository or, to resume, from here."""
    script = sys.argv[0] if resume else shown(Path(sys.argv[0]).resolve())
    flags = [flag for flag in sys.argv[1:] if flag != "--resume"]
    program = ["python"]
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun sets it
        program = ["torchrun", "--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"]]
    return _joined([*program, script, *flags, *(["--resume"] if resume else [])])


def command_for(script: str, out: Path) -> str:
    """Return the command that has a script, `conv --epochs 1` for one, write to a folder."""
    name, *flags = script.split()
    if Path(os.path.realpath(out)) != ROOT / "mnist/out":
        flags += ["--out", str(out)]
    return _joined(["python", f"mnist/{name}.py", *flags])


def _joined(words: list[str]) -> str:
    """Return words as one line that this system's shell takes apart again."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def shown(path: Path) -> str:
    """Return a path for the reader: relative to the repository if it lies there."""
    resolved = Path(os.path.realpath(path))  # which takes links in a circle, as resolve() does not
    inside = resolved.is_relative_to(ROOT)
    return printable(str(resolved.relative_to(ROOT) if inside else path))


def printable(text: str) -> str:
    """Return text with an escape for each byte of a file's name that is no text."""
    return text.encode(errors="backslashreplace").decode()


def echo(text: str, end: str = "\n", way_on: str = "") -> None:
    """Print text, with an escape for each character that the output's encoding does not have.

    Ends the program with one line if nothing takes it any more.

    Args:
        text: one line or several.
        end: what comes after it.
        way_on: the end of the line that ends the program.
    """
    # None if a text in memory takes its place, or if the program was started without output.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), end=end, flush=True)
    except OSError as error:  # a pipe whose reader has left, or a full disk
        # Else Python would try once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        program = Path(sys.argv[0]).stem
        raise SystemExit(f"{program}: cannot print: {error.strerror}{way_on}") from None


def _peak_memory(device: torch.device) -> str:
    """Return the most memory that this process has held, or nothing where nobody counts it.

    On cuda and xpu it is the memory of the tensors on the device that counts.
    """
    if device.type in ("cuda", "xpu"):
        peak = torch.get_device_module(device).max_memory_allocated(device) / 2**20
        return f", {peak:,.0f} MB at the peak on the device"
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage() would count what the parent held at the start
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if found is None:
            return ""
        peak = int(found[1]) / 2**10
    elif sys.platform == "darwin":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    else:
        return ""
    return f", {peak:,.0f} MB at the peak"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Have Ctrl-C wait for the end of the block.

    In the middle of torch.save it would end in an error of torch's own, or abort the process.
    """
    waiting: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if waiting and callable(usual):
        usual(signal.SIGINT, None)  # raises KeyboardInterrupt


def _finite(states: Any) -> bool:
    """Return whether all floating-point tensors in nested dictionaries are finite."""
    if isinstance(states, dict):
        return all(map(_finite, states.values()))
    if isinstance(states, Tensor) and states.is_floating_point():
        return bool(states.isfinite().all())
    return True


def _networks(parts: Mapping[str, Any]) -> dict[str, str]:
    """Return the printed forms of the networks among a run's parts."""
    return {name: str(part) for name, part in parts.items() if isinstance(part, nn.Module)}


def _on_cpu(states: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict with its tensors on the CPU, so that it loads on any machine."""
    return {name: tensor.cpu() for name, tensor in states.items()}


def random_states(device: torch.device) -> list[Tensor]:
    """Return the states of torch's random numbers on the CPU and on the device."""
    if device.type == "cpu":
        return [torch.get_rng_state()]
    return [torch.get_rng_state(), torch.get_device_module(device).get_rng_state(device)]


def set_random_states(device: torch.device, states: list[Tensor]) -> None:
    """Set what `random_states` returned."""
    torch.set_rng_state(states[0].cpu())
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1].cpu(), device)
