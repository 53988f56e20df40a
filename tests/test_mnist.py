"""The dictionary of the digits, and how to look at one."""

import gzip
import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from common.data import load
from common.fetch import FILES
from common.mnist import MNIST_HASH, mnist, showdigit
from tests.conftest import ROOT, Capsys


def test_real_files() -> None:
    """They hold MNIST, and the page beside them gives their SHA-256 and that of their content."""
    data, folder = mnist(), ROOT / "mnist/data"
    page = (folder / "README.md").read_text()
    assert data["y"][:5].tolist() == [5, 0, 4, 1, 9] and data["Y"][:5].tolist() == [7, 2, 1, 0, 4]
    for name in FILES:
        content = (folder / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() in page
        assert hashlib.sha256(gzip.decompress(content)).hexdigest() in page
    assert load(folder, (1, 28, 28), 10).about["hash"] == MNIST_HASH


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (3, 4, 6)])
def test_showdigit(shape: tuple[int, ...], capsys: Capsys) -> None:
    images: NDArray[np.uint8] = np.zeros((2, *shape), np.uint8)
    images[0] += 1
    images[1].flat[[1, -1]] = 7, 255  # in the first channel and in the last
    showdigit(images, [4, 7], 1)
    expected = ["7", " *    ", "      ", "      ", "     *"]
    assert capsys.readouterr().out.splitlines() == expected
    showdigit(images, [4, 7])
    assert capsys.readouterr().out[0] in "47"
