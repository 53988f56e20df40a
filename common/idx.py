"""The IDX format, in which MNIST comes: a strict reader, and a writer, of raw and gzipped files.

A file is two zero bytes, a byte for the type of the elements, a byte for the number of dimensions,
a 32-bit size for each dimension, and the elements, last dimension fastest, all of it big-endian
(http://yann.lecun.com/exdb/mnist/, "The IDX file format").
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.checkpoint import write_whole
from common.errors import InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array in an IDX file, which is gzipped if its name ends in `.gz`.

    The array is writable, in native byte order, and has the header's shape and type. If the file is
    not IDX, truncated or damaged, InputError is raised.
    """
    path = Path(path)
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from None
    code, dimensions = content[2:4] if len(content) > 3 else (0, 0)
    start = 4 + 4 * dimensions
    known = content[:2] == b"\0\0" and code in TYPES and 1 <= dimensions <= 64
    if not known or len(content) < start:
        raise InputError(f"{path}: not an IDX file: it begins with {content[:4].hex(' ')!r}")
    shape, dtype = struct.unpack(f">{dimensions}I", content[4:start]), np.dtype(TYPES[code])
    size = dtype.itemsize * math.prod(shape)
    if len(content) != start + size:
        raise InputError(
            f"{path}: truncated or damaged: {shape} {dtype.name} are {size} bytes,"
            f" the file holds {len(content) - start}"
        )
    array = np.frombuffer(bytearray(content), dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def write_idx(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write an array to an IDX file, gzipped if it ends in `.gz`; InputError for other types."""
    path, dtype = Path(path), array.dtype.newbyteorder(">")
    codes = [code for code, known in TYPES.items() if np.dtype(known) == dtype]
    if not codes or not array.ndim:
        raise InputError(f"{path}: IDX holds no {array.dtype} of {array.ndim} dimensions")
    header = bytes([0, 0, codes[0], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(dtype).tobytes()
    write_whole(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
