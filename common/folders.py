"""Data in folders: IDX files, pictures, one of each image, and CSV files."""

import math
import os
import random
import re
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.fetch import fetch, is_empty
from common.imagefiles import Array, Shape, is_picture
from common.mnist import read_idx

IDX_PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
# emnist-letters-test-labels-idx1-ubyte.gz, t10k-labels.idx1-ubyte, X_kannada_MNIST_train-idx3-ubyte
IDX_NAME = re.compile(
    r"(?:[xy]_)?(.*?)[-_.]?(train|t10k|test)[-_.]?(?:images?|labels?)?"
    r"[-_.]idx(\d)(?:[-_.](?:ubyte|byte|short|int|float|double))?(?:\.gz)?",
    re.IGNORECASE,
)
TRAIN, TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
UNLABELLED = "[Uu]nlabel*ed"


class Found(NamedTuple):
    """What is at a path: its kind, x_train, y_train, x_test, y_test, and notes for the log.

    Images are arrays as the files hold them, or the paths of pictures: (n,).
    """

    kind: str
    parts: list[Array]
    notes: list[str]


def find(path: Path, shape: Shape | None) -> Found:
    """Return what is at a path: that of a CSV file, or of a folder of IDX files, pictures or CSV.

    IDX files may be up to two folders further in; at the path's end may be the beginning of their
    names, to choose one of several sets. MNIST is fetched into a folder that holds nothing, or only
    a README.md.
    """
    if is_empty(path):
        fetch(path)
    if found := _find_idx(path) or _find_pictures(path) or _find_csv(path, shape):
        return found
    raise InputError(
        f"{path}: found {_nearest(path)}; what can be read is a folder of IDX files"
        f" (train-images-idx3-ubyte and so on), an .npz or CSV file or pictures (train/3/a.png)"
    )


def _nearest(path: Path) -> str:
    """Return a file's name, or some names in a folder, first those most like IDX files' names."""
    names = [path.name] if path.is_file() else os.listdir(path)
    like = re.compile("idx|ubyte|train|test|t10k|images|labels", re.IGNORECASE)
    return ", ".join(sorted(names, key=lambda name: (-len(like.findall(name)), name))[:8])


def _find_idx(path: Path) -> Found | None:
    """Return the arrays of four IDX files, or None; InputError if it is unclear which are meant."""
    sets: dict[Path, dict[str, Path]] = {}
    for depth in ("*", "*/*", "*/*/*"):
        # Sorted, a raw file comes ahead of its gzipped twin.
        for file in sorted((path if path.is_dir() else path.parent).glob(f"{depth}[Ii][Dd][Xx]*")):
            if (match := IDX_NAME.fullmatch(file.name)) and file.is_file():
                in_own_folder = IDX_NAME.fullmatch(file.parent.name)
                place = (file.parents[1] if in_own_folder else file.parent) / match[1]
                part = "train" if match[2].lower() == "train" else "t10k"
                part += "-labels" if match[3] in "12" else "-images"
                first = sets.setdefault(place, {}).setdefault(part, file)
                if file.name.removesuffix(".gz") != first.name.removesuffix(".gz"):
                    raise InputError(f"{first} and {file} are both {part}: move one elsewhere")
    if path not in sets:
        whole = {place: files for place, files in sets.items() if len(files) == 4}
        sets = (whole or sets) if path.is_dir() else {}
        if len(sets) > 1:
            raise InputError(f"{path}: give one of {', '.join(map(str, sets))}")
        if not sets:
            return None
        [path] = sets
    files = sets[path]
    if lacking := [part for part in IDX_PARTS if part not in files]:
        near = _nearest(next(iter(files.values())).parent)
        raise InputError(f"{path}: {', '.join(lacking)} missing; found {near}")
    arrays = [read_idx(files[part]) for part in IDX_PARTS]
    if path.name.startswith("emnist"):  # its images are stored column by column
        arrays[::2] = [images.swapaxes(1, 2) for images in arrays[::2]]
    # Of QMNIST's eight columns of labels the first is the digit.
    arrays[1::2] = [y[:, 0] if y.shape[1:] == (8,) else y for y in arrays[1::2]]
    return Found("IDX files", arrays, [])


def _find_pictures(folder: Path) -> Found | None:
    """Return pictures in folders of one class each, in TRAIN and TEST or neither, or None."""
    folders = {path.name.lower(): path for path in sorted(folder.glob("[!.]*/"))}
    train = next((folders.pop(name) for name in TRAIN if name in folders), None)
    test = next((folders.pop(name) for name in TEST if name in folders), None)
    notes = list[str]()
    x, y = _paths(train or folder, notes)
    held = _paths(test, notes) if test else []
    if not (train or len(x)):
        return None
    if test and not train and any(map(is_picture, test.iterdir())):
        raise InputError(f"{test}: its pictures are in no folder of a class: move them into such")
    parts = [x, y, *held] if test and (train or len(held[0])) else _split(x, y, notes)
    if not all(map(len, parts)):
        raise InputError(f"{folder}: too few pictures in folders of one class each in its parts")
    unused = [path for path in folders.values() if train and not path.match(UNLABELLED)]
    return Found("pictures", parts, notes + [f"{path} is not used" for path in unused])


def _paths(folder: Path, notes: list[str]) -> list[Array]:
    """Return the paths of pictures in folders of one class each, mixed, and the folders' names.

    A note says if there are folders in these, except those of a test part.
    """
    outs = {file.parent for file in folder.glob("*/.*.process")}  # of --out: runs' pictures
    notes += [f"{out}, which has files of runs, is not used" for out in sorted(outs)]
    some = [x for x in folder.glob("[!.]*/[!.]*") if not x.parent.match(UNLABELLED)]
    some = [x for x in some if x.parent not in outs]
    found = sorted(x.parts[-2:] for x in some if is_picture(x))
    other = [x for x in some if not is_picture(x) and x.parent.name.lower() not in TEST]
    deeper = [x for x in other if x.is_dir() and any(map(is_picture, x.iterdir()))]
    if deeper and found:
        notes.append(f"{len(deeper)} folders in those of the classes, as {deeper[0]}, are not used")
    random.Random(0).shuffle(found)  # --limit and --validate take parts: of all classes
    return [
        np.array([folder.joinpath(*parts) for parts in found], object),
        np.array([name for name, _ in found], str),
    ]


def _split(x: Array, y: Array, notes: list[str]) -> list[Array]:
    """Return the four parts of data that has no test part, and note that it has none."""
    tested, generator = np.zeros(len(y), bool), np.random.default_rng(0)
    for label in np.unique(y):
        places = generator.permutation(np.flatnonzero(y == label))
        tested[places[: max(len(places) // 6, 1)]] = True
    notes.append("no test part: a sixth of each class, drawn at random, is the test set")
    return [x[~tested], y[~tested], x[tested], y[tested]]


def _find_csv(path: Path, shape: Shape | None) -> Found | None:
    """Return the images of a CSV file, or of the one in a folder, or None if there is none.

    A row is a label, an integer, and the pixels of a grey image, row by row, of the shape,
    (1, h, w), or square. A line of titles is passed over. If the file's name has `train` in it, the
    same name with `test` is the test part, if that has labels.
    """
    files = [path] if path.is_file() else sorted(path.glob("[!.]*"))
    files = [file for file in files if file.suffix.lower() == ".csv"]
    files = [file for file in files if "train" in file.name.lower()] or files
    if not files:
        return None
    if len(files) > 1:
        raise InputError(f"{path}: give one of {', '.join(map(str, files))}")
    x, y = _read_csv(files[0], shape)
    if not len(y) or np.ptp(y) == 0:  # the label is behind the pixels, or there is none
        raise InputError(f"{files[0]}: the first column holds no labels")
    twin = files[0].with_name(re.sub("train", "test", files[0].name, flags=re.I))
    if twin != files[0] and twin.exists():
        x_test, y_test = _read_csv(twin, shape)
        if len(y_test):
            return Found("CSV", [x, y, x_test, y_test], [])
        print(f"left out: {twin}: has no labels", file=sys.stderr)
    notes = list[str]()
    return Found("CSV", _split(x, y, notes), notes)


def _read_csv(path: Path, shape: Shape | None) -> tuple[Array, Array]:
    """Return images, (n, h, w) uint8 or float32, and labels, (n,) int64 or, if missing, (0,)."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # Excel writes a byte order mark
            cells = file.readline().strip(" \n").replace('"', "").split(",")
        # 0,1,2 and so on are pandas's titles of an array.
        titles = int(cells[0][:1].isalpha() or cells == [*map(str, range(len(cells)))])
        given = {"delimiter": ",", "quotechar": '"', "ndmin": 2, "encoding": "utf-8-sig"}
        table_of = partial(np.loadtxt, path, skiprows=titles, **given)
        try:
            table = table_of(dtype=np.uint8)
        except ValueError:  # floats, or labels above 255
            table = table_of(dtype=np.float32)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    for labels in (1, 0):
        pixels = table.shape[1] - labels
        size = shape[1:] if shape and math.prod(shape) == pixels else (math.isqrt(pixels),) * 2
        if math.prod(size) == pixels > 0:
            y = table[:, :labels].ravel()
            if (y % 1).any():  # or not a number
                raise InputError(f"{path}: the first column holds no labels")
            x = table[:, labels:].reshape(-1, *size)
            by_columns = path.name.lower().startswith("emnist")
            return x.swapaxes(1, 2) if by_columns else x, y.astype(np.int64)
    raise InputError(f"{path}: {pixels} columns are not a label and the pixels of a square image")
