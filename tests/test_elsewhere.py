"""Scripts that are copied into another project: plain.py alone, the others with common/."""

import shutil
from pathlib import Path

import pytest
import torch

from mnist.conv import ConvNet
from tests.conftest import ROOT, SHORT, files_in, run_python


def test_plain_alone_trains_in_an_empty_folder(few_digits: Path, tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    shutil.copy(ROOT / "mnist/plain.py", script)
    (line,) = run_python(script).stderr.splitlines()
    assert f"{tmp_path}/data/train-images-idx3-ubyte.gz" in line

    shutil.copytree(few_digits, tmp_path / "data")
    lines = run_python(script, "--epochs", "6").stdout.splitlines()
    percent = float(lines[5].split()[-1].removesuffix("%"))  # after the last epoch
    misread = sum(len(row.split("|")[1].split()) for row in lines[6:16])
    assert percent == 100 - misread > 70  # of 100
    (weights,) = (tmp_path / "out").iterdir()
    assert lines[16:] == [f"weights: {weights}"]
    ConvNet().load_state_dict(torch.load(weights))
    # Of several runs and copies at once, each has its own file.
    assert weights.stem.startswith("mine-") and weights.stem.endswith("-seed-0")


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("digits/conv.py", ["common"]),  # common/ one level above the script
        ("conv.py", ["common"]),  # or beside it
        ("digits/gan.py", ["common", "mnist/conv.py"]),
    ],
)
def test_a_script_in_another_project(
    path: str, needed: list[str], few_digits: Path, tmp_path: Path
) -> None:
    """Data and results are beside it. Without what it needs, it ends in a line that says so."""
    script = tmp_path / path
    shutil.copytree(few_digits, script.parent / "data")
    shutil.copy(ROOT / "mnist" / script.name, script)
    for part in needed:
        (line,) = run_python(script).stderr.splitlines()
        assert str(script) in line and part in line
        (tmp_path / part).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    done = run_python(script, *SHORT[script.stem], "--threads", "1")
    assert done.returncode == 0
    written = {f"{script.stem}.{ending}" for ending in ("log", "json", "pt")}
    assert written <= set(files_in(script.parent / "out"))


def test_every_script_says_what_it_needs() -> None:
    texts = [path.read_text() for path in (ROOT / "mnist").glob("*.py")]
    with_common = [text for text in texts if "\nfrom common" in text]
    assert len(with_common) >= 17
    assert all('\n    sys.exit(f"{__file__} needs ' in text for text in with_common)
