"""What the tests share: scripts run as a user runs them, a few digits, finished runs of these."""

import importlib
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from selenium import webdriver

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # of use beside other programs; torch reads it
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # no files but those that the tests look for

from common.mnist import mnist, write_idx

ROOT = Path(__file__).resolve().parents[1]
Finished: TypeAlias = Callable[[str], Path]  # the fixtures below
Train: TypeAlias = Callable[..., object]
Capsys: TypeAlias = pytest.CaptureFixture[str]
Patch: TypeAlias = pytest.MonkeyPatch
Array: TypeAlias = NDArray[Any]
# A shell starts what it puts in the background with Ctrl-C ignored, and the scripts that the tests
# stop would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHORT = {  # flags of runs that are long enough to be killed in the middle
    "logit": ["--epochs", "6", "--batch-size", "2"],
    "linear": ["--epochs", "4", "--batch-size", "5"],
    "conv": ["--epochs", "4", "--limit", "240", "--batch-size", "20"],
    "fast": ["--epochs", "4", "--limit", "240", "--batch-size", "20"],
    "swa": ["--epochs", "5", "--limit", "240", "--batch-size", "20"],
    "simple": ["--epochs", "3", "--limit", "30", "--batch-size", "12"],
    "wsimple": ["--epochs", "5", "--limit", "20", "--batch-size", "10"],
    "lstm": ["--epochs", "3", "--limit", "160", "--batch-size", "20"],
    "cct": ["--epochs", "3", "--limit", "160", "--batch-size", "20"],
    "parallel": ["--epochs", "4", "--limit", "240", "--batch-size", "20"],
    "resnet": ["--epochs", "3", "--limit", "80", "--batch-size", "20"],
    "number": ["--epochs", "3", "--limit", "160", "--batch-size", "20"],
    "few": ["--epochs", "3", "--limit", "160", "--batch-size", "20"],
    "gan": ["--epochs", "3", "--limit", "121", "--precision", "float32"],  # and a last batch of one
    "cgan": ["--epochs", "3", "--limit", "121", "--precision", "float32"],
    "flow": ["--epochs", "3", "--limit", "30", "--batch-size", "10"],
    "vae": ["--epochs", "3", "--limit", "41", "--batch-size", "10"],  # and a last batch of one
}


def start_script(name: str, *flags: object) -> subprocess.Popen[str]:
    """Start `mnist/NAME.py` with flags; its output and errors are pipes."""
    return subprocess.Popen(
        [sys.executable, ROOT / f"mnist/{name}.py", *map(str, flags)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epoch(process: subprocess.Popen[str], epoch: int) -> None:
    """Return as soon as the process has printed the line of an epoch."""
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if re.match(rf"(Epoch:)? +{epoch}\b", line):
            return
    raise AssertionError(process.stderr.read())


def run_python(*words: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python with a script and its flags, and return exit status, output and errors."""
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    print(done.stderr)  # shown if the test fails
    return done


def run_script(name: str, *flags: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `mnist/NAME.py` with flags."""
    return run_python(ROOT / f"mnist/{name}.py", *flags, cwd=cwd)


def changed_copy(name: str, folder: Path, *changes: tuple[str, str]) -> Path:
    """Return the path of a copy of `mnist/NAME.py`, with texts changed and `common/` near it."""
    shutil.copytree(ROOT / "common", folder / "common", dirs_exist_ok=True)
    path, text = folder / f"mnist/{name}.py", (ROOT / f"mnist/{name}.py").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def run_copy(name: str, folder: Path, changes: Mapping[str, str], *flags: object) -> Path:
    """Run a changed copy of a script in this process, and return its folder `out`."""
    script = changed_copy(name, folder, *changes.items())
    shutil.copy(ROOT / "mnist/conv.py", script.parent)  # gan imports it
    runpy.run_path(str(script))["main"](list(map(str, flags)))
    return script.with_name("out")


def call_main(name: str, *flags: object) -> None:
    """Call the `main` of `mnist/NAME.py` in this process, as a notebook does."""
    importlib.import_module(f"mnist.{name}").main([str(flag) for flag in flags])


def figures(out: Path, name: str) -> dict[str, Any]:
    """Return what a run has left in `NAME.json`."""
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return found


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder, by name, without locks and folders."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}


def write_npz(path: Path, x_train: Array, y_train: Array, x_test: Array, y_test: Array) -> Path:
    """Write an array file with Keras's names, and return its path."""
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def copy(weights: Path, folder: Path, name: str = "") -> None:
    """Copy weights, and the figures beside them, into a folder, under their name or another."""
    folder.mkdir(parents=True, exist_ok=True)
    for ending in (".pt", ".json"):
        shutil.copy(weights.with_suffix(ending), folder / f"{name or weights.stem}{ending}")


def comparable(log: str) -> list[str]:
    """Return a log's lines without what differs in an equal run: command, dates, times, paths."""
    prefixes = "command:|date:|seconds|grid of|weights:|Generated|judge:"
    lines = re.sub(r"\d\d:\d\d:\d\d", "", log).splitlines()
    return [line for line in lines if not re.match(prefixes, line)]


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the first 500 training and 100 test images."""
    folder = tmp_path_factory.mktemp("few digits")
    for key, array in mnist().items():
        part, count = ("train", 500) if key in "xy" else ("t10k", 100)
        kind = "images-idx3" if key in "xX" else "labels-idx1"
        write_idx(folder / f"{part}-{kind}-ubyte", array[:count])
    return folder


@pytest.fixture(scope="session")
def trained_conv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a classifier, `conv.pt`, trained for a moment, beside its other files."""
    out = tmp_path_factory.mktemp("trained conv")
    call_main("conv", "--limit", "10000", "--epochs", "1", "--out", out)
    return out / "conv.pt"


@pytest.fixture(scope="session")
def finished(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A function that returns the folder of a script's finished run on the few digits."""

    @cache
    def run(name: str) -> Path:
        out = tmp_path_factory.mktemp(f"finished {name}")
        call_main(name, "--data", few_digits, "--out", out, *SHORT[name])
        return out

    return run


@pytest.fixture
def train(few_digits: Path, tmp_path: Path) -> Train:
    """A function that calls a script's `main` for the few digits, by default into tmp_path.

    If the run ends early, the function returns its one line or its exit status.
    """

    def run(name: str, *flags: object) -> object:
        try:
            call_main(name, "--data", few_digits, "--out", tmp_path, *flags)
        except SystemExit as error:
            assert "\n" not in str(error.code)
            return error.code
        return None

    return run


def resize(browser: "webdriver.Chrome", width: int) -> None:
    """Give a browser a page of another width."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def nothing_sticks_out(browser: "webdriver.Chrome") -> bool:
    """Return whether all of the browser's page fits its width."""
    root = "document.documentElement"
    return browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[webdriver.Chrome]":
    from selenium import webdriver  # only the tests of pages need it

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium or chromedriver (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for flag in ("headless=new", "no-sandbox", "disable-gpu", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as chrome:
        yield chrome
