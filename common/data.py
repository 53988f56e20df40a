"""Anybody's data: IDX files in all common layouts, `.npz`, CSV, folders of pictures, arrays."""

import hashlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import InputError
from common.fetch import is_empty
from common.folders import Array, Found, Shape, find_csv, find_pictures, read_pictures
from common.mnist import mnist, read_idx

NAMES = ("x_train", "y_train", "x_test", "y_test")
IDX_PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
# For instance emnist-letters-test-labels-idx1-ubyte.gz, t10k-labels.idx1-ubyte,
# qmnist-train-labels-idx2-int and X_kannada_MNIST_train-idx3-ubyte.
IDX_NAME = re.compile(
    r"(?:[xy]_)?(.*?)[-_.]?(train|t10k|test)[-_.]?(image|label)?s?"
    r"[-_.]idx(\d)(?:[-_.](?:ubyte|byte|short|int|float|double))?(?:\.gz)?",
    re.IGNORECASE,
)


class MisfitError(InputError):
    """Data does not fit the shape or the classes that a network takes."""


class Data(NamedTuple):
    """Images (n, c, h, w), uint8 or float32; labels (n,) int64; names of the classes in order.

    `about` says by name what was read: the kind, a hash, the pixels' dtype and range, whether the
    background is dark, the number of pictures that were left out, and notes.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]
    about: dict[str, Any]


def load(
    source: str | os.PathLike[str] | Sequence[Any],
    shape: Shape | None = None,
    classes: int | None = None,
    limit: int | None = None,
    validate: bool = False,
    ink: bool = False,
) -> Data:
    """Return training and test images and labels as tensors.

    The source is a path, as `read` takes it, or x_train, y_train, x_test, y_test as arrays or
    tensors. Images are (n, h, w), (n, c, h, w) or (n, h, w, c), uint8 of 0 to 255 or any floats;
    labels are integers or texts, (n,). If they are 0 to classes - 1, they are taken as they are;
    others are numbered in order. Images whose labels come in runs are put in a fixed random order.

    Shape, (c, h, w), and classes are the network's: what does not fit raises MisfitError, and
    classes that the data lacks are "unused". None takes the data's. `limit` is the most images of
    each part; with `validate`, the last sixth of the training images, at most 10,000, are the test
    images; with `ink`, pictures are digits on paper, to be brought to MNIST's form.
    """
    if isinstance(source, str | os.PathLike):
        place, (kind, parts, notes) = Path(source), read(Path(source), shape)
    else:
        arrays = [np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x) for x in source]
        place, (kind, parts, notes) = Path("the arrays"), Found("arrays", arrays, [])
    if kind != "pictures":
        parts = _checked(place, parts)
    names, parts[1::2] = _numbered(place, parts[1::2], classes)
    digest, left_out = hashlib.sha256(), 0
    if ink and (kind, shape) != ("pictures", (1, 28, 28)):
        raise InputError(f"{place}: --ink is for pictures and for networks that take (1, 28, 28)")
    if kind == "pictures":
        if limit:  # read only a part, whose hash is then also that of the list of all files
            paths = sorted([*parts[0], *parts[2]])
            files = [(path.relative_to(place).as_posix(), path.stat().st_size) for path in paths]
            digest.update(repr(files).encode())
            parts = _cut(parts, limit, validate)
        parts, left_out = read_pictures(parts, shape, ink)
    if not all(map(len, parts)):
        raise InputError(f"{place}: no images are left to train on, or to test")
    for i in (0, 2):
        if _in_runs(parts[i + 1]):
            order = np.random.default_rng(0).permutation(len(parts[i]))
            parts[i : i + 2] = parts[i][order], parts[i + 1][order]
            notes.append(f"{NAMES[i + 1]} came in runs: the images are in a fixed random order")
    parts[::2] = map(_channels_first, parts[::2])
    found = parts[0].shape[1:]
    if shape not in (None, found):
        raise MisfitError(f"{place}: images are {found}, the network takes {shape}")
    low, high = _range(place, parts[0], parts[2])
    border, border_test = map(_border, parts[::2])
    if abs(border - border_test) > 0.5:
        way = "; --ink brings pictures to one form" if kind == "pictures" else ""
        only = "training" if border < border_test else "test"
        print(f"warning: {place}: only the {only} images are light on dark{way}", file=sys.stderr)
    for array in (*parts, np.array(names)):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.data)
    about = {
        "kind": kind,
        "hash": digest.hexdigest()[:12],
        "dtype": parts[0].dtype.name,
        "low": low,
        "high": high,
        "dark": border < 0.5,
        "left out": left_out,
        "notes": notes,
    }
    if kind != "pictures" or not limit:
        parts = _cut(parts, limit, validate)
    x_train, y_train, x_test, y_test = map(torch.from_numpy, parts)
    return Data(x_train, y_train, x_test, y_test, names, about)


def read(path: Path, shape: Shape | None = None) -> Found:
    """Return what is at a path: arrays as the files hold them, or paths of pictures.

    The path is that of an `.npz` file with Keras's names, of a CSV file, or of a folder. The folder
    holds four IDX files, raw or gzipped, in itself or up to two folders further in, or what
    `find_pictures` or `find_csv` takes. If there are several data sets in IDX files, the path ends
    in the name that begins theirs: `emnist/emnist-letters`. MNIST is fetched into a folder that
    holds nothing, or only a README.md. Raises InputError if what is there is damaged or does not
    belong together, OSError if MNIST cannot be fetched.
    """
    if path.suffix.lower() == ".npz":
        return Found("npz", _read_npz(path), [])
    if is_empty(path):
        return Found("IDX files", [*mnist(path).values()], [])
    sets = _idx_sets(path)
    if len(sets) == 1:
        return Found("IDX files", _read_idx_set(*sets.popitem()), [])
    if sets:
        raise InputError(f"{path}: give one of {', '.join(map(str, sets))}")
    if found := find_pictures(path) or find_csv(path, shape):
        return found
    names = [path.name] if path.is_file() else _nearest(path)
    raise InputError(
        f"{path}: found {', '.join(names)}; what can be read is a folder of IDX files"
        f" (train-images-idx3-ubyte and so on), an .npz or CSV file or pictures (train/3/a.png)"
    )


def _nearest(folder: Path) -> list[str]:
    """Return names of files in a folder, of which those like names of IDX files come first."""
    like = re.compile("idx|ubyte|train|test|t10k|images|labels", re.IGNORECASE)
    return sorted(os.listdir(folder), key=lambda name: (-len(like.findall(name)), name))[:8]


def _idx_sets(path: Path) -> dict[Path, dict[str, list[Path]]]:
    """Return the data sets in IDX files at a path: where each is, and its files by part."""
    sets: dict[Path, dict[str, list[Path]]] = {}
    for depth in ("*", "*/*", "*/*/*"):
        # Sorted, a raw file comes ahead of its gzipped twin.
        for file in sorted((path if path.is_dir() else path.parent).glob(f"{depth}[Ii][Dd][Xx]*")):
            if (match := IDX_NAME.fullmatch(file.name)) and file.is_file():
                in_own_folder = IDX_NAME.fullmatch(file.parent.name)
                place = (file.parents[1] if in_own_folder else file.parent) / match[1]
                kind = match[3].lower() if match[3] else "label" if match[4] in "12" else "image"
                part = f"{match[2].lower()}-{kind}s".replace("test", "t10k")
                sets.setdefault(place, {}).setdefault(part, []).append(file)
    if path in sets or not path.is_dir():
        return {path: sets[path]} if path in sets else {}
    return {place: files for place, files in sets.items() if len(files) == 4} or sets


def _read_idx_set(place: Path, files: dict[str, list[Path]]) -> list[Array]:
    """Return the content of four IDX files."""
    arrays = []
    for part in IDX_PARTS:
        if len({file.name.removesuffix(".gz") for file in files.get(part, [])}) != 1:
            near = ", ".join(_nearest(next(iter(files.values()))[0].parent))
            problem = "more than one" if part in files else "missing"
            raise InputError(f"{place}: {part} {problem}; found {near}")
        arrays.append(read_idx(files[part][0]))
    if place.name.startswith("emnist"):  # its images are stored column by column
        arrays[::2] = [images.swapaxes(1, 2) for images in arrays[::2]]
    # Of QMNIST's eight columns of labels the first is the digit.
    arrays[1::2] = [y[:, 0] if y.shape[1:] == (8,) else y for y in arrays[1::2]]
    return arrays


def _read_npz(path: Path) -> list[Array]:
    """Return the four arrays of an `.npz` file with Keras's names."""
    try:
        file = np.load(path)
        if isinstance(file, np.ndarray):
            raise ValueError("it is an .npy file")
        with file:
            return [np.atleast_1d(file[name]) for name in NAMES]  # bytes, if damaged
    except OSError:
        raise
    except Exception as error:  # numpy raises whatever a damaged file leads it to
        raise InputError(f"{path}: {error}; it should hold {', '.join(NAMES)}") from None


def _checked(place: Path, arrays: Sequence[Array]) -> list[Array]:
    """Return the four with labels (n,); InputError if they do not belong together."""
    x_train, y_train, x_test, y_test = arrays
    fit = x_train.shape[1:] == x_test.shape[1:]
    fit &= (x_train.dtype == np.uint8) == (x_test.dtype == np.uint8)
    fit &= (y_train.dtype.kind in "SU") == (y_test.dtype.kind in "SU")
    for x, y in ((x_train, y_train), (x_test, y_test)):
        fit &= x.size > 0 and x.ndim in (3, 4) and (x.dtype == np.uint8 or x.dtype.kind == "f")
        fit &= y.dtype.kind in "iuSU" and y.shape in ((len(x),), (len(x), 1))
    if not fit:
        pairs = zip(NAMES, arrays, strict=True)
        found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in pairs)
        raise InputError(
            f"{place}: found {found}; images are uint8 or floats in both parts, (n, h, w) or"
            f" (n, c, h, w), labels are integers or texts, (n,)"
        )
    labels = (np.char.decode(y) if y.dtype.kind == "S" else y for y in (y_train, y_test))
    y_train, y_test = (y.ravel() for y in labels)
    return [x_train, y_train, x_test, y_test]


def _numbered(
    place: Path, labels: Sequence[Array], classes: int | None
) -> tuple[tuple[str, ...], list[Array]]:
    """Return the names of the classes, and labels as their numbers, (n,) int64; see `load`."""
    values, numbers = np.unique(np.concatenate(labels), return_inverse=True)
    if values.dtype.kind == "U" and all(map(str.isdecimal, values)):
        texts = values
        values, order = np.unique(texts.astype(np.int64), return_inverse=True)
        if len(values) < len(texts):
            same = ", ".join(texts[np.bincount(order)[order] > 1])
            raise InputError(f"{place}: classes {same} are the same number: rename or join them")
        numbers = order[numbers]
    classes = classes or len(values)
    if len(values) > classes:
        raise MisfitError(f"{place}: there are {len(values)} classes, the network has {classes}")
    names = (*map(str, values), *["unused"] * (classes - len(values)))
    if values.dtype.kind != "U" and values[0] >= 0 and values[-1] < classes:
        names, numbers = tuple(map(str, range(classes))), values[numbers]
    train, test = np.split(numbers.astype(np.int64), [len(labels[0])])
    for part, lacked in (
        ("training", np.setdiff1d(test, train)),
        ("test", np.setdiff1d(train, test)),
    ):
        if lacked.size:
            found = ", ".join(names[number] for number in lacked)
            print(f"warning: {place}: no {part} image of {found}", file=sys.stderr)
    return names, [train, test]


def _cut(parts: Sequence[Array], limit: int | None, validate: bool) -> list[Array]:
    """Return the parts that a run takes; see `load`."""
    x_train, y_train, x_test, y_test = parts
    if validate:
        kept = len(x_train) - min(10_000, len(x_train) // 6)
        if kept == len(x_train):
            raise InputError(f"{kept} training images are too few for --validate")
        x_train, x_test = x_train[:kept], x_train[kept:]
        y_train, y_test = y_train[:kept], y_train[kept:]
    return [part[:limit] for part in (x_train, y_train, x_test, y_test)]


def _in_runs(labels: Array) -> bool:
    """Return whether labels, (n,), come in runs, so that a part of the images lacks classes."""
    # In a random order, neighbours differ as often as any two labels. A quarter less is no chance,
    # or there are so few images that another order does no harm.
    shares = np.bincount(labels) / len(labels)
    differ = np.count_nonzero(np.diff(labels)) / max(len(labels) - 1, 1)
    return bool(differ < 0.75 * (1 - shares @ shares))


def _channels_first(images: Array) -> Array:
    """Return images as (n, c, h, w), uint8 or float32."""
    if images.ndim == 3:
        images = images[:, np.newaxis]
    elif images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = np.moveaxis(images, 3, 1)
    return np.require(images, np.uint8 if images.dtype == np.uint8 else np.float32, ["C", "W"])


def _border(images: Array) -> float:
    """Return the median at the border of images, (n, c, h, w), from 0, their lowest pixel, to 1."""
    low, high, some = float(images.min()), float(images.max()), images[:1000]
    median = float(np.median(np.append(some[:, :, [0, -1]], some[..., [0, -1]])))
    return (median - low) / ((high - low) or 1)


def _range(place: Path, *images: Array) -> tuple[float, float]:
    """Return the lowest and the highest pixel of the training images.

    InputError is raised for pixels that are not finite, or clearly in other units than 0 to 255.
    Where the range is only unusual, a line on stderr says so.
    """
    found, ends, unusual = [], [(float(x.min()), float(x.max())) for x in images], False
    for name, x, (low, high) in zip(NAMES[::2], images, ends, strict=True):
        if not np.isfinite([low, high]).all():
            number = np.isfinite(x).all((1, 2, 3)).argmin()
            raise InputError(f"{place}: {name}[{number}] has a pixel that is not finite")
        found.append(f"{name} is {x.dtype} of {low:g} to {high:g}")
        if x.dtype == np.uint8 and high < 64:  # for instance of 0 to 1 or 16
            way = f"multiply by {255 // max(high, 1):g}, or give floats from -1 to 1"
            raise InputError(f"{place}: {found[-1]}, not to 255: {way}")
        unusual |= high < 128 if x.dtype == np.uint8 else max(-low, high) > 10
    (low, high), test = ends
    far = max(abs(low - test[0]), abs(high - test[1])) > 0.4 * max(high - low, test[1] - test[0])
    if far or unusual:
        usual = "usual are uint8 of 0 to 255, or floats of -1 to 1, in both"
        print(f"warning: {place}: {', '.join(found)}; {usual}", file=sys.stderr)
    return low, high
