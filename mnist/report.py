"""One page of all runs: their figures, curves and pictures, beside the published ones.

It reads the figures (NAME.json), logs and pictures in mnist/out/ and, after them, those of earlier
runs in mnist/out/earlier/, and writes mnist/out/index.html.
The page is a single file and works offline.

python mnist/report.py
"""

import base64
import io
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.errors import InputError, clear_errors
from common.files import write_whole
from common.flags import ROOT, script_parser, shown
from common.mnist import MNIST_HASH
from common.record import read_figures

RESULTS = ROOT / "mnist/results"
FIGURES = {  # titles and formats by name, the most telling first
    "accuracy": ("test accuracy", "{:.2f}%"),
    "read": ("numbers read right", "{:.2f}%"),
    "misread": ("misread", "{:,} of {:,}"),
    "loss": ("training loss", "{:.4g}"),
    "bound": ("importance-weighted bound", "{:.2f} nats"),
    "test_reconstruction": ("test reconstruction", "{:.2f} nats"),
    "test_kl": ("test KL", "{:.2f} nats"),
    "reconstruction": ("training reconstruction", "{:.2f} nats"),
    "kl": ("training KL", "{:.2f} nats"),
    "asked": ("digit as asked", "{:.2f}%"),
    "distance": ("Frechet distance", "{:.4g}"),
    "rarest": ("rarest digit", "{:.2f}%"),
    "discriminator_loss": ("discriminator loss", "{:.4g}"),
    "generator_loss": ("generator loss", "{:.4g}"),
}

# Placeholders for colors of the style sheet, which differ between light and dark pages.
MUTED, ACCENT, LINE = "#010203", "#010204", "#010205"
VARIABLES = {MUTED: "var(--muted)", ACCENT: "var(--accent)", LINE: "var(--line)"}
STYLE = {
    "svg.fonttype": "none",  # text keeps the page's own font
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    **dict.fromkeys(["axes.spines.top", "axes.spines.left", "axes.spines.right"], False),
    "ytick.left": False,
    **dict.fromkeys(["axes.edgecolor", "grid.color", "xtick.color"], LINE),
    **dict.fromkeys(["text.color", "axes.labelcolor"], MUTED),
    **dict.fromkeys(["xtick.labelcolor", "ytick.labelcolor"], MUTED),
}


class Entry(NamedTuple):
    """A run on the page: its name there, its JSON file, and what `common.run.Run` has written."""

    name: str
    path: Path
    header: dict[str, Any]
    epochs: list[dict[str, float]]
    final: dict[str, Any] | None

    def file(self, ending: str) -> Path:
        """Return the path of another of the run's files, for instance `.png`."""
        return self.path.with_name(self.path.stem + ending)

    def frames(self) -> list[tuple[float, Path]]:
        """Return epochs and pictures of generated digits; a classifier has none."""
        paths = [(row["epoch"], self.file(f"{row['epoch']:02}.png")) for row in self.epochs]
        return [(epoch, path) for epoch, path in paths if path.exists()]

    def figures(self) -> dict[str, str]:
        """Return the figures that the run ended with, or has so far, by title."""
        known = {**(self.epochs or [{}])[-1], **(self.final or {})}
        found = {
            self.title(name): form.format(known[name], self.header["tested"])
            for name, (_, form) in FIGURES.items()
            if name in known
        }
        if self.final and self.final["seconds"]:  # an evaluation has none
            found["seconds"] = f"{self.final['seconds']:,.0f}"
        return found

    def title(self, name: str) -> str:
        """Return a figure's title, which says what was tested on."""
        held_out = self.header["test set"] != "test images"
        return FIGURES[name][0].replace("test ", "held-out " if held_out else "test ")


def read_runs(folder: Path, pattern: str) -> list[Entry]:
    """Return the runs of a folder's JSON files; name other files on stderr and leave them out."""
    runs = []
    for path in sorted(folder.glob(pattern)):
        try:
            name = path.relative_to(folder).with_suffix("").as_posix()
            run = Entry(name, path, *read_figures(path))
            if "script" in run.header:  # bench/plain.py's runs have none
                runs.append(run)
        except InputError as error:
            print(f"report: {error}: left out", file=sys.stderr)
    return runs


def curve(name: str, run: Entry, other: Entry | None, prefix: str) -> tuple[str, str]:
    """Return a figure's curve as SVG, dashed for the other run, and a description for its label.

    All names in the SVG begin with the prefix: they must be unique on the page.
    """
    title, form = run.title(name), FIGURES[name][1]
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(4.2, 2.4), layout="constrained")
        ax = drawing.subplots()
        for one, color, line in ((other, MUTED, "--"), (run, ACCENT, "-")):
            rows = [row for row in one.epochs if name in row] if one else []
            marker = "." if len(rows) <= 20 else ""  # a line through one point is invisible
            values = [row[name] for row in rows]
            ax.plot([x["epoch"] for x in rows], values, marker=marker, color=color, linestyle=line)
        ax.set_title(title + (", %" if "%" in form else ""))
        ax.set_xlabel("epoch")
        ax.locator_params("x", integer=True)
        ax.locator_params("y", nbins=5)
        file = io.StringIO()
        drawing.savefig(file, format="svg", transparent=True)
    svg = file.getvalue()[file.getvalue().index("<svg ") :]
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}{name}-", svg)
    return svg, f"{title} after each epoch, from {values[0]:.4g} to {values[-1]:.4g}"


def section(number: int, run: Entry, published: list[Entry]) -> dict[str, Any]:
    """Return what the template shows of a run, beside published runs of the same script."""

    def nearness(other: Entry) -> list[Any]:
        alike = [other.header[key] == run.header[key] for key in ("epochs", "precision", "seed")]
        return [*alike, len(other.epochs)]

    script = Path(run.header["script"]).stem
    alike = [one for one in published if one.header["name"] == script]
    alike.sort(key=nearness, reverse=True)
    nearest = alike[0] if alike else None
    pictures = []
    for ending in (".png", ".rebuilt.png", ".gif"):
        if run.final and run.file(ending).exists():  # before the end it is an older run's
            pictures.append((run.file(ending), "This run"))
            others = [one for one in alike if one.file(ending).exists()]
            pictures += [(one.file(ending), f"Published, {one.name}") for one in others[:1]]
    drawn = [name for name in FIGURES if any(name in row for row in run.epochs)]
    log = run.file(".log")
    return {
        "run": run,
        "anchor": f"run-{number}",
        "curves": [curve(name, run, nearest, f"run-{number}-") for name in drawn],
        "pictures": pictures,
        "nearest": nearest,
        # Published runs are on MNIST.
        "other_data": (run.header.get("data") or {}).get("hash", MNIST_HASH) != MNIST_HASH,
        "published": sorted(alike, key=lambda one: (one.header["epochs"], one.name)),
        "log": log.read_text(encoding="utf-8", errors="replace") if log.exists() else "",
    }


def data_uri(path: Path) -> str:
    """Return a picture's content as an address."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/{path.suffix[1:]};base64,{content}"


def main(argv: list[str] | None = None) -> None:
    out = script_parser(__file__, __doc__).parse_args(argv).out
    with clear_errors("report"):
        runs = read_runs(out, "*.json")
        if not runs:
            raise InputError(f"no run in {shown(out)}; mnist/conv.py --epochs 1 makes one")
        runs += read_runs(out, "earlier/*/*.json")
        published = read_runs(RESULTS, "*/*.json")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        environment.filters["data_uri"] = data_uri
        template = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
        content = environment.from_string(template).render(
            folder=shown(out),
            written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            sections=[section(number, run, published) for number, run in enumerate(runs)],
        )
        write_whole(out / "index.html", content.encode(errors="backslashreplace"))
        print(f"{shown(out / 'index.html')}, {len(content) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
