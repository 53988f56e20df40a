"""Scores of generated digits by a trained classifier, and the end of a generator's run."""

import sys
from typing import Any

import imageio.v3 as imageio
import torch
from torch import Tensor, nn

from common import record
from common.batches import accuracy, draw, scaled
from common.checkpoint import load_weights, unwrapped
from common.errors import InputError
from common.files import write_whole
from common.flags import shown
from common.mnist import MNIST_HASH, makegrid
from common.run import Run
from common.weights import check_weights

# Each score's title and unit.
SCORES = {
    "asked": ("digit as asked", "%"),
    "distance": ("Frechet distance", " (training images: 1)"),
    "rarest": ("rarest digit", "%"),
}


def score_line(scores: dict[str, float]) -> str:
    """Return scores, by name, as text."""
    texts = (f"{SCORES[name][0]}: {x:.2f}{SCORES[name][1]}" for name, x in scores.items())
    return "  ".join(texts)


def moments(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean, (d,) float64, and covariance, (d, d) float64, of vectors, (n, d)."""
    mean = vectors.mean(0, dtype=torch.double)
    deviations = vectors.to(torch.double, copy=True).sub_(mean)
    return mean, deviations.T @ deviations / max(len(vectors) - 1, 1)


def frechet_distance(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """Return the squared Fréchet distance of two normal distributions, each given by its moments.

    |mean_a - mean_b|^2 + trace(A + B - 2 (A B)^1/2), with covariances A and B. The root's trace is
    the sum of the roots of A B's eigenvalues: accurate even where a covariance is singular.
    Source: Heusel et al. 2017, https://arxiv.org/abs/1706.08500
    """
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    root = torch.linalg.eigvals(cov_a @ cov_b).sqrt().real.sum()
    return ((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * root).item()


class Judge:
    """A classifier that scores generated digits by what enters and leaves its last layer."""

    def __init__(
        self, run: Run, kind: type[nn.Sequential], x_train: Tensor, x_test: Tensor, y_test: Tensor
    ) -> None:
        """Load a classifier of a kind, and look at the real images.

        Its weights are the published ones of conv if the images are MNIST's, or else those in
        `out/conv.pt`. If they are missing or useless, or of a run on other data, a line on stderr
        says so, and there are no scores. Images are (n, c, h, w) uint8, labels (n,) int64. The
        first 10,000 of x_train are used, as many as are generated.
        """
        path, x_train = record.PUBLISHED / "conv/seed-0.pt", x_train[:10_000]
        data = run.header["data"]
        if data["hash"] != MNIST_HASH or not path.exists():
            path = run.out / "conv.pt"
        self._run, self._layers, self._most = run, list[nn.Module](), len(x_train)
        self._classes = y_test.unique().cpu()  # others are unused: no image is read as one of them
        try:
            if data["dtype"] != "uint8" and max(-data["low"], data["high"]) > 1.01:
                bounds = f"{data['low']:g} to {data['high']:g}"
                raise InputError(f"the images are {bounds}, and generators draw -1 to 1")
            with torch.random.fork_rng([]):  # the run is the same with a judge and without
                classifier = kind()
            load_weights(classifier, path)
            check_weights(path)
            figures = record.read_figures(path.with_suffix(".json"))
            if (figures.header.get("data") or {}).get("hash") != data["hash"]:
                raise InputError(f"{shown(path)} is of a run on other, or unknown, data")
            self._layers = list(run.place(classifier, weights=None).eval())
            self._real, self.unit = moments(self._look(x_test)[0]), 1.0
            self.unit = self.rate(x_train)["distance"]
            if not self.unit > 1e-6 * self._real[1].trace():
                raise InputError("training and test images are the same")
        except (OSError, InputError) as error:
            text = f"{run.name}: no scores of the digits: {error}; mnist/conv.py trains their judge"
            print(text, file=sys.stderr)
            self._layers = []
            return
        right = self.rate(x_test, y_test)["asked"]
        run.header["judge"] = (
            f"{shown(path)}, {right:.2f}% of the {run.header['test set']} read right;"
            f" Frechet distance of {len(x_train):,} training images: {self.unit:.3f}"
        )

    @torch.no_grad()
    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, (n, d), and logits, (n, classes), float32 on the CPU."""
        *hidden, last = self._layers
        parts = (nn.Sequential(*hidden)(scaled(part)) for part in images.split(250))
        features = torch.cat(list(parts))
        return features.cpu(), last(features).cpu()

    def rate(self, images: Tensor, asked: Tensor | None = None) -> dict[str, float]:
        """Return the scores of images, (n, c, h, w) uint8, by name.

        "asked": percentage read as the digit asked for, if these are given, (n,) int64.
        "distance": Fréchet distance from the test images, as a multiple of the training images'. It
        is larger for fewer images: of more than were used of these, as many are taken at random.
        "rarest": percentage of the digit that is read least often.
        """
        features, logits = self._look(images)
        if asked is not None:  # what was asked for of unused classes does not count
            known = torch.isin(asked.cpu(), self._classes)
            features, logits, asked = features[known], logits[known], asked.cpu()[known]
        if len(features) > self._most:
            order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
            features = features[order[: self._most]]
        scores = {}
        if asked is not None:
            scores["asked"] = accuracy(logits, asked)
        counts = logits.argmax(1).bincount(minlength=logits.shape[1])[self._classes]
        return {
            **scores,
            "distance": frechet_distance(moments(features), self._real) / self.unit,
            "rarest": 100 * counts.min().item() / len(logits),
        }

    def log_scores(self, generator: nn.Module, *inputs: Tensor) -> dict[str, float]:
        """Log and return the scores of a generator's images, none without a classifier.

        The inputs are latent vectors, (n, ...), and, if the generator takes them, digits, (n,).
        """
        if not self._layers:
            return {}
        scores = self.rate(draw(generator, self._run.autocast, *inputs), *inputs[1:])
        self._run.log(" " * 10 + score_line(scores), **scores)
        return scores


def finish_generator(
    run: Run,
    generator: nn.Module,
    judge: Judge,
    *inputs: Tensor,
    discriminator: nn.Module | None = None,
    **figures: float,
) -> None:
    """Write a generator's weights, a discriminator's, GIF and final figures; log paths and time.

    With `--evaluate`, draw the first 100 `inputs` (see `Judge.log_scores`) and score all.
    Any other final `figures` are the script's own.
    """
    if run.flags.evaluate:
        images = draw(generator, run.autocast, *(rows[:100] for rows in inputs))
        run.save_picture(".png", makegrid(images.cpu().numpy(), 10, 10))
        scores = judge.log_scores(generator, *inputs)
        run.log(f"Generated digits: {shown(run.path('.png'))}")
        run.save_figures({**figures, **scores, **run.log_time()})
        return
    final: dict[str, Any] = {**figures, "weights": run.save_weights(generator)}
    if discriminator:
        run.save_weights(discriminator, ".discriminator.pt")
    pictures = [run.path(f"{epoch:02}.png") for epoch in range(1, run.flags.epochs + 1)]
    frames = [imageio.imread(path) for path in pictures if path.exists()]
    if frames:  # someone may have deleted the pictures of a run that is resumed
        gif = imageio.imwrite("<bytes>", frames, extension=".gif", duration=1000, loop=0)  # ms
        write_whole(run.path(".gif"), gif)
    names = f"{pictures[0].name} - {pictures[-1].name}, {run.name}.gif"
    run.log(f"\nGenerated digits in dir {shown(run.out)}, {names}")
    final |= {name: run.figures[-1][name] for name in SCORES if name in run.figures[-1]}
    final |= {"network": type(unwrapped(generator)).__name__, **run.log_time()}
    run.save_figures(final)
