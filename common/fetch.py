"""MNIST from its mirrors."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from common.files import write_whole

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


def is_empty(folder: Path) -> bool:
    """Return whether a folder is there and holds nothing, or only a README.md."""
    return folder.is_dir() and {path.name for path in folder.glob("[!.]*")} <= {"README.md"}


def fetch(
    folder: Path,
    mirrors: Sequence[str] = MIRRORS,
    files: Mapping[str, str] = FILES,
    timeout: float = 30,
) -> None:
    """Download files, given by name and SHA-256, into a folder; OSError if no mirror delivers.

    Where a mirror, an address that ends in `/`, fails or is silent for `timeout` seconds, the next
    one goes on. Files are written when all have arrived.
    """
    arrived, failures = dict[str, bytes](), []
    for mirror in mirrors:
        for name in [name for name in files if name not in arrived]:
            print(f"fetching {mirror}{name}", file=sys.stderr)
            try:
                with urlopen(mirror + name, timeout=timeout) as response:
                    content = response.read()
                if hashlib.sha256(content).hexdigest() != files[name]:
                    raise OSError("wrong SHA-256")
            except (OSError, HTTPException) as error:
                failures.append(f"{mirror}{name}: {error}")
                break
            arrived[name] = content
    if len(arrived) < len(files):
        hint = f"try again, or put {', '.join(files)} there by hand"
        raise OSError(f"cannot fetch MNIST into {folder}: {'; '.join(failures)}; {hint}")
    for name, content in arrived.items():
        write_whole(folder / name, content)
