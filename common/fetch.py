"""MNIST from its mirrors, for a data folder that holds none of its files."""

import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# SHA-256 of the files as the mirrors serve them.
FILES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}
# Folders inside the data folder: files under way, and a complete set that is not yet in place.
ARRIVING = ".fetch-arriving"
ARRIVED = ".fetch-arrived"


def fetch(
    folder: Path,
    mirrors: Sequence[str] = MIRRORS,
    files: Mapping[str, str] = FILES,
    timeout: float = 30,
) -> None:
    """Download `files` (name to SHA-256) into `folder`: all of them, or none.

    The files gather in a subfolder; when the last has arrived, the subfolder's new name tells that
    the set is complete, and the files move to their places. A fetch that is killed at any point is
    taken up by the next one: an incomplete set is thrown away, a complete one is moved on.
    For the same reason only one fetch at a time may run in a folder.

    Args:
        folder: an existing folder.
        mirrors: addresses that end in `/`, tried in turn; a mirror that fails once is left for the
            next, and what it did deliver is kept.
        files: name of a file to the SHA-256 that it must have.
        timeout: seconds that a mirror may stay silent.

    Raises:
        OSError: no mirror delivered, or the folder cannot be written to; in one line that names
            the folder, the files and the addresses. The folder is then as it was.
    """
    arriving, arrived = folder.absolute() / ARRIVING, folder.absolute() / ARRIVED
    if not arrived.exists():
        shutil.rmtree(arriving, ignore_errors=True)
        try:
            arriving.mkdir()
            _download(arriving, mirrors, files, timeout)
            arriving.rename(arrived)
        except OSError as error:
            raise OSError(
                f"cannot fetch {', '.join(files)} into {folder};"
                f" try again, or put them there by hand: {error}"
            ) from error
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
    for path in arrived.iterdir():
        path.replace(folder / path.name)
    arrived.rmdir()


def _download(
    folder: Path, mirrors: Sequence[str], files: Mapping[str, str], timeout: float
) -> None:
    """Download every file from the first mirror that delivers it, with a progress bar each."""
    # Imported here because torch takes longer to import than the digits take to load.
    from torch.hub import download_url_to_file

    missing = dict(files)
    failures = []
    timeout_before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)  # torch.hub sets none and would wait for ever
    try:
        for mirror in mirrors:
            for name, sha256 in tuple(missing.items()):
                print(f"fetching {mirror}{name}", file=sys.stderr)
                try:
                    download_url_to_file(
                        mirror + name, os.fspath(folder / name), sha256, sys.stderr.isatty()
                    )
                except (OSError, HTTPException, RuntimeError, ValueError) as error:
                    failures.append(f"{mirror}{name}: {error}")
                    break
                del missing[name]
    finally:
        socket.setdefaulttimeout(timeout_before)
    if missing:
        raise OSError("; ".join(failures))
