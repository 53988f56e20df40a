"""MNIST from its mirrors."""

import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SHA256 = """\
440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609 train-images-idx3-ubyte.gz
3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c train-labels-idx1-ubyte.gz
8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6 t10k-images-idx3-ubyte.gz
f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6 t10k-labels-idx1-ubyte.gz"""
FILES = {name: sha256 for sha256, name in map(str.split, SHA256.splitlines())}
# Folders inside the data folder: an incomplete set, and a complete one that is not yet in place.
ARRIVING, ARRIVED = ".fetch-arriving", ".fetch-arrived"


def fetch(
    folder: Path,
    mirrors: Sequence[str] = MIRRORS,
    files: Mapping[str, str] = FILES,
    timeout: float = 30,
) -> None:
    """Download files into a folder: all of them, or none.

    The files gather in one subfolder, which is renamed when all have arrived; then they move to
    their places. If a fetch is killed, the next one continues. Only one may run in a folder.

    Args:
        folder: an existing folder.
        mirrors: addresses that end in `/`. Where one fails, the next one goes on.
        files: each file's name and SHA-256.
        timeout: seconds that a mirror may stay silent.

    Raises:
        OSError: no mirror delivered, or the folder cannot be written to. It is then as it was.
    """
    arriving, arrived = folder / ARRIVING, folder / ARRIVED
    if not arrived.exists():
        shutil.rmtree(arriving, ignore_errors=True)
        arriving.mkdir()
        missing, failures = list(files), []
        for mirror in mirrors:
            for name in missing.copy():
                print(f"fetching {mirror}{name}", file=sys.stderr)
                try:
                    with urlopen(mirror + name, timeout=timeout) as response:
                        content = response.read()
                    if hashlib.sha256(content).hexdigest() != files[name]:
                        raise OSError("wrong SHA-256")
                    (arriving / name).write_bytes(content)
                except (OSError, HTTPException) as error:
                    failures.append(f"{mirror}{name}: {error}")
                    break
                missing.remove(name)
        if missing:
            shutil.rmtree(arriving)
            raise OSError(
                f"cannot fetch MNIST into {folder}: {'; '.join(failures)};"
                f" try again, or put {', '.join(files)} there by hand"
            )
        arriving.rename(arrived)
    for path in arrived.iterdir():
        path.replace(folder / path.name)
    arrived.rmdir()
