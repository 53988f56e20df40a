"""The classifiers, run as a user runs them, the fast ones on the real data; and their models."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from common.mnist import mnist
from common.run import Run, argument_parser, command_for
from mnist.conv import ConvNet
from mnist.linear import Linear
from mnist.logit import Logit
from mnist.lstm import RowLSTM
from tests.conftest import ROOT, comparable, run_script, run_unread

ALIKE = ["conv", "swa", "simple", "wsimple"]  # that train alike
SMALL = ("--limit", "500", "--epochs", "2", "--device", "cpu")


@pytest.mark.parametrize(
    ("model", "parameters"),
    [(Logit(), 7_850), (Linear(), 636_010), (ConvNet(), 431_080), (RowLSTM(), 214_282)],
)
def test_models_have_the_stated_parameters_and_shapes(model: nn.Module, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    output = model(torch.zeros(7, 1, 28, 28))
    logits = output[0] if isinstance(output, tuple) else output
    assert logits.shape == (7, 10)


def test_lstm_goes_on_from_the_state_it_gave() -> None:
    torch.manual_seed(0)
    model, images = RowLSTM(), torch.randn(3, 1, 28, 28)
    logits, (hidden, cell) = model(images)
    assert hidden.shape == cell.shape == (2, 3, 128)
    _, state = model(images[:, :, :14])  # the upper half, and then the lower
    halves, _ = model(images[:, :, 14:], state)
    torch.testing.assert_close(halves, logits)
    assert not torch.allclose(model(images[:, :, 14:])[0], logits)


def test_lstm_for_one_epoch(few_digits: Path, tmp_path: Path) -> None:
    flags = ("--data", str(few_digits), "--epochs", "1", "--out", str(tmp_path))
    done = run_script("lstm", *flags)
    assert done.returncode == 0, done.stderr
    assert "model: RowLSTM, 214,282 parameters\n" in done.stdout
    assert re.search(r"^  1\.  lr: 0\.0001  training loss: \d", done.stdout, re.M)
    RowLSTM().load_state_dict(torch.load(tmp_path / "lstm.pt", weights_only=True))


@pytest.mark.parametrize("name", [*ALIKE, "lstm"])
@pytest.mark.parametrize("images", [1, 5])
def test_a_run_of_a_few_steps(name: str, images: int, few_digits: Path, tmp_path: Path) -> None:
    """OneCycleLR divides by zero where its rising part is a single step long."""
    script = importlib.import_module(f"mnist.{name}")
    flags = ["--limit", str(images), "--batch-size", "1", "--epochs", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [name, *flags, "--data", str(few_digits), "--out", str(tmp_path)])
        script.main()
    assert re.search(r"test accuracy, ", (tmp_path / f"{name}.log").read_text())


def test_what_is_meant_to_be_the_same_is() -> None:
    def sources(part: str, names: list[str]) -> set[str]:
        scripts = [importlib.import_module(f"mnist.{name}") for name in names]
        return {inspect.getsource(getattr(script, part)) for script in scripts}

    assert len(sources("shifted", [*ALIKE, "linear", "lstm"])) == 1
    assert len(sources("train_epoch", ALIKE)) == 1


def test_shapes_inside_the_convolutional_model() -> None:
    x = torch.zeros(2, 1, 28, 28)
    shapes = []
    for layer in ConvNet():
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes[0] == (20, 24, 24)
    assert shapes[2] == (20, 12, 12)
    assert shapes[3] == (50, 8, 8)
    assert shapes[5] == (50, 4, 4)
    assert shapes[6] == (800,)


def test_logit_in_full(tmp_path: Path) -> None:
    done = run_script("logit", "--out", str(tmp_path), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "logit.log").read_text()
    assert done.stdout == log
    epochs = re.findall(
        r"^ *(\d+)\.  loss: \d\.\d{6}  test: \d\.\d{4}  accuracy: (\d\d\.\d\d)%$", log, re.M
    )
    assert [int(number) for number, _ in epochs] == list(range(1, 21))
    final = re.search(r"^(\d\d\.\d\d)% test accuracy, (\d+) of 10,000 misread$", log, re.M)
    assert final is not None
    assert float(final[1]) == float(epochs[-1][1]) >= 92.3
    assert int(final[2]) == round(100 * (100 - float(final[1])))
    # As many mismatches are listed as there are misread images.
    listed = re.findall(r"^\d\| ([\d ]+)$", log, re.M)
    assert sum(len(line.split()) for line in listed) == int(final[2])
    assert Image.open(tmp_path / "logit.png").mode == "L"
    weights = torch.load(tmp_path / "logit.pt", weights_only=True)
    Logit().load_state_dict(weights)


def test_linear_for_two_epochs(tmp_path: Path) -> None:
    done = run_script("linear", "--epochs", "2", "--out", str(tmp_path), "--device", "cpu")
    assert final_accuracy(done.stdout) > 95.5
    assert re.search(r"^  2\.  loss: 0\.\d{6}  test: 0\.\d{4}  accuracy: 9\d\.\d\d%$",
                     done.stdout, re.M)  # fmt: skip


def test_conv_for_one_epoch(tmp_path: Path) -> None:
    done = run_script("conv", "--epochs", "1", "--out", str(tmp_path), "--device", "cpu")
    assert final_accuracy(done.stdout) >= 97
    assert re.search(
        r"^  1\.  lr: 0\.\d{4}  training loss: 0\.\d{6}  test accuracy: 9\d\.\d\d%$",
        done.stdout,
        re.M,
    )
    memory = re.search(r"([\d,]+) MB at the peak", done.stdout)
    assert memory is not None
    assert int(memory[1].replace(",", "")) < 700


def test_header_lets_anyone_repeat_the_run(tmp_path: Path) -> None:
    flags = (*SMALL, "--seed", "3", "--batch-size", "50")
    header = run_script("logit", *flags, "--out", str(tmp_path)).stdout.split("\n\n")[0]
    assert re.search(r"^command: python mnist/logit\.py --limit 500 --epochs 2", header, re.M)
    assert re.search(r"^date: 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC$", header, re.M)
    assert re.search(r"^device: cpu, .+, \d+ threads, float32$", header, re.M)
    assert f"versions: Python {sys.version.split()[0]}, torch {torch.__version__}\n" in header
    assert "model: Logit, 7,850 parameters\n" in header
    assert "images: 500 to train on, 10,000 test images\n" in header
    assert header.endswith("epochs: 2, batch size: 50, iterations per epoch: 10, seed: 3")


@pytest.mark.parametrize("name", ["logit", "linear", "conv"])
def test_same_seed_same_log_and_weights(name: str, tmp_path: Path) -> None:
    logs, weights = [], []
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out = tmp_path / folder
        done = run_script(name, *SMALL, "--seed", seed, "--out", str(out))
        assert done.returncode == 0, done.stderr
        logs.append(comparable((out / f"{name}.log").read_text()))
        weights.append((out / f"{name}.pt").read_bytes())
    assert logs[0] == logs[1]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_any_working_directory_and_nothing_written_outside_out(tmp_path: Path) -> None:
    before = files_of(ROOT)
    elsewhere = tmp_path / "a folder with spaces"
    elsewhere.mkdir()
    done = run_script("conv", *SMALL, "--out", "my out", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    written = sorted(path.name for path in (elsewhere / "my out").iterdir())
    assert written == ["conv.log", "conv.png", "conv.pt", "conv.resume.pt"]
    assert [path.name for path in elsewhere.iterdir()] == ["my out"]
    assert files_of(ROOT) == before


def test_names_that_the_output_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python gives redirected output the encoding of the country on Windows."""
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    out = tmp_path / "цифры"
    done = run_script("logit", *SMALL, "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"weights: {tmp_path}/\\u0446\\u0438" in done.stdout
    assert f"weights: {out}/logit.pt\n" in (out / "logit.log").read_text(encoding="utf-8")
    done = run_script("report", "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u0446" in done.stdout
    assert str(out) in (out / "index.html").read_text(encoding="utf-8")


def test_commands_are_quoted_for_the_systems_own_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Path("my runs")
    assert command_for("conv", out) == "python mnist/conv.py --out 'my runs'"
    monkeypatch.setattr("sys.platform", "win32")
    assert command_for("conv", out) == 'python mnist/conv.py --out "my runs"'


def test_hold_out_never_shows_the_test_images(tmp_path: Path) -> None:
    done = run_script("logit", "--epochs", "1", "--validate", "--out", str(tmp_path))
    assert "images: 50,000 to train on, 10,000 held-out training images\n" in done.stdout
    flags = ["--validate", "--device", "cpu", "--out", str(tmp_path)]
    args = argument_parser(None, epochs=1, batch_size=100, lr=0.1).parse_args(flags)
    x_train, y_train, x_test, y_test = Run("logit", args).load()
    data = {key: torch.from_numpy(array) for key, array in mnist().items()}
    assert torch.equal(x_train.squeeze(1), data["x"][:-10000])
    assert torch.equal(y_train, data["y"][:-10000].long())
    assert torch.equal(x_test.squeeze(1), data["x"][-10000:])
    assert torch.equal(y_test, data["y"][-10000:].long())


def test_too_few_images_to_hold_some_out(few_digits: Path, tmp_path: Path) -> None:
    flags = ("--data", str(few_digits), "--validate", "--out", str(tmp_path))
    done = run_script("conv", *flags)
    assert (done.returncode, done.stdout) == (1, "")
    line = "conv: --validate holds out 10,000 training images, and {} has 500: leave it out\n"
    assert done.stderr == line.format(few_digits)


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--epochs", "0"], 2, "--epochs: 0 is not a positive number"),
        (["--lr", "nan"], 2, "--lr: nan is not a positive number"),
        (["--lr", "1e300"], 2, "--lr: 1e300 is more than 3.40282e+38"),
        (["--batch-size", str(2**31)], 2, "--batch-size: 2147483648 is more than 2.14748e+09"),
        (["--batch-size", "x"], 2, "--batch-size: invalid positive int value: 'x'"),
        (["--device", "abacus"], 2, "--device: no device abacus here"),
        (["--device", "cpu", "--graph"], 1, "logit: --graph is for cuda, not cpu: leave it out"),
        (["--data", "{tmp}/none"], 1, "{tmp}/none"),
        (["--out", "{tmp}/file", *SMALL], 1, "logit: cannot write to {tmp}/file"),
    ],
)
def test_bad_input_is_one_clear_line(
    flags: list[str], status: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    done = run_script("logit", *[flag.format(tmp=tmp_path) for flag in flags], cwd=tmp_path)
    assert done.returncode == status
    last = done.stderr.strip().splitlines()[-1]
    assert message.format(tmp=tmp_path) in last
    assert "Traceback" not in done.stderr
    assert status == 2 or len(done.stderr.strip().splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["logit", "linear", "lstm", *ALIKE])
def test_help_shows_defaults_and_an_example(name: str) -> None:
    text = run_script(name, "--help").stdout
    assert f"python mnist/{name}.py" in text
    for flag in (
        "--epochs N", "--batch-size N", "--lr X", "--seed N", "--device NAME", "--precision",
        "--graph", "--data DIR", "--out DIR", "--limit N", "--validate", "--resume",
    ):  # fmt: skip
        assert flag in text
    assert text.count("(default:") == 8  # argparse may break the line after it
    assert "default: None" not in text and "default: False" not in text


def test_help_in_an_encoding_that_lacks_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = run_script("conv", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"99.58 \xb1 0.04 % of the test digits" in done.stdout


@pytest.mark.parametrize("name", ["logit", "predict", "sample", "report"])
def test_help_that_nobody_reads_is_one_clear_line(name: str) -> None:
    assert run_unread(name, "--help") == (1, f"{name}: cannot print: Broken pipe\n")


@pytest.mark.parametrize("name", ["predict", "report"])
def test_links_in_a_circle_are_one_clear_line(name: str, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    flags = ["--device", "cpu", "seven.png"] if name == "predict" else []
    done = run_script(name, *flags, "--out", str(loop))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{name}: no .* in {loop}( to report)?; python .* one\n", done.stderr)


def final_accuracy(output: str) -> float:
    """Return the last figure that a run prints."""
    found = re.search(r"^(\d+\.\d\d)% test accuracy", output, re.M)
    assert found is not None, output
    return float(found[1])


def files_of(folder: Path) -> dict[str, int]:
    """Return the files below a folder and when each was changed, but for caches and `out`.

    There a run of one's own may be under way.
    """
    caches = {".git", "__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache"}
    skipped = {*caches, "out"}
    return {
        str(path): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not skipped & set(path.parts)
    }
