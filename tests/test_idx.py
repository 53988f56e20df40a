"""The IDX format: every type, and every kind of damage."""

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from common.mnist import read_idx, write_idx

# Element type to dtype, bytes written out by hand, and the numbers that they stand for.
ELEMENTS = {
    0x08: ("uint8", b"\x00\xff", [0, 255]),
    0x09: ("int8", b"\x80\xff", [-128, -1]),
    0x0B: ("int16", b"\xff\xfe\x01\x02", [-2, 258]),
    0x0C: ("int32", b"\xff\xff\xff\xfe\x01\x02\x03\x04", [-2, 16909060]),
    0x0D: ("float32", b"\x3f\xc0\x00\x00\xc0\x00\x00\x00", [1.5, -2.0]),
    0x0E: ("float64", b"\x3f\xf8\x00\x00\x00\x00\x00\x00\xc0" + bytes(7), [1.5, -2.0]),
}


def header(*shape: int, element: int = 0x08) -> bytes:
    return bytes([0, 0, element, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@pytest.mark.parametrize("element", ELEMENTS)
def test_element_types(tmp_path: Path, element: int) -> None:
    dtype, elements, numbers = ELEMENTS[element]
    content = header(2, element=element) + elements
    (tmp_path / "file").write_bytes(content)
    array = read_idx(tmp_path / "file")
    assert array.dtype == np.dtype(dtype) and array.dtype.isnative and array.flags.writeable
    assert array.tolist() == numbers
    write_idx(tmp_path / "written", array)
    assert (tmp_path / "written").read_bytes() == content


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 1, 2, 1), (1,) * 63 + (6,), (3, 0, 2)])
def test_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    write_idx(tmp_path / "file", array)
    assert (tmp_path / "file").read_bytes() == header(*shape) + array.tobytes()
    assert np.array_equal(read_idx(tmp_path / "file"), array)


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_damage_anywhere(tmp_path: Path, name: str) -> None:
    """What is read from a damaged file, and written again, is the file's content."""
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    write_idx(tmp_path / name, array)
    assert np.array_equal(read_idx(tmp_path / name), array)
    path, again, whole = tmp_path / name, tmp_path / "again", (tmp_path / name).read_bytes()
    for i in range(len(whole)):
        changed = [whole[:i] + bytes([byte]) + whole[i + 1 :] for byte in (0, 1, 9, 255)]
        for file in (whole[:i], whole[:i] + b"\0" + whole[i:], *changed):
            path.write_bytes(file)
            try:
                array = read_idx(path)
            except InputError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            else:
                write_idx(again, array)
                content = gzip.decompress(file) if name.endswith(".gz") else file
                assert again.read_bytes() == content
