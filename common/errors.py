"""Errors that the user can mend, as one clear line and an exit status."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

DIVERGED = "the loss is no longer finite; try a lower --lr"


class InputError(ValueError):
    """Something the user gave cannot be used: one line says what, where, and what to do."""


@contextmanager
def clear_errors(program: str, go_on: str = "") -> Iterator[None]:
    """End the program with one line on stderr if the block meets an error that the user can mend.

    These are InputError and OSError (a file, a full disk, a network), with exit status 1, and
    Ctrl-C, with 130. Other errors keep their traceback. The program's name begins the line;
    `go_on` says how to continue after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{program}: stopped{go_on}", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"{program}: {place}{error.strerror or error}") from None
    except InputError as error:
        raise SystemExit(f"{program}: {error}") from None
