"""Files and flags that would mislead a tool, or break it for all the others."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from common.mnist import MNIST_HASH
from mnist import predict
from tests.conftest import ROOT, Finished
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
    shutil.copy(trained, out / f"{name}.pt")
    shutil.copy(trained.with_suffix(".json"), out / f"{name}.json")
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
    command = [sys.executable, str(out.parent / "predict.py"), str(seven)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["mine"]
    assert not (tmp_path / "was run").exists()
    named = [line.split(" is left out: ")[0] for line in done.stderr.splitlines()]
    assert named == sorted([*SCRIPTS, *CHANGES, "list"])


@pytest.mark.parametrize(
    ("hashes", "kept"),
    [
        ({"a": "0", "b": MNIST_HASH, "c": "0", "d": MNIST_HASH}, "bd"),
        ({"a": "1", "b": "0", "c": "1"}, "ac"),
    ],
)
def test_classifiers_of_one_data_set(
    hashes: dict[str, str],
    kept: str,
    finished: Finished,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
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
