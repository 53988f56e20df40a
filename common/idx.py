"""The IDX format, in which MNIST comes: a strict reader for raw and gzipped files.

A file is two zero bytes, a byte for the type of the elements, a byte for the number of dimensions,
a 32-bit size for each dimension, and the elements, last dimension fastest, all of it big-endian
(http://yann.lecun.com/exdb/mnist/, "The IDX file format").
"""

import gzip
import math
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

ELEMENT_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
MAX_DIMENSIONS = 64  # numpy's own limit
Stream: TypeAlias = BufferedReader | gzip.GzipFile
CHUNK = 1 << 20  # bytes decompressed at a time


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array that an IDX file holds; the file is taken for gzip if its name ends in .gz.

    The array is writable, in native byte order, of the header's shape (at least one dimension) and
    of its type: uint8, int8, int16, int32, float32 or float64.

    Memory grows with the bytes that really arrive, never ahead of them by what the header claims,
    and reading stops one byte after the claimed end.

    Raises:
        ValueError: in one line, with the file's name: empty, not IDX, an unknown type, no
            dimensions or over 64, shorter or longer than its header says, larger than an array
            can be, or damaged as gzip.
        OSError: the file cannot be opened or read.
    """
    path = Path(path)
    with _opened(path) as stream:
        dtype, shape = _read_header(stream, path)
        size = dtype.itemsize * math.prod(shape)
        if path.suffix != ".gz":
            # The length of a raw file is known, so that no element need be read to refuse it.
            _check_length(os.fstat(stream.fileno()).st_size - stream.tell(), size, shape, path)
        data = bytearray()
        # Asking for a byte too many has gzip check its sum, and finds what should not be there.
        while chunk := stream.read(min(CHUNK, size + 1 - len(data))):
            data += chunk
    _check_length(len(data), size, shape, path)
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer=data)
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array


def idx_header(path: str | os.PathLike[str]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the type, in native byte order, and the shape that an IDX file's header claims.

    Nothing past the header is read. Raises what `read_idx` raises.
    """
    path = Path(path)
    with _opened(path) as stream:
        dtype, shape = _read_header(stream, path)
    return dtype.newbyteorder("="), shape


@contextmanager
def _opened(path: Path) -> Iterator[Stream]:
    """Open a file for its content, decompressed if gzipped; damage to the gzip is a ValueError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file: {error}") from error


def _read_header(stream: Stream, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the type of the elements, as they lie in the file, and the shape."""
    magic = stream.read(4)
    if not magic:
        raise ValueError(f"{path}: empty file")
    if magic[:2] != b"\0\0"[: len(magic)]:
        raise ValueError(
            f"{path}: not an IDX file: it starts with {magic.hex(' ')}, not with two zero bytes"
        )
    if len(magic) < 4:
        raise ValueError(f"{path}: the file ends inside its header, after {len(magic)} bytes")
    element, dimensions = magic[2], magic[3]
    if element not in ELEMENT_TYPES:
        raise ValueError(f"{path}: unknown IDX element type 0x{element:02x}")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise ValueError(
            f"{path}: the header claims {dimensions} dimensions; 1 to {MAX_DIMENSIONS} can be read"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(f"{path}: the file ends inside its header, after {4 + len(sizes)} bytes")
    dtype, shape = ELEMENT_TYPES[element], struct.unpack(f">{dimensions}I", sizes)
    # numpy leaves out sizes of 0 when it asks whether an array is too large.
    if dtype.itemsize * math.prod(size or 1 for size in shape) > sys.maxsize:
        raise ValueError(f"{path}: the header claims {_times(shape)} elements, too many to address")
    return dtype, shape


def _check_length(length: int, size: int, shape: tuple[int, ...], path: Path) -> None:
    """Raise ValueError unless the bytes after the header are as many as the header claims."""
    if length != size:
        held = f"only {length}" if length < size else "more"
        raise ValueError(
            f"{path}: the header claims {_times(shape)} elements, {size} bytes;"
            f" the file holds {held} after the header"
        )


def _times(shape: tuple[int, ...]) -> str:
    """Return a shape as text, for instance `60000 x 28 x 28`."""
    return " x ".join(map(str, shape))
