"""The IDX reader: every type, every kind of damage, and thousands of files mutated at random."""

import gzip
import math
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.idx import idx_header, read_idx

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


def refusal(path: Path) -> str:
    """Return what read_idx says against a file: one line that begins with the file's name."""
    with pytest.raises(ValueError) as caught:
        read_idx(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("name", ["some file", "some file.gz"])
@pytest.mark.parametrize("element", ELEMENTS)
def test_element_types(tmp_path: Path, element: int, name: str) -> None:
    dtype, elements, numbers = ELEMENTS[element]
    content = header(2, element=element) + elements
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    array = read_idx(path)
    assert array.dtype == np.dtype(dtype) and array.dtype.isnative and array.flags.writeable
    assert array.tolist() == numbers
    assert idx_header(path) == (np.dtype(dtype), (2,))


@pytest.mark.parametrize(
    "shape", [(6,), (2, 3), (1, 2, 3), (3, 1, 2, 1), (1, 1, 2, 3, 1), (1,) * 63 + (6,), (3, 0, 2)]
)
def test_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "file"
    path.write_bytes(header(*shape) + bytes(range(math.prod(shape))))
    array = read_idx(path)
    assert array.shape == shape
    assert array.ravel().tolist() == list(range(math.prod(shape)))


def test_gzip_in_several_members(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(
        b"".join(gzip.compress(part) for part in (header(4)[:5], header(4)[5:], b"abcd"))
    )
    assert read_idx(path).tolist() == [97, 98, 99, 100]


@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty file"),
        (b"\x00\x00\x08", "ends inside its header, after 3 bytes"),
        (b"\x1f\x8b\x08\x00", "not an IDX file: it starts with 1f 8b 08 00"),
        (b"\x01" + header(2)[1:] + b"ab", "not an IDX file: it starts with 01 00 08 01"),
        (b"\x00\x01" + header(2)[2:] + b"ab", "not an IDX file: it starts with 00 01 08 01"),
        (header(2, element=0x0A) + b"ab", "unknown IDX element type 0x0a"),
        (header() + b"a", "the header claims 0 dimensions"),
        (header(*(1,) * 65) + b"a", "the header claims 65 dimensions"),
        (header(2, 3)[:11], "ends inside its header, after 11 bytes"),
        (header(2, 3) + b"abcde", "claims 2 x 3 elements, 6 bytes; the file holds only 5"),
        (header(2, 3) + b"abcdefg", "claims 2 x 3 elements, 6 bytes; the file holds more"),
        (header(2, element=0x0B) + b"abc", "claims 2 elements, 4 bytes; the file holds only 3"),
        (header(0, 3) + b"a", "claims 0 x 3 elements, 0 bytes; the file holds more"),
        (header(2**31, 2**31, 2) + b"a", "2147483648 x 2147483648 x 2 elements, too many"),
        (header(0, 2**31, 2**31, 2), "0 x 2147483648 x 2147483648 x 2 elements, too many"),
        (header(2**30, 2**30, 8, element=0x0E), "1073741824 x 1073741824 x 8 elements, too many"),
    ],
)
def test_damaged_content(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    assert complaint in refusal(path)


def test_gzip_cut_off_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    whole = gzip.compress(header(100) + bytes(range(100)))
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        assert "damaged gzip file" in refusal(path)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda file: file[:-8] + bytes([file[-8] ^ 1]) + file[-7:], "CRC check failed"),
        (lambda file: file[:-1] + b"\x01", "Incorrect length"),
        (lambda file: file + b"garbage", "Not a gzipped file (b'ga')"),
        (lambda file: header(100) + bytes(100), "Not a gzipped file"),
        (lambda file: file[:10] + b"\xff" * 20 + file[30:], "invalid block type"),
    ],
)
def test_damaged_gzip(tmp_path: Path, damage: Callable[[bytes], bytes], complaint: str) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(damage(gzip.compress(header(100) + bytes(range(100)))))
    message = refusal(path)
    assert "damaged gzip file" in message and complaint in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("claims 4 GB, holds 100 bytes", header(4, 2**30) + bytes(100)),
        ("claims 4 GB, holds 100 bytes.gz", gzip.compress(header(4, 2**30) + bytes(100))),
        # A gigabyte in 1 MB, behind a header that claims a thousand bytes.
        ("endless.gz", gzip.compress(header(1000)) + 100 * gzip.compress(bytes(10**7))),
    ],
)
def test_no_memory_for_what_is_not_there(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        assert "the file holds" in refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_raw_file_of_another_length_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(header(10**9))
        file.truncate(2 * 10**9)  # a hole: it takes no space on the disk
    tracemalloc.start()
    try:
        assert "1000000000 bytes; the file holds more" in refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


def decode(content: bytes) -> NDArray[np.generic] | None:
    """Return the array in an IDX file, None if the file is not sound, by the shortest way."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in ELEMENTS:
        return None
    dimensions = content[3]
    if not 1 <= dimensions <= 64 or len(content) < 4 + 4 * dimensions:
        return None
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    dtype = np.dtype(ELEMENTS[content[2]][0])
    if len(content) - 4 - 4 * dimensions != dtype.itemsize * math.prod(shape):
        return None
    if dtype.itemsize * math.prod(size or 1 for size in shape) >= 2**63:
        return None
    elements = np.frombuffer(content[4 + 4 * dimensions :], dtype.newbyteorder(">"))
    return elements.astype(dtype).reshape(shape)


@st.composite
def idx_contents(draw: st.DrawFn) -> bytes:
    """Return a sound IDX file, or at times a header of noise with something behind it."""
    element = draw(st.sampled_from(list(ELEMENTS)))
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    size = np.dtype(ELEMENTS[element][0]).itemsize * math.prod(shape)
    content = header(*shape, element=element) + bytes(i % 251 for i in range(size))
    noise = st.builds(
        lambda head, tail: bytes([0, 0, *head]) + tail, st.binary(max_size=6), st.binary()
    )
    return draw(st.one_of(st.just(content), st.just(content), noise))


@st.composite
def mutated(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> bytes:
    """Return a file with up to three bytes or stretches replaced, inserted or removed."""
    file = bytearray(draw(files))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(file)))
        removed = draw(st.sampled_from([0, 1, 1, 4, 1000]))
        file[start : start + removed] = draw(st.binary(max_size=4))
    return bytes(file)


def zipped(content: bytes) -> bytes:
    """Return the content gzipped, the same bytes at any time of day."""
    return gzip.compress(content, mtime=0)


def check(path: Path, file: bytes, expected: NDArray[np.generic] | None) -> None:
    path.write_bytes(file)
    if expected is None:
        refusal(path)
    else:
        array = read_idx(path)
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
        assert array.tobytes() == expected.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated")


@settings(max_examples=2000, deadline=None)
@given(file=mutated(idx_contents()))
def test_mutated_raw_files(folder: Path, file: bytes) -> None:
    check(folder / "file", file, decode(file))


@settings(max_examples=2000, deadline=None)
@given(file=st.one_of(mutated(idx_contents()).map(zipped), mutated(idx_contents().map(zipped))))
def test_mutated_gzip_files(folder: Path, file: bytes) -> None:
    try:
        expected = decode(gzip.decompress(file))
    except (gzip.BadGzipFile, EOFError, zlib.error):
        expected = None
    check(folder / "file.gz", file, expected)
