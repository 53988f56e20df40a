"""Anybody's data: IDX files in all common layouts, `.npz`, CSV, folders of pictures, arrays."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import InputError
from common.folders import UNLABELLED, Found, find
from common.imagefiles import Array, Shape, is_picture, read_pictures

NAMES = ("x_train", "y_train", "x_test", "y_test")
MISFIT = "change run.load(...) and the network in the script"


class Data(NamedTuple):
    """Images (n, c, h, w), uint8 or float32; labels (n,) int64; names of the classes in order.

    `about` says what was read: kind, hash, dtype, low and high (the range), dark (the background)
    and notes.
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
    unlabelled: bool = False,
) -> Data:
    """Return training and test images and labels as tensors.

    The source is a path, as for `folders.find` or of an `.npz` file, or x_train, y_train, x_test,
    y_test as arrays or tensors. Images are (n, h, w), (n, c, h, w) or (n, h, w, c), uint8 of 0 to
    255 or floats. Labels are (n,), integers or texts; those that are not 0 to classes - 1 are
    numbered in order. If they come in runs, the images are put in a fixed random order. Shape,
    (c, h, w), and classes are the network's, or None; classes that lack are "unused". `limit` is
    the most images of each part. With `validate`, the last sixth of the training images, at most
    10,000, are the test images. With `ink`, pictures of pen on paper get MNIST's form. With
    `unlabelled`, pictures in a folder `unlabelled` of that at the path, of its part `train` or
    beside the file there follow the training images, with the label -1. Raises InputError for what
    is damaged or does not fit, OSError if MNIST cannot be fetched.
    """
    if not isinstance(source, str | os.PathLike):
        arrays = [np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x) for x in source]
        place, (kind, parts, notes) = Path("the arrays"), Found("arrays", arrays, [])
    elif (place := Path(source)).suffix.lower() == ".npz":
        kind, parts, notes = "npz", _read_npz(place), []
    else:
        kind, parts, notes = find(place, shape)
    if kind != "pictures":
        parts = _checked(place, parts)
    names, parts[1::2] = _numbered(place, parts[1::2], classes)
    digest = hashlib.sha256()
    if ink and (kind, shape) != ("pictures", (1, 28, 28)):
        raise InputError(f"{place}: --ink is for pictures and for networks that take (1, 28, 28)")
    if kind == "pictures":
        if limit:  # read only a part, whose hash is then also that of the list of all files
            paths = sorted([*parts[0], *parts[2]])
            files = [(path.relative_to(place).as_posix(), path.stat().st_size) for path in paths]
            digest.update(repr(files).encode())
            parts, validate = _cut(parts, limit, validate), False
        for i in (0, 2):
            parts[i], parts[i + 1] = read_pictures(parts[i], parts[i + 1], shape, ink, notes)
            shape = shape or parts[i].shape[1:]
    for i in (0, 2):
        if _in_runs(parts[i + 1]):
            order = np.random.default_rng(0).permutation(len(parts[i]))
            parts[i : i + 2] = parts[i][order], parts[i + 1][order]
            notes.append(f"{NAMES[i + 1]} came in runs: the images are in a fixed random order")
    found = parts[0].shape[1:]
    if shape not in (None, found):
        raise InputError(f"{place}: images are {found}, the network takes {shape}: {MISFIT}")
    pixels = _pixels(place, parts[::2])
    for array in (*parts, np.array(names)):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.data)
    parts = _cut(parts, limit, validate)
    folder = place if place.is_dir() else place.parent
    # Beside the files, which may be below the folder, or in the training part.
    above = {"arrays": (), "IDX files": ("", "*/", "*/*/")}.get(kind, ("", "[Tt]rain*/"))
    inside = [x for start in above for x in folder.glob(f"{start}{UNLABELLED}/**/[!.]*")]
    if more := sorted(filter(is_picture, inside)):
        sizes = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in more]
        digest.update(repr(sizes).encode())
        used = "used" if unlabelled else "not used"
        notes.append(f"{len(more):,} pictures without labels are {used}")
    if more and unlabelled:  # with --limit, a part of them
        parts[:2] = _joined(place, parts, np.array(more, object)[:limit], ink, notes)
    about = {"kind": kind, "hash": digest.hexdigest()[:12], **pixels, "notes": notes}
    x_train, y_train, x_test, y_test = map(torch.from_numpy, parts)
    return Data(x_train, y_train, x_test, y_test, names, about)


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
    """Return images as (n, c, h, w), uint8 or float32, and labels as (n,); else InputError."""
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
        needed = "images are uint8 or floats in both parts, (n, h, w) or (n, c, h, w)"
        raise InputError(f"{place}: found {found}; {needed}, labels are integers or texts, (n,)")
    if x_train.ndim == 3:
        x_train, x_test = x_train[:, np.newaxis], x_test[:, np.newaxis]
    elif x_train.shape[1] not in (1, 3) and x_train.shape[3] in (1, 3):
        x_train, x_test = np.moveaxis(x_train, 3, 1), np.moveaxis(x_test, 3, 1)
    dtype = np.uint8 if x_train.dtype == np.uint8 else np.float32
    x_train, x_test = (np.require(x, dtype, ["C", "W"]) for x in (x_train, x_test))
    labels = (np.char.decode(y) if y.dtype.kind == "S" else y for y in (y_train, y_test))
    y_train, y_test = (y.ravel() for y in labels)
    return [x_train, y_train, x_test, y_test]


def _numbered(
    place: Path, labels: Sequence[Array], classes: int | None
) -> tuple[tuple[str, ...], list[Array]]:
    """Return the names of the classes, and labels as their numbers, (n,) int64; see `load`."""
    y = np.concatenate(labels)
    texts = np.unique(y)
    if texts.dtype.kind == "U" and all(map(str.isdecimal, texts)):
        y = y.astype(np.int64)
    values, numbers = np.unique(y, return_inverse=True)
    if len(values) < len(texts):
        same = ", ".join(text for text in texts if np.sum(texts.astype(int) == int(text)) > 1)
        raise InputError(f"{place}: classes {same} are the same number: rename or join them")
    classes = classes or len(values)
    if len(values) > classes:
        found = f"there are {len(values)} classes, the network has {classes}"
        raise InputError(f"{place}: {found}: {MISFIT}")
    names = (*map(str, values), *["unused"] * (classes - len(values)))
    if y.dtype.kind != "U" and values[0] >= 0 and values[-1] < classes:
        names, numbers = tuple(map(str, range(classes))), y
    train, test = np.split(numbers.astype(np.int64), [len(labels[0])])
    used = [number for number, name in enumerate(names) if name != "unused"]
    for part, own in (("training", train), ("test", test)):
        if lacked := ", ".join(names[number] for number in np.setdiff1d(used, own)):
            print(f"warning: {place}: no {part} image of {lacked}", file=sys.stderr)
    return names, [train, test]


def _joined(
    place: Path, parts: Sequence[Array], paths: Array, ink: bool, notes: list[str]
) -> list[Array]:
    """Return training images and labels, followed by pictures without labels; see `load`."""
    x_train, y_train, *_ = parts
    x, y = read_pictures(paths, np.full(len(paths), -1), x_train.shape[1:], ink, notes)
    if x.dtype != x_train.dtype:
        raise InputError(f"{place}: its images are floats: pictures without labels do not fit them")
    _pixels(place, [x_train, x], "unlabelled")
    return [np.concatenate([x_train, x]), np.concatenate([y_train, y])]


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


def _pixels(place: Path, images: Sequence[Array], other: str = "test") -> dict[str, Any]:
    """Return what a header says of the pixels of training images: dtype, low, high and dark.

    Pixels that are not finite, or uint8 clearly not to 255, raise InputError. A line on stderr
    names other ranges that are unusual, and parts that differ.
    """
    found, ranges, borders, unusual = [], [], [], False
    for name, x in (("x_train", images[0]), (f"x_{other}", images[1])):
        low, high, some = float(x.min()), float(x.max()), x[:1000]
        if not np.isfinite([low, high]).all():
            number = np.isfinite(x).all((1, 2, 3)).argmin()
            raise InputError(f"{place}: {name}[{number}] has a pixel that is not finite")
        found.append(f"{name} is {x.dtype} of {low:g} to {high:g}")
        if x.dtype == np.uint8 and high < 64:  # for instance of 0 to 1 or 16
            way = f"multiply by {255 // max(high, 1):g}, or give floats from -1 to 1"
            raise InputError(f"{place}: {found[-1]}, not to 255: {way}")
        unusual |= high < 128 if x.dtype == np.uint8 else max(-low, high) > 10
        ranges.append((low, high))
        border = np.median(np.append(some[:, :, [0, -1]], some[..., [0, -1]]))
        borders.append(float(border - low) / ((high - low) or 1))  # from 0 to 1
    if unusual or np.ptp(ranges, 0).max() > 0.4 * np.ptp(ranges, 1).max():
        usual = "usual are uint8 of 0 to 255, or floats of -1 to 1, in both"
        print(f"warning: {place}: {', '.join(found)}; {usual}", file=sys.stderr)
    if abs(borders[0] - borders[1]) > 0.5:
        text = f"only the {'training' if borders[0] < 0.5 else other} images are light on dark"
        print(f"warning: {place}: {text}; with pictures, try --ink", file=sys.stderr)
    (low, high), *_ = ranges
    return {"dtype": images[0].dtype.name, "low": low, "high": high, "dark": borders[0] < 0.5}
