"""Files and flags that would mislead a tool, or break it for all the others."""

import io
import random
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from common.classifiers import load_classifiers
from common.data import load
from common.errors import clear_errors
from common.mnist import MNIST_HASH, mnist
from common.pictures import read_digit
from mnist import predict, report
from tests.conftest import (
    ROOT,
    Array,
    Capsys,
    Finished,
    Patch,
    Train,
    call_main,
    copy,
    run_python,
    write_npz,
)
from tests.test_predict import change, save_digit

Changes = Mapping[str, object]
SCRIPTS = {  # edits of logit.py that keep predict.py from building its network
    "syntax": ("class Logit(", "class Logit["),
    "missing": ("import torch\n", "import torch, no_module\n"),
    "no_default": ("__init__(self)", "__init__(self, size: int)"),
    "no_guard": ('if __name__ == "__main__":\n    main()', "main()"),
    "renamed": ("class Logit(", "class Other("),
}
CHANGES: dict[str, tuple[Changes, Changes]] = {  # changes of the header, of the final figures
    "elsewhere": ({"script": "../elsewhere.py"}, {}),
    "function": ({}, {"network": "main"}),
    "letters": ({"classes": list("abcde")}, {}),
    "colour": ({"shape": [3, 32, 32]}, {}),
    "nonsense": ({"seed": "0"}, {}),
    "others": ({}, {"weights": "0123456789ab"}),
    "half": ({"data": {"hash": MNIST_HASH}}, {}),
}
DATA = {"hash": MNIST_HASH, "dtype": "uint8", "low": 0, "high": 255, "dark": True}


def put(
    trained: Path, out: Path, name: str, header: Changes | None = None, final: Changes | None = None
) -> None:
    """Put a trained network into a folder under another name, with changes of its figures."""
    copy(trained, out, name)
    change(out / f"{name}.json", "header", **(header or {}))
    change(out / f"{name}.json", "final", **(final or {}))


def test_what_is_broken_is_named_and_left_out(finished: Finished, tmp_path: Path) -> None:
    """In a copy of the repository, to which people add scripts."""
    shutil.copytree(ROOT / "common", tmp_path / "common")
    trained, mine = finished("logit") / "logit.pt", {"network": "MyNet"}
    out, script = tmp_path / "mnist/out", (ROOT / "mnist/logit.py").read_text()
    out.mkdir(parents=True)
    shutil.copy(ROOT / "mnist/predict.py", out.parent)
    for name, (old, new) in {"mine": ("Logit", "MyNet"), **SCRIPTS}.items():
        assert old in script
        (out.parent / f"{name}.py").write_text(script.replace(old, new))
        put(trained, out, name, {"script": f"mnist/{name}.py"}, mine if name == "mine" else {})
    (tmp_path / "elsewhere.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')")
    for name, (header, final) in CHANGES.items():
        put(trained, out, name, {"script": "mnist/mine.py", **header}, {**mine, **final})
    (out / "list.json").write_text("[]")
    seven = save_digit(0, tmp_path / "seven.png")
    done = run_python(out.parent / "predict.py", seven)
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["mine"]
    assert not (tmp_path / "was run").exists()
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    named = [line.split(" is left out: ")[0] for line in lines]
    assert named == sorted([*SCRIPTS, *CHANGES, "list"])


@pytest.mark.parametrize(
    ("hashes", "kept"),
    [
        ({"a": MNIST_HASH, "b": "0", "c": MNIST_HASH, "d": "0"}, "ac"),
        ({"a": "1", "b": "0", "c": "1"}, "ac"),
    ],
)
def test_classifiers_of_one_data_set(
    hashes: dict[str, str], kept: str, finished: Finished, tmp_path: Path, capsys: Capsys
) -> None:
    for number, (name, found) in enumerate(hashes.items()):
        about = {"date": f"2026-01-0{number} 00:00:00 UTC", "data": {**DATA, "hash": found}}
        put(finished("logit") / "logit.pt", tmp_path, name, about)
    seven = save_digit(0, tmp_path / "seven.png")
    capsys.readouterr()
    predict.main([str(seven), "--device", "cpu", "--out", str(tmp_path)])
    output, errors = capsys.readouterr()
    assert [line.split()[0] for line in output.splitlines()[1:-1]] == list(kept)
    assert [line[0] for line in errors.splitlines()] == sorted({*hashes} - {*kept})


@pytest.mark.parametrize("name", ["seven.png", "other.png", "logit.json"])
def test_a_table_is_written_over_nothing_but_a_table(
    name: str, finished: Finished, tmp_path: Path
) -> None:
    put(finished("logit") / "logit.pt", tmp_path, "logit")
    seven, file = save_digit(0, tmp_path / "seven.png"), tmp_path / name
    shutil.copy(seven, tmp_path / "other.png")
    content = file.read_bytes()
    flags = [str(seven), "--device", "cpu", "--out", str(tmp_path), "--csv"]
    with pytest.raises(SystemExit, match=r"^predict: .*--csv"):
        predict.main([*flags, str(file)])
    assert file.read_bytes() == content
    for _ in range(2):
        predict.main([*flags, str(tmp_path / "table.csv")])


@pytest.mark.parametrize("made", [lambda x: 255 - x, lambda x: (100 - np.float32(x)) / 50])
def test_digits_are_fed_as_what_a_network_was_trained_on(
    made: Callable[[Array], Array], few_digits: Path, tmp_path: Path, capsys: Capsys
) -> None:
    """A network that reads its own test images right reads the same digits on paper."""
    x_train, y, _, _ = mnist(few_digits).values()
    x = made(x_train)
    data = write_npz(tmp_path / "made.npz", x, y, x[:9], y[:9])
    call_main("logit", "--data", data, "--lr", "0.01", "--epochs", "20", "--out", tmp_path)
    files = [tmp_path / f"{number}.png" for number in range(9)]
    for file, image in zip(files, x_train, strict=False):
        Image.fromarray(255 - image).resize((112, 112)).save(file)
    capsys.readouterr()
    predict.main([*map(str, files), "--device", "cpu", "--out", str(tmp_path)])
    found = re.findall(r"^  logit +(\d)", capsys.readouterr().out, re.MULTILINE)
    assert sum(a == str(b) for a, b in zip(found, y, strict=False)) >= 8


@pytest.mark.parametrize("flags", [["--seed", 2**64], ["--threads", 2**31]])
def test_numbers_that_torch_cannot_take(flags: list[object], train: Train) -> None:
    assert re.match("logit: .*verflow", str(train("logit", *flags)))


def test_what_an_encoding_lacks_is_printed_as_codes(
    finished: Finished, tmp_path: Path, monkeypatch: Patch
) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", output)
    out = tmp_path / "\u0446\u0438\u0444\u0440\u044b"
    out.mkdir()
    put(finished("logit") / "logit.pt", out, "logit")
    report.main(["--out", str(out)])
    output.seek(0)
    assert r"\u0446\u0438\u0444\u0440\u044b" in output.read()


def test_a_program_whose_errors_nobody_reads(
    train: Train, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as in `program 2>&-`
    assert train("logit", "--limit", "60", "--epochs", "1") is None
    assert (tmp_path / "logit.pt").exists()


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a file's content, cut, or with other, fewer or more bytes in one or two places."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 2)):
        at, size = chance.randrange(len(data) + 1), chance.choice([1, 1, 4, 64])
        end = chance.choice([at, at + size, at + size, len(data)])
        data[at:end] = chance.choice([b"", chance.randbytes(size), bytes([255]) * size])
    return bytes(data)


def load_packed(folder: Path) -> object:
    """Load an array file, as it is, with three others in an .npz file."""
    shutil.copy(folder / "three.npz", folder / "four.npz")
    with ZipFile(folder / "four.npz", "a") as file:
        file.write(folder / "x_test.npy", "x_test.npy")
    return load(folder / "four.npz")


READERS: dict[str, Callable[[Path], object]] = {
    "t10k-labels-idx1-ubyte": load,
    "four.npz": lambda folder: load(folder / "four.npz"),
    "x_test.npy": load_packed,
    "logit.json": lambda folder: load_classifiers(folder, torch.device("cpu")),
    "logit.pt": lambda folder: load_classifiers(folder, torch.device("cpu")),
    "seven.png": lambda folder: read_digit(folder / "seven.png"),
    "seven.jpg": lambda folder: read_digit(folder / "seven.jpg"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_one_line_names_it(
    name: str, few_digits: Path, finished: Finished, tmp_path: Path
) -> None:
    shutil.copytree(few_digits, tmp_path, dirs_exist_ok=True)
    put(finished("logit") / "logit.pt", tmp_path, "logit")
    x_train, y_train, x_test, y_test = mnist(few_digits).values()
    np.savez(tmp_path / "three.npz", x_train=x_train, y_train=y_train, y_test=y_test)
    np.save(tmp_path / "x_test.npy", x_test)
    load_packed(tmp_path)
    for ending in ("png", "jpg"):
        save_digit(0, tmp_path / f"seven.{ending}")
    content = (tmp_path / name).read_bytes()
    for seed in range(200):
        (tmp_path / name).write_bytes(mutated(content, random.Random(seed)))
        try:
            with clear_errors("test"):
                READERS[name](tmp_path)
        except SystemExit as error:
            assert "\n" not in str(error.code)
