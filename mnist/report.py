"""One page of all runs: their figures, curves and pictures, beside the published ones.

It reads the logs and pictures in mnist/out/ and writes mnist/out/index.html, which holds all that
it shows and needs no network.

python mnist/report.py
"""

import argparse
import base64
import io
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.logs import Log, read_log
from common.run import ROOT, Parser, command_for, echo, printable, shown, write_whole

RESULTS = ROOT / "mnist/results"
ORDER = (
    *("logit", "linear", "conv", "swa", "swa-trials"),
    *("simple", "wsimple", "lstm", "gan", "cgan"),
)
# What is drawn and told of a run, as far as its log has it; the most telling first.
FIGURES = (
    *("test accuracy", "training loss"),
    *("digit as asked", "Frechet distance", "rarest digit", "Inception Score"),
    *("discriminator loss", "generator loss"),
)
PERCENTAGES = ("test accuracy", "digit as asked", "rarest digit")

# Stand-ins for the page's own colours, which are others in the light than in the dark.
MUTED, ACCENT, LINE = "#010203", "#010204", "#010205"
VARIABLES = {MUTED: "var(--muted)", ACCENT: "var(--accent)", LINE: "var(--line)"}
STYLE = {
    "svg.fonttype": "none",  # letters stay letters, in the page's own font
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "text.color": MUTED,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
}


class Picture(NamedTuple):
    """A picture on the page.

    Attributes:
        uri: its content as an address.
        alt: what it shows, for those who do not see it.
        caption: what stands below it.
        kind: `grid`, shown pixel by pixel; `plot`; or `plate`, a GAN's digits.
        still: of a moving picture, its end, for those who want nothing to move.
    """

    uri: str
    alt: str
    caption: str
    kind: str = "plate"
    still: str = ""


class Section(NamedTuple):
    """What the page tells of a run.

    Attributes:
        log: its log.
        anchor: the section's name within the page.
        figures: names and values, the most telling first.
        progress: how far it has come, if it is not finished.
        body: the text of a log that has no epochs.
        curves: its figures over the epochs, as SVG by name, and what it is in words.
        frames: a GAN's digits, epoch by epoch.
        pictures: its other pictures, each followed by the published run's.
        nearest: the published run that curves and pictures are compared with.
        published: the logs of all published runs of the same script.
    """

    log: Log
    anchor: str
    figures: dict[str, str]
    progress: str
    body: str
    curves: dict[str, tuple[str, str]]
    frames: list[Picture]
    pictures: list[Picture]
    nearest: Log | None
    published: list[Log]


def read_logs(folder: Path) -> list[Log]:
    """Return the logs of a folder; one that is no run's is told of on stderr and left out."""
    logs = []
    for path in sorted(folder.glob("*.log")):
        try:
            logs.append(read_log(path))
        except OSError as error:
            print(f"report: cannot read {path}: {error.strerror}", file=sys.stderr)
        except ValueError as error:
            print(f"report: {error}", file=sys.stderr)
    return logs


def section(log: Log, out: Path, published: list[Log]) -> Section:
    """Return what the page tells of a run.

    Args:
        log: its log.
        out: the folder of its pictures.
        published: the logs of published runs of the same script.
    """
    nearest = max(published, key=lambda one: nearness(one, log), default=None)
    # Until a run has ended, what is there under its name is an older run's.
    own = pictures(out, log, "This run") if log.seconds is not None else {}
    others = pictures(RESULTS, nearest, f"Published, {nearest.name}") if nearest else {}
    return Section(
        log=log,
        anchor=anchor(log),
        figures=last_figures(log),
        progress=progress(log, out),
        body="" if log.epochs else log.text.partition("\n\n")[2],
        curves={
            name: (curve(name, log, nearest), in_words(name, log))
            for name in FIGURES
            if any(name in row for row in log.epochs)
        },
        frames=[
            Picture(data_uri(path), f"Digits of {log.name} after epoch {epoch}", str(epoch))
            for epoch, path in frames(out, log).items()
        ],
        pictures=[
            picture for ending in own for picture in (own[ending], others.get(ending)) if picture
        ],
        nearest=nearest,
        published=published,
    )


def nearness(published: Log, log: Log) -> tuple[bool, bool, bool, bool, int]:
    """Return how well a published run compares with a run: of two, the greater does better.

    That is one that has pictures, was as long, and is of the same precision and seed; or else the
    longest.
    """
    pictured = any((RESULTS / f"{published.name}.{ending}").exists() for ending in ("png", "gif"))
    precisions = [
        dict(one.header).get("device", "").rpartition(", ")[2] for one in (published, log)
    ]
    return (
        pictured,
        published.figure("epochs") == log.figure("epochs"),
        precisions[0] == precisions[1],
        published.figure("seed") == log.figure("seed"),
        len(published.epochs),
    )


def anchor(log: Log) -> str:
    """Return a log's name as it may stand in an address and a name within the page, its own."""
    return re.sub(r"[^\w-]", lambda character: f"_{ord(character[0]):x}_", log.name)


def progress(log: Log, out: Path) -> str:
    """Return how far a run has come, if it is not finished."""
    if log.seconds is not None:
        return ""
    trials = re.search(r"--trials[ =](\d+)", log.header[0][1])
    if trials:
        first, count = int(log.figure("seed") or 0), int(trials[1])
        paths = [out / f"{log.run}.seed-{seed}.json" for seed in range(first, first + count)]
        return f"{sum(path.exists() for path in paths)} of {count} trials done"
    return f"{len(log.epochs)} of {log.figure('epochs') or '?'} epochs done"


def in_words(name: str, log: Log) -> str:
    """Return what a figure's curve shows, for those who do not see it."""
    values = [row[name] for row in log.epochs if name in row]
    epochs = "1 epoch" if len(values) == 1 else f"{len(values)} epochs"
    return f"{name} over {epochs}, from {values[0]} to {values[-1]}"


def last_figures(log: Log) -> dict[str, str]:
    """Return the figures that a run ended with by their names, the most telling first."""
    found = {}
    if log.accuracy is not None:
        found["test accuracy"] = f"{log.accuracy:.2f}%"
        found["misread"] = f"{log.misread:,} of {log.tested:,}"
    # Of trials: what they compare, and first, as it stands last, the difference.
    found.update(reversed(re.findall(r"^(\w[\w ]*): +mean ([-+\d.]+%?)", log.text, re.MULTILINE)))
    for name in FIGURES:
        if log.epochs and name in log.epochs[-1]:
            value = log.epochs[-1][name]
            found.setdefault(name, f"{value:.2f}%" if name in PERCENTAGES else f"{value:.4g}")
    if log.seconds is not None:
        found["time"] = duration(log.seconds)
    if "held-out" in dict(log.header).get("images", ""):
        return {name.replace("test ", "held-out "): value for name, value in found.items()}
    return found


def duration(seconds: float) -> str:
    """Return seconds as one says them: `8.2 s`, `8 min 21 s`, `45 min`, `1 h 12 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left} s" if minutes < 10 else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def curve(name: str, log: Log, published: Log | None) -> str:
    """Return a figure of a log over its epochs as SVG; behind it, dashed, a published run's."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{anchor(log)} {name}"}):
        drawing = Figure(figsize=(4.2, 2.4), layout="constrained")
        ax = drawing.subplots()
        for one, color, line in ((published, MUTED, "--"), (log, ACCENT, "-")):
            points = [(row["epoch"], row[name]) for row in one.epochs if name in row] if one else []
            if points:
                marker = "." if len(points) <= 20 else ""  # a line through one point is not seen
                ax.plot(*zip(*points, strict=True), color=color, linestyle=line, marker=marker)
        ax.set_title(name + (", %" if name in PERCENTAGES else ""))
        ax.set_xlabel("epoch")
        ax.locator_params("x", integer=True)
        ax.locator_params("y", nbins=5)
        file = io.StringIO()
        drawing.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()[file.getvalue().index("<svg ") :]
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, variable)
    # All drawings stand on one page, where a name can be given only once.
    prefix = f"{anchor(log)}-{name}-".replace(" ", "-")
    return re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}", svg)


def frames(folder: Path, log: Log) -> dict[int, Path]:
    """Return the pictures of a GAN's digits by their epoch, in order; of other runs there are none.

    Those of epochs that the log does not have are an older run's.
    """
    epochs = [int(row["epoch"]) for row in log.epochs if "generator loss" in row]
    paths = {epoch: folder / f"{log.name}{epoch:02}.png" for epoch in epochs}
    return {epoch: path for epoch, path in paths.items() if path.exists()}


def pictures(folder: Path, log: Log, caption: str) -> dict[str, Picture]:
    """Return a run's grid of mismatches and its animation, by their ending, if it has them.

    Args:
        folder: where they are.
        log: the run's.
        caption: what stands below each.
    """
    found = {}
    path = folder / f"{log.name}.png"
    if path.exists() and "-trials" in log.name:
        alt = f"Distributions of the accuracies, {log.name}"
        found[".png"] = Picture(data_uri(path), alt, caption, "plot")
    elif path.exists():
        found[".png"] = Picture(data_uri(path), f"Misread digits, {log.name}", caption, "grid")
    path = folder / f"{log.name}.gif"
    if path.exists():
        stills = [*frames(folder, log).values()]
        still = data_uri(stills[-1]) if stills else ""
        alt = f"Digits, epoch by epoch, {log.name}"
        found[".gif"] = Picture(data_uri(path), alt, f"{caption}, all epochs in turn", still=still)
    return found


def data_uri(path: Path) -> str:
    """Return a picture's content as an address."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/{path.suffix[1:]};base64,{content}"


def page(out: Path) -> str:
    """Return the page of the runs in a folder.

    Raises:
        FileNotFoundError: there are none.
    """
    logs = read_logs(out)
    if not logs:
        raise FileNotFoundError(
            f"no run in {shown(out)} to report; {command_for('conv --epochs 1', out)} makes one"
        )
    logs.sort(key=lambda log: (ORDER.index(log.run) if log.run in ORDER else len(ORDER), log.name))
    published = sorted(read_logs(RESULTS), key=lambda log: (log.figure("epochs") or 0, log.name))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(
        folder=shown(out),
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        sections=[
            section(log, out, [one for one in published if one.run == log.run]) for log in logs
        ],
        last_figures=last_figures,
    )


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "mnist/out",
        metavar="DIR",
        help="the runs, and where the page goes (default: %(default)s)",
    )
    out = parser.parse_args().out
    path = out / "index.html"
    try:
        content = printable(page(out)).encode()
        write_whole(path, content)
    except OSError as error:
        raise SystemExit(f"report: {error}") from None
    echo(f"{shown(path)}, {len(content) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
