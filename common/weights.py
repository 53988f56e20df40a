"""Files of weights, and whether figures, script and data are those of the run that wrote them."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import file_hash, script_hash
from common.flags import ROOT, shown
from common.record import PUBLISHED, read_figures


def find_weights(name: str, out: Path) -> Path:
    """Return the path of a script's weights: in a folder, or else, with a line, published ones.

    InputError is raised if there are none, or if the figures beside them are those of others.
    """
    path, published = out / f"{name}.pt", [*(PUBLISHED / name).glob("*.pt")]  # one at most
    if not path.exists():
        if not published:
            raise InputError(f"no {shown(path)}: mnist/{name}.py trains it")
        print(f"no {shown(path)}: {shown(published[0])} is used", file=sys.stderr)
        [path] = published
    check_weights(path)
    return path


def check_weights(path: Path) -> None:
    """Raise InputError if a finished run, whose figures are beside a file of weights, wrote others.

    A line on stderr says if the run's script has changed since. Weights without figures are as
    good as any.
    """
    try:
        own, (header, _, final) = file_hash(path), read_figures(path.with_suffix(".json"))
    except (InputError, OSError):
        return
    if (final or {}).get("weights", own) != own:
        text = f"the figures beside it, {path.stem}.json, are those of other weights"
        raise InputError(f"{path}: {text}; move one of the two elsewhere")
    if PUBLISHED not in path.resolve().parents and "script hash" in header:
        with suppress(OSError, SyntaxError):
            if script_hash(ROOT / header["script"]) != header["script hash"]:
                text = f"{header['script']} has changed since it trained {shown(path)}"
                hint = "if its network does something else now, train it anew"
                print(f"warning: {text}: {hint}", file=sys.stderr)


def class_numbers(weights: Path, digits: str) -> list[int]:
    """Return the numbers of the classes that digits name, by the figures beside weights.

    InputError is raised if the generator was not trained on one of them.
    """
    names = [*"0123456789"]
    with suppress(InputError, OSError):
        names = read_figures(weights.with_suffix(".json")).header.get("classes", names)
    if lacking := ", ".join(sorted(set(digits) - set(names))):
        text = f"was trained on classes {' '.join(names)}: it draws no {lacking}"
        raise InputError(f"{shown(weights)} {text}")
    return [names.index(digit) for digit in digits]


def check_data(weights: Path, header: Mapping[str, Any], evaluate: bool) -> None:
    """Compare the data in a header with those of the run that trained weights, by its figures.

    Print a line on stderr if the background or the range of the images differs. With `evaluate`,
    raise InputError if the classes do: the logits are in the order of these.
    """
    try:
        theirs = read_figures(weights.with_suffix(".json")).header
    except (InputError, OSError):
        return
    now, then = (" ".join(one.get("classes", [])) for one in (header, theirs))
    if evaluate and then not in ("", now):
        raise InputError(f"{shown(weights)} was trained on classes {then}; these are {now}")
    dark = header["data"]["dark"]
    if (theirs.get("data") or {}).get("dark", dark) != dark:
        forms = ("light on dark", "dark on light")[:: 1 if dark else -1]
        text = f"these images are {forms[0]}, those that trained {shown(weights)} {forms[1]}"
        hint = "" if dark else "; --ink brings pictures to MNIST's form"
        print(f"warning: {text}{hint}", file=sys.stderr)
    # What the network gets: uint8 becomes -1 to 1, floats are as they are.
    low, high = _range(header["data"])
    least, most = _range(theirs.get("data") or header["data"])
    if max(abs(low - least), abs(high - most)) > 0.4 * (most - least):
        text = f"the network gets {low:g} to {high:g} of these images, in training {least:g} to"
        print(f"warning: {text} {most:g}: scale them as those were", file=sys.stderr)


def _range(data: Mapping[str, Any]) -> tuple[float, float]:
    """Return the range of what a network gets of images, by what a header says of them."""
    if data.get("dtype", "uint8") == "uint8" or "low" not in data:
        return -1, 1
    return data["low"], data["high"]
