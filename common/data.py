"""Anybody's data: IDX files in all common layouts, `.npz` files, folders of pictures, arrays."""

import os
import random
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from common.errors import InputError
from common.fetch import is_empty
from common.mnist import mnist, read_idx

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int]  # channels, height, width

NAMES = ("x_train", "y_train", "x_test", "y_test")
IDX_PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
# For instance t10k-labels.idx1-ubyte.gz or emnist-letters-test-labels-idx1-ubyte.
IDX_NAME = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(?:\.gz)?")


class MisfitError(InputError):
    """Data does not fit the shape or the classes that a network takes."""


class Data(NamedTuple):
    """Images (n, c, h, w), uint8 or float32; labels (n,) int64; names of the classes in order."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]


def load(
    source: str | os.PathLike[str] | Sequence[Any],
    shape: Shape | None = None,
    classes: int | None = None,
) -> Data:
    """Return training and test images and labels as tensors.

    The source is a path, as `read` takes it, or x_train, y_train, x_test, y_test as arrays or
    tensors. Images are (n, h, w), (n, c, h, w) or (n, h, w, c), uint8 of 0 to 255 or any floats;
    labels are integers, (n,). If they are 0 to classes - 1, they are taken as they are; others are
    numbered in order. Shape, (c, h, w), and classes are the network's: what does not fit raises
    MisfitError, and classes that the data lacks are "unused". None takes the data's.
    """
    if isinstance(source, str | os.PathLike):
        place, arrays = str(source), read(Path(source), shape)
    else:
        place = "the arrays"
        arrays = [np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x) for x in source]
        _check(place, arrays)
    x_train, x_test = _image_tensor(arrays[0]), _image_tensor(arrays[2])
    found = tuple(x_train.shape[1:])
    if shape not in (None, found):
        raise MisfitError(f"{place}: images are {found}, the network takes {shape}")
    labels = np.concatenate([arrays[1], arrays[3]]).ravel()
    values, numbers = np.unique(labels, return_inverse=True)
    classes = classes or len(values)
    names = tuple(map(str, range(classes)))
    if values.dtype.kind == "U" or values[0] < 0 or values[-1] >= classes:
        if len(values) > classes:
            raise MisfitError(
                f"{place}: there are {len(values)} classes, the network has {classes}"
            )
        names = (*map(str, values), *["unused"] * (classes - len(values)))
        labels = numbers
    y_train, y_test = torch.from_numpy(labels.astype(np.int64)).tensor_split([len(x_train)])
    return Data(x_train, y_train, x_test, y_test, names)


def read(path: Path, shape: Shape | None = None) -> list[Array]:
    """Return training images, their labels, test images, their labels, as the files hold them.

    The path is that of an `.npz` file with Keras's names, or of a folder. The folder holds four IDX
    files, raw or gzipped, in itself or up to two folders further in; or a picture of each image,
    `train/CLASS/*` and `test/CLASS/*`, of a shape, (c, h, w), or of the first one's. If there are
    several data sets in IDX files, the path ends in the name that begins theirs:
    `emnist/emnist-letters`. MNIST is fetched into a folder that holds nothing, or only a README.md.
    Raises InputError if what is there is damaged or does not belong together, OSError if MNIST
    cannot be fetched.
    """
    if path.suffix == ".npz":
        return _read_npz(path)
    if is_empty(path):
        return [*mnist(path).values()]
    sets = _idx_sets(path)
    if len(sets) == 1:
        return _read_idx_set(*sets.popitem())
    if sets:
        raise InputError(f"{path}: give one of {', '.join(map(str, sets))}")
    if (path / "train").is_dir() and (path / "test").is_dir():
        return _read_pictures(path, shape)
    found = ", ".join([path.name] if path.is_file() else sorted(os.listdir(path))[:5])
    raise InputError(
        f"{path}: found {found}; what can be read is a folder of IDX files"
        f" (train-images-idx3-ubyte and so on), an .npz file or pictures (train/3/a.png)"
    )


def _idx_sets(path: Path) -> dict[Path, dict[str, Path]]:
    """Return the data sets in IDX files at a path: where each is, and its files by part."""
    sets: dict[Path, dict[str, Path]] = {}
    for depth in ("*", "*/*", "*/*/*"):
        # Sorted, a raw file comes ahead of its gzipped twin.
        for file in sorted((path if path.is_dir() else path.parent).glob(depth)):
            if (match := IDX_NAME.fullmatch(file.name)) and file.is_file():
                in_own_folder = IDX_NAME.fullmatch(file.parent.name)
                place = (file.parents[1] if in_own_folder else file.parent) / (match[1] or "")
                part = f"{match[2]}-{match[3]}".replace("test", "t10k")
                sets.setdefault(place, {}).setdefault(part, file)
    if path in sets or not path.is_dir():
        return {path: sets[path]} if path in sets else {}
    return {place: files for place, files in sets.items() if len(files) == 4} or sets


def _read_idx_set(place: Path, files: dict[str, Path]) -> list[Array]:
    """Return the content of four IDX files."""
    if missing := ", ".join(part for part in IDX_PARTS if part not in files):
        found = ", ".join(file.name for file in files.values())
        raise InputError(f"{place}: found {found}; {missing} missing")
    arrays = [read_idx(files[part]) for part in IDX_PARTS]
    _check(place, arrays)
    if place.name.startswith("emnist"):  # its images are stored column by column
        arrays[::2] = [images.swapaxes(1, 2) for images in arrays[::2]]
    return arrays


def _read_npz(path: Path) -> list[Array]:
    """Return the four arrays of an `.npz` file with Keras's names."""
    try:
        with np.load(path) as file:
            arrays = [file[name] for name in NAMES]
    except (BadZipFile, EOFError, KeyError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: {error}; it should hold {', '.join(NAMES)}") from None
    _check(path, arrays)
    return arrays


def _read_pictures(folder: Path, shape: Shape | None) -> list[Array]:
    """Return the pictures in `train` and `test`; labels are texts unless all are numbers."""
    arrays: list[Array] = []
    for part in ("train", "test"):
        paths = sorted((folder / part).glob("[!.]*/[!.]*"))
        if not paths:
            raise InputError(f"{folder / part}: no pictures in folders of one class each")
        if shape is None:
            with Image.open(paths[0]) as first:
                shape = (1 if first.mode in ("1", "L") else 3, first.height, first.width)
        random.Random(0).shuffle(paths)  # --limit and --validate take parts: of all classes
        arrays.append(np.stack([_read_picture(path, shape) for path in paths]))
        arrays.append(np.array([path.parent.name for path in paths]))
    if all(name.isdecimal() for name in {*arrays[1], *arrays[3]}):
        arrays[1::2] = [names.astype(np.int64) for names in arrays[1::2]]
    return arrays


def _read_picture(path: Path, shape: Shape) -> Array:
    """Return a picture, (h, w) or (h, w, 3) uint8: as it is, or in MNIST's form."""
    from common.pictures import read_digit, read_picture  # here, since scipy loads slowly

    pixels = read_picture(path)[..., :3]
    if pixels.shape[:2] == shape[1:]:
        return np.asarray(Image.fromarray(pixels).convert("L" if shape[0] == 1 else "RGB"))
    if shape != (1, 28, 28):
        raise MisfitError(f"{path}: is {pixels.shape[:2]}, the network takes {shape}")
    return read_digit(path)


def _check(place: object, arrays: Sequence[Array]) -> None:
    """Raise InputError unless images and labels, twice, are such and belong together."""
    x_train, y_train, x_test, y_test = arrays
    fit = x_train.shape[1:] == x_test.shape[1:]
    for x, y in ((x_train, y_train), (x_test, y_test)):
        fit &= x.size > 0 and x.ndim in (3, 4) and (x.dtype == np.uint8 or x.dtype.kind == "f")
        fit &= y.dtype.kind in "iu" and y.shape in ((len(x),), (len(x), 1))
    if not fit:
        pairs = zip(NAMES, arrays, strict=True)
        found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in pairs)
        raise InputError(
            f"{place}: found {found}; images are uint8 or floats, (n, h, w) or (n, c, h, w),"
            f" labels are integers, (n,)"
        )


def _image_tensor(images: Array) -> Tensor:
    """Return images as (n, c, h, w), uint8 or float32."""
    if images.ndim == 3:
        images = images[:, np.newaxis]
    elif images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = np.moveaxis(images, 3, 1)
    dtype = np.uint8 if images.dtype == np.uint8 else np.float32
    return torch.from_numpy(np.require(images, dtype, ["C", "W"]))
