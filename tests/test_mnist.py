"""The dictionary of the digits, and how to look at one."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.idx import write_idx
from common.mnist import mnist, showdigit
from tests.conftest import ROOT
from tests.test_data import small, write_npz

# SHA-256 of the content of MNIST's files.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def test_real_files(tmp_path: Path) -> None:
    """They hold MNIST, and the page beside them gives their SHA-256."""
    data, folder = mnist(), ROOT / "mnist/data"
    page = (folder / "README.md").read_text()
    assert data["y"][:5].tolist() == [5, 0, 4, 1, 9] and data["Y"][:5].tolist() == [7, 2, 1, 0, 4]
    for array, (name, sha256) in zip(data.values(), FILES.items(), strict=True):
        write_idx(tmp_path / name, array)
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == sha256
        assert sha256 in page
        committed = (folder / f"{name}.gz").read_bytes()
        assert hashlib.sha256(committed).hexdigest() in page


def test_any_size_and_labels(tmp_path: Path) -> None:
    arrays = small(47, (8, 5), first=200)
    write_npz(tmp_path / "d.npz", arrays)
    data = mnist(str(tmp_path / "d.npz"))
    assert list(data) == ["x", "y", "X", "Y"]
    assert all(map(np.array_equal, data.values(), arrays))


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (3, 4, 6), (36,)])
def test_showdigit(shape: tuple[int, ...], capsys: pytest.CaptureFixture[str]) -> None:
    images: NDArray[np.uint8] = np.zeros((2, *shape), np.uint8)
    images[0] += 1
    images[1].flat[[1, -1]] = 7, 255  # in the first channel and in the last
    showdigit(images, [4, 7], 1)
    height = 6 if len(shape) == 1 else 4
    expected = ["7", " *    ", *["      "] * (height - 2), "     *"]
    assert capsys.readouterr().out.splitlines() == expected
    showdigit(images, [4, 7])
    assert capsys.readouterr().out[0] in "47"
