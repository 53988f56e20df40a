"""The logs of runs, read back: `out/NAME.log` and `results/*.log`."""

import os
import re
from pathlib import Path
from typing import NamedTuple

# Figures that some scripts call by a shorter name.
FULL_NAMES = {
    "loss": "training loss",
    "test": "test loss",
    "accuracy": "test accuracy",
    "Median loss for discriminator": "discriminator loss",
    "generator": "generator loss",
}
FIGURE = re.compile(r"([A-Za-z][A-Za-z ]*): +(-?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?)")
EPOCH = re.compile(r" *(\d+)\.  (.+)|Epoch: (\d+) +\d\d:\d\d:\d\d +(.+)")
FINAL = re.compile(r"^(\d+\.\d+)% test accuracy, (\d+) of ([\d,]+) misread", re.MULTILINE)
SECONDS = re.compile(r"^seconds: (\d[\d,]*\.\d+)", re.MULTILINE)


class Log(NamedTuple):
    """What the log of a run tells.

    Attributes:
        name: the file's name without its ending, for instance `conv-seed-0`.
        run: the name that the run's own files have, for instance `conv`.
        header: the lines ahead of the first empty one as names and values, `command` first; a name
            may come twice, as `model` does where there are two.
        epochs: for each epoch its figures by name: `epoch`, and those of `lr`, `training loss`,
            `test loss`, `test accuracy` (percent), `discriminator loss`, `generator loss` and the
            scores of generated digits that the log has.
        accuracy: the final test accuracy in percent, if the log has one.
        misread: how many of the tested images were misread at the end, likewise.
        tested: how many images the final accuracy is of, likewise.
        seconds: that the whole run took; None as long as it is not finished.
        text: the whole log.
    """

    name: str
    run: str
    header: list[tuple[str, str]]
    epochs: list[dict[str, float]]
    accuracy: float | None
    misread: int | None
    tested: int | None
    seconds: float | None
    text: str

    def figure(self, name: str) -> int | None:
        """Return an integer of the header by the words around it, None if it is not there.

        For instance `epochs` of "epochs: 50, batch size: 125" is 50, and `parameters` of
        "model: ConvNet, 431,080 parameters" is 431080; of several the first.
        """
        lines = "\n".join(f"{key}: {value}" for key, value in self.header)
        for pattern in (rf"\b{re.escape(name)}: (-?\d[\d,]*)", rf"(\d[\d,]*) {re.escape(name)}\b"):
            if found := re.search(pattern, lines):
                return int(found[1].replace(",", ""))
        return None


def read_log(path: str | os.PathLike[str]) -> Log:
    """Return what the log of a run tells, finished or not.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not the log of a run; one line with the file's name.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    command = re.match(r"command: .*?([\w-]+)\.py\b(.*)", text)
    if not command:
        raise ValueError(f"{path}: not the log of a run, which begins with its command")
    end = lines.index("") if "" in lines else len(lines)
    header = [line.partition(": ")[::2] for line in lines[:end]]

    epochs: list[dict[str, float]] = []
    for line in lines[end:]:
        if match := EPOCH.fullmatch(line):
            epochs.append({"epoch": int(match[1] or match[3]), **_figures(match[2] or match[4])})
        elif epochs and line.startswith(" " * 10):  # the scores of the epoch above
            epochs[-1].update(_figures(line))
    final, seconds = FINAL.search(text), SECONDS.search(text)
    return Log(
        name=path.stem,
        run=command[1] + ("-trials" if "--trials" in command[2] else ""),
        header=[(name, value) for name, value in header],
        epochs=epochs,
        accuracy=float(final[1]) if final else None,
        misread=int(final[2]) if final else None,
        tested=int(final[3].replace(",", "")) if final else None,
        seconds=float(seconds[1].replace(",", "")) if seconds else None,
        text=text,
    )


def _figures(line: str) -> dict[str, float]:
    """Return the figures of a line by their names; what stands in brackets is left out."""
    figures = FIGURE.findall(re.sub(r"\([^)]*\)", "", line))
    return {FULL_NAMES.get(name, name): float(value.replace(",", "")) for name, value in figures}
