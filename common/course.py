"""The course of a GAN's training in pictures: frames one after another, and curves."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import imageio.v3 as imageio
from matplotlib.figure import Figure
from torch import nn

from common.run import Run, shown
from common.scores import DISTANCE, SECONDS, Judge

LOSSES = {"discriminator loss": "discriminator", "generator loss": "generator"}


def gif(paths: Iterable[Path]) -> bytes:
    """Return a GIF that shows pictures of one size in turn, a second each, endlessly.

    Args:
        paths: the pictures; one that is no longer there is left out.

    Raises:
        FileNotFoundError: not one of them is there.
        ValueError: one of them is damaged.
    """
    frames = []
    for path in paths:
        try:
            frames.append(imageio.imread(path))
        except FileNotFoundError:
            continue
        except (OSError, SyntaxError):  # Pillow has both, imageio its own of the first
            raise ValueError(f"{shown(path)} is damaged: remove it") from None
    if not frames:
        raise FileNotFoundError("no picture of an epoch is left to make a GIF of")
    return imageio.imwrite("<bytes>", frames, extension=".gif", duration=1000, loop=0)


def course_picture(history: Sequence[Mapping[str, float]], reference: Mapping[str, float]) -> bytes:
    """Return a PNG of the losses and, where there are any, the scores over the epochs.

    Args:
        history: for each epoch its figures by name: "epoch", "discriminator loss", "generator
            loss", and scores.
        reference: by the name of a score, that of real images; scores without one are not drawn.
    """
    panels = ["median loss", *(name for name in reference if any(name in row for row in history))]
    figure = Figure(figsize=(6.4, 1.8 * len(panels) + 0.6), layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for panel, ax in zip(panels, axes, strict=True):
        ax.set_title(panel, loc="left", fontsize="medium")
        ax.grid(alpha=0.3)
        for name, label in LOSSES.items() if panel == "median loss" else [(panel, "generated")]:
            rows = [row for row in history if name in row]
            ax.plot([row["epoch"] for row in rows], [row[name] for row in rows], ".-", label=label)
        if panel in reference:
            ax.axhline(reference[panel], color="grey", linestyle="--", label="real")
        if panel == DISTANCE:
            ax.set_yscale("log")
        ax.legend()
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def finish(run: Run, generator: nn.Module, judge: Judge | None) -> None:
    """Write a GAN's GIF, the picture of its course, and its weights; log the paths and the time.

    Args:
        run: the run, whose picture of each epoch is `out/NAME01.png` and so on.
        generator: its state dict goes to `out/NAME.pt`.
        judge: what the scores in the run's history came from.
    """
    pictures = [run.path(f"{epoch:02}.png") for epoch in range(1, run.args.epochs + 1)]
    try:
        run.save_bytes(".gif", gif(pictures))
    except FileNotFoundError as error:
        raise SystemExit(f"{run.name}: {error}: leave out --resume") from None
    except ValueError as error:
        raise SystemExit(f"{run.name}: {error}, and give --resume") from None
    run.save_bytes("-course.png", course_picture(run.history, judge.reference if judge else {}))
    run.log()
    run.log(
        f"Generated digits in dir {shown(run.args.out)}, {pictures[0].name} - {pictures[-1].name},"
        f" {run.name}.gif"
    )
    run.log(f"course of losses and scores: {shown(run.path('-course.png'))}")
    run.log_time()
    if judge is not None:
        run.log(f"{SECONDS}: {sum(row.get(SECONDS, 0) for row in run.history):.1f} of these")
    run.save_weights(generator)
