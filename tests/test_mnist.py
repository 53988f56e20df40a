"""The loader: the real files, files that do not belong together, and another data set."""

import gzip
import hashlib
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.mnist import DATA, NAMES, mnist, showdigit

# SHA-256 of the content of MNIST's files.
SHA256 = {
    "x": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "y": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "X": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "Y": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FASHION = Path("/usr/share/datasets/fashion-mnist")


def idx(array: NDArray[np.uint8]) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def small(images: int = 3, first: int = 0) -> dict[str, NDArray[np.uint8]]:
    """Return a data set of a few images, the same for training and test but for the last one."""
    x = np.arange(images * 784, dtype=np.uint32).reshape(images, 28, 28).astype(np.uint8) + first
    y = (np.arange(images) + first).astype(np.uint8) % 10
    return {"x": x, "y": y, "X": x[:-1], "Y": y[:-1]}


def write(folder: Path, data: dict[str, NDArray[np.uint8]], suffix: str = "") -> None:
    for key, array in data.items():
        content = idx(array)
        path = folder / f"{NAMES[key]}{suffix}"
        path.write_bytes(gzip.compress(content) if suffix else content)


def same(a: dict[str, NDArray[np.uint8]], b: dict[str, NDArray[np.uint8]]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def data() -> dict[str, NDArray[np.uint8]]:
    return mnist()


def test_real_files(data: dict[str, NDArray[np.uint8]]) -> None:
    assert {key: array.shape for key, array in data.items()} == {
        "x": (60000, 28, 28),
        "y": (60000,),
        "X": (10000, 28, 28),
        "Y": (10000,),
    }
    assert all(array.dtype == np.uint8 for array in data.values())
    assert data["y"][:5].tolist() == [5, 0, 4, 1, 9] and data["Y"][:5].tolist() == [7, 2, 1, 0, 4]
    assert {key: hashlib.sha256(idx(array)).hexdigest() for key, array in data.items()} == SHA256


def test_loads_in_time() -> None:
    seconds = []
    for _ in range(5):  # the best of several: the machine may have other things to do
        start = time.perf_counter()
        mnist()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.6


def test_memory_at_most_twice_the_data() -> None:
    tracemalloc.start()
    try:
        size = sum(array.nbytes for array in mnist().values())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 54_950_000 and peak <= 2 * size


def test_loads_from_anywhere_without_torch(tmp_path: Path) -> None:
    """Torch takes longer to import than the digits take to load: only a fetch may need it."""
    root = str(DATA.parent.parent)
    program = (
        f"import sys; sys.path.insert(0, {root!r}); from common.mnist import mnist;"
        " print(len(mnist()['x']), 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout == "60000 False\n"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_ones_own(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "my digits"
    folder.mkdir()
    write(folder, small(), suffix)
    assert same(mnist(folder), small()) and same(mnist(str(folder)), small())


def test_raw_wins(tmp_path: Path) -> None:
    write(tmp_path, small(3, first=1), ".gz")
    expected = small(3, first=1)
    for key in NAMES:  # one file after the other gains a raw twin with another content
        write(tmp_path, {key: small(3, first=2)[key]})
        expected[key] = small(3, first=2)[key]
        assert same(mnist(tmp_path), expected)


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"Fashion-MNIST is not installed in {FASHION}")
def test_fashion_mnist(tmp_path: Path, data: dict[str, NDArray[np.uint8]]) -> None:
    fashion = mnist(FASHION)
    assert all(fashion[key].shape == data[key].shape for key in data)
    assert np.bincount(fashion["y"]).tolist() == [6000] * 10
    assert np.bincount(fashion["Y"]).tolist() == [1000] * 10


def refusal(folder: Path, error: type[Exception]) -> str:
    """Return the one line with which mnist() refuses a folder."""
    with pytest.raises(error) as caught:
        mnist(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


DAMAGED = small()


@pytest.mark.parametrize(
    ("key", "array", "complaint"),
    [
        ("y", DAMAGED["y"][:2], "holds 2 labels: they do not belong together"),
        ("X", DAMAGED["X"][:1], "holds 1 images"),
        ("Y", np.array([9, 10], np.uint8), "a label is 10, over 9"),
        ("y", np.array([255, 0, 0], np.uint8), "a label is 255, over 9"),
        ("x", DAMAGED["x"][:, :27], "holds uint8 of shape (3, 27, 28)"),
        ("X", DAMAGED["X"].transpose(1, 2, 0)[:, :, :1], "holds uint8 of shape (28, 28, 1)"),
        ("x", DAMAGED["x"].reshape(3, 784), "holds uint8 of shape (3, 784)"),
        ("x", DAMAGED["x"][:0], "holds uint8 of shape (0, 28, 28)"),
        ("y", DAMAGED["y"].reshape(3, 1), "holds uint8 of shape (3, 1)"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_that_do_not_belong_together(
    tmp_path: Path, suffix: str, key: str, array: NDArray[np.uint8], complaint: str
) -> None:
    write(tmp_path, {**small(), key: array}, suffix)
    message = refusal(tmp_path, ValueError)
    assert str(tmp_path / f"{NAMES[key]}{suffix}") in message and complaint in message


@pytest.mark.parametrize("key", NAMES)
def test_other_element_types(tmp_path: Path, key: str) -> None:
    write(tmp_path, small())
    path = tmp_path / NAMES[key]
    content = bytearray(path.read_bytes())
    content[2] = 0x09
    path.write_bytes(content)
    assert refusal(tmp_path, ValueError).startswith(f"{path}: holds int8 of shape")


def test_headers_are_compared_before_images_are_read(tmp_path: Path) -> None:
    """A gigabyte of images, sound in itself, without as many labels, takes no memory."""
    write(tmp_path, small(), ".gz")
    images = struct.pack(">4B3I", 0, 0, 8, 3, 10**6, 28, 28)
    path = tmp_path / f"{NAMES['x']}.gz"
    path.write_bytes(gzip.compress(images) + 98 * gzip.compress(bytes(8 * 10**6)))
    tracemalloc.start()
    try:
        assert "holds 1000000 images" in refusal(tmp_path, ValueError)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_damaged_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, small(), ".gz")
    path = tmp_path / f"{NAMES['X']}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert refusal(tmp_path, ValueError).startswith(f"{path}: damaged gzip file: ")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("missing", NAMES)
def test_some_files_missing(tmp_path: Path, missing: str, suffix: str) -> None:
    """The rest may be another data set: nothing is fetched to go with it."""
    data = small()
    del data[missing]
    write(tmp_path, data, suffix)
    before = sorted(tmp_path.iterdir())
    message = refusal(tmp_path, FileNotFoundError)
    assert message.startswith(f"{tmp_path}: {NAMES[missing]} missing")
    assert sorted(tmp_path.iterdir()) == before


def test_no_folder(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere", FileNotFoundError)
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert str(file) in refusal(file, NotADirectoryError)


def test_folder_where_a_file_should_be(tmp_path: Path) -> None:
    write(tmp_path, small())
    path = tmp_path / NAMES["x"]
    path.unlink()
    path.mkdir()
    assert str(path) in refusal(tmp_path, IsADirectoryError)


def test_folder_that_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path, small())
    tmp_path.chmod(0)
    try:
        list(tmp_path.iterdir())
    except PermissionError:
        assert str(tmp_path) in refusal(tmp_path, PermissionError)
    else:
        pytest.skip("this user may read any folder")
    finally:
        tmp_path.chmod(0o700)


def test_showdigit(capsys: pytest.CaptureFixture[str]) -> None:
    image = np.zeros((28, 28), np.uint8)
    image[3, 4], image[27, 26:] = 1, 255
    showdigit(np.stack([image + 1, image]), np.array([4, 7], np.uint8), 1)
    rows = [" " * 28] * 28
    rows[3], rows[27] = " " * 4 + "*" + " " * 23, " " * 26 + "**"
    assert capsys.readouterr().out == "\n".join(["7", *rows, ""])


def test_showdigit_at_random(
    data: dict[str, NDArray[np.uint8]], capsys: pytest.CaptureFixture[str]
) -> None:
    random.seed(0)
    shown = set()
    for _ in range(20):
        showdigit(data["x"][:10], data["y"][:10])
        shown.add(capsys.readouterr().out)
    expected = set()
    for index in range(10):
        showdigit(data["x"], data["y"], index)
        expected.add(capsys.readouterr().out)
    assert shown <= expected and len(shown) > 5


def test_committed_files_are_described() -> None:
    """The page beside the files gives the SHA-256 of each, as committed and of its content."""
    page = (DATA / "README.md").read_text()
    for key, name in NAMES.items():
        path = DATA / f"{name}.gz"
        if path.exists():
            assert hashlib.sha256(path.read_bytes()).hexdigest() in page
        assert SHA256[key] in page
