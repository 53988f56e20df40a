"""How good generated digits are, as a trained classifier sees them; a GAN's GIF and curves."""

import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import imageio.v3 as imageio
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from common.batches import accuracy, draw, scaled
from common.calibration import fit_temperature
from common.checkpoint import load_weights, write_whole
from common.errors import InputError
from common.flags import shown
from common.grid import makegrid
from common.run import Run

TITLES = {
    "asked": "digit as asked",
    "distance": "Frechet distance",
    "rarest": "rarest digit",
    "inception": "Inception Score",
}


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


def inception_score(probabilities: Tensor) -> float:
    """Return the Inception Score: 1 at the worst, at the best the number of classes.

    exp of the mean Kullback-Leibler divergence of an image's probabilities, (n, classes), from the
    mean of all images: high where each image is clearly of one class, and no class is rare.
    Source: Salimans et al. 2016, https://arxiv.org/abs/1606.03498
    """
    of_image = torch.special.entr(probabilities).sum(1).mean()
    of_all = torch.special.entr(probabilities.mean(0)).sum()
    return (of_all - of_image).exp().item()  # the mean divergence is the entropies' difference


class Judge:
    """A trained classifier that scores generated digits by what enters and leaves its last layer.

    Attributes:
        temperature: calibrates the Inception Score's probabilities; fitted on the test images.
        unit: the Fréchet distance between training and test images.
        reference: the scores of the test images; 1 for the distance.
    """

    def __init__(
        self, run: Run, classifier: nn.Sequential, x_train: Tensor, x_test: Tensor, y_test: Tensor
    ) -> None:
        """Score the real images: uint8, of x_train as many as will be generated.

        Raises InputError if the classifier sees no difference between training and test images.
        """
        *hidden, self._last = classifier.eval()
        self._run, self._hidden = run, nn.Sequential(*hidden)
        features, logits = self._look(x_test)
        self._real = moments(features)
        self.temperature = fit_temperature(logits, y_test.cpu())
        self.unit = frechet_distance(moments(self._look(x_train)[0]), self._real)
        if self.unit <= 1e-9 * self._real[1].trace():  # smaller ones are rounding errors
            raise InputError(f"the judge sees no difference between training and {run.tested}")
        self.reference = {**self.rate(x_test, y_test), "distance": 1.0}

    @torch.no_grad()
    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, (n, d), and logits, (n, classes), float32 on the CPU."""
        features = torch.cat([self._hidden(scaled(part)) for part in images.split(250)])
        return features.cpu(), self._last(features).cpu()

    def rate(self, images: Tensor, asked: Tensor | None = None) -> dict[str, float]:
        """Return the scores of images, (n, c, h, w) uint8, by name.

        "asked": percentage read as the digit asked for, if these are given, (n,) int64.
        "distance": Fréchet distance from the test images, as a multiple of `unit`.
        "rarest": percentage of the digit that is read least often.
        "inception": Inception Score.
        """
        features, logits = self._look(images)
        counts = logits.argmax(1).bincount(minlength=logits.shape[1])
        return {
            **({} if asked is None else {"asked": accuracy(logits, asked.cpu())}),
            "distance": frechet_distance(moments(features), self._real) / self.unit,
            "rarest": 100 * counts.min().item() / len(images),
            "inception": inception_score((logits / self.temperature).softmax(1).double()),
        }

    def log_scores(self, generator: nn.Module, *inputs: Tensor) -> dict[str, float]:
        """Log the scores of a generator's images; return them and their time, "score_seconds".

        The inputs are latent vectors, (n, ...), and, if the generator takes them, digits, (n,).
        """
        start = time.perf_counter()
        scores = self.rate(draw(generator, self._run.autocast, *inputs), *inputs[1:])
        units = {"asked": "%", "distance": " (training images: 1)", "rarest": "%"}
        units["inception"] = f" ({self._run.tested}: {self.reference['inception']:.2f})"
        texts = [f"{TITLES[name]}: {score:.2f}{units[name]}" for name, score in scores.items()]
        scores["score_seconds"] = time.perf_counter() - start
        self._run.log(" " * 10 + "  ".join(texts), **scores)
        return scores


def trained_judge(
    run: Run, kind: Callable[[], nn.Sequential], x_train: Tensor, x_test: Tensor, y_test: Tensor
) -> Judge | None:
    """Return the judge with the weights of `out/conv.pt`, and describe it in the run's header.

    If they are missing or useless, print a line to stderr and return None. `kind` is the
    classifier's class. The images are uint8; the first 10,000 of x_train are used.
    """
    path, x_train = run.out / "conv.pt", x_train[:10_000]
    try:
        with torch.random.fork_rng([]):  # the run is the same with a judge and without
            classifier = kind()
        load_weights(classifier, path)
        judge = Judge(run, run.place(classifier, load=False), x_train, x_test, y_test)
    except (OSError, InputError) as error:
        reason = error if path.exists() else f"no {shown(path)}; mnist/conv.py trains it"
        print(f"{run.name}: no scores of the digits: {reason}", file=sys.stderr)
        return None
    run.header["judge"] = (
        f"{shown(path)}, {judge.reference['asked']:.2f}% of the {run.tested} read right,"
        f" temperature {judge.temperature:.3f}; Frechet distance of {len(x_train):,} training"
        f" images: {judge.unit:.3f}"
    )
    return judge


def curves(figures: Sequence[Mapping[str, float]], reference: Mapping[str, float]) -> bytes:
    """Return a PNG of the epochs' losses and scores; `reference` has the scores of real images."""
    scores = [name for name in reference if name in figures[-1]]
    figure = Figure(figsize=(6.4, 1.8 * len(scores) + 2.4), layout="constrained")
    axes = figure.subplots(1 + len(scores), sharex=True, squeeze=False)[:, 0]
    for name in ("discriminator_loss", "generator_loss", *scores):
        ax = axes[scores.index(name) + 1 if name in scores else 0]
        label = "generated" if name in scores else name.removesuffix("_loss")
        ax.plot(range(1, len(figures) + 1), [row[name] for row in figures], ".-", label=label)
        if name in scores:
            ax.axhline(reference[name], color="grey", linestyle="--", label="real")
        ax.set_title(TITLES.get(name, "median loss"), loc="left", fontsize="medium")
        ax.set_yscale("log" if name == "distance" else "linear")
        ax.grid(visible=True, alpha=0.3)
        ax.legend()
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def finish_gan(run: Run, generator: nn.Module, judge: Judge | None, *inputs: Tensor) -> None:
    """Write a GAN's GIF, curves, weights and final figures; log paths and time.

    With `--evaluate`, draw the first 100 `inputs` (see `Judge.log_scores`) and score all.
    """
    if run.flags.evaluate:
        images = draw(generator, run.autocast, *(rows[:100] for rows in inputs))
        run.save_picture(".png", makegrid(images.squeeze(1).cpu().numpy(), 10, 10))
        scores = judge.log_scores(generator, *inputs) if judge else {}
        run.log(f"Generated digits: {shown(run.path('.png'))}")
        run.save_figures({**scores, **run.log_time()})
        return
    pictures = [run.path(f"{epoch:02}.png") for epoch in range(1, run.flags.epochs + 1)]
    frames = [imageio.imread(path) for path in pictures if path.exists()]
    gif = imageio.imwrite("<bytes>", frames, extension=".gif", duration=1000, loop=0)
    write_whole(run.path(".gif"), gif)
    write_whole(run.path("-course.png"), curves(run.figures, judge.reference if judge else {}))
    run.log()
    names = f"{pictures[0].name} - {pictures[-1].name}, {run.name}.gif"
    run.log(f"Generated digits in dir {shown(run.out)}, {names}")
    run.log(f"course of losses and scores: {shown(run.path('-course.png'))}")
    final = run.log_time()
    if judge:
        seconds = sum(epoch["score_seconds"] for epoch in run.figures)
        run.log(f"seconds of the scores: {seconds:.1f} of these")
        final |= {name: run.figures[-1][name] for name in TITLES if name in run.figures[-1]}
    run.save_weights(generator)
    run.save_figures(final)
