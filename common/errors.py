"""Errors that the user can mend, as one clear line and an exit status."""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DIVERGED = "the loss is no longer finite; try a lower --lr"
# What no check of its own foresees: numbers, files and pictures that are too large or too deep.
BEYOND = (MemoryError, OverflowError, RecursionError, SyntaxError)
TORCH = re.compile("overflow|can't allocate memory|out of memory", re.IGNORECASE)  # in its errors


class InputError(ValueError):
    """Something the user gave cannot be used: one line says what, where, and what to do."""


@contextmanager
def clear_errors(program: str, go_on: str = "") -> Iterator[None]:
    """End the program with one line on stderr if the block meets an error that the user can mend.

    These are InputError and OSError (a file, a full disk, a network), what is too large for memory
    or for torch's numbers, and a script that does not parse, with exit status 1, and Ctrl-C, with
    130. Other errors keep their traceback. The program's name begins the line; `go_on` says how to
    continue after Ctrl-C. What the output's encoding lacks is printed as a backslash and its code.
    """
    if sys.stderr is None:  # closed, or pythonw's: tqdm needs one
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{program}: stopped{go_on}", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"{program}: {place}{error.strerror or error}") from None
    except InputError as error:
        raise SystemExit(f"{program}: {error}".replace("\n", " ")) from None
    except Exception as error:
        if not (isinstance(error, BEYOND) or TORCH.search(str(error))):
            raise
        reason = " ".join(str(error).split())[:200]
        raise SystemExit(f"{program}: {type(error).__name__}: {reason}") from None
