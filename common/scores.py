"""How good generated digits are, in numbers: a trained classifier judges them."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.batches import draw, joined, scaled
from common.calibration import fit_temperature
from common.run import Run, command_for, shown
from common.weights import load_weights

ASKED, DISTANCE, RAREST, INCEPTION = (
    "digit as asked",
    "Frechet distance",
    "rarest digit",
    "Inception Score",
)
SECONDS = "seconds of the scores"


class Gaussian(NamedTuple):
    """The normal distribution of the mean and covariance of some vectors.

    Attributes:
        mean: (d,) float64.
        factor: (k, d) float64; factor.T @ factor is the covariance.
    """

    mean: Tensor
    factor: Tensor


def gaussian(vectors: Tensor) -> Gaussian:
    """Return the normal distribution of the mean and covariance of vectors, (n, d)."""
    mean = vectors.mean(0, dtype=torch.double)
    factor = mean.new_zeros(0, len(mean))
    for part in vectors.split(1000):  # in double, all at once would take far more memory
        deviations = (part - mean).div_(math.sqrt(max(len(vectors) - 1, 1)))
        factor = torch.linalg.qr(torch.cat([factor, deviations]), mode="r").R
    return Gaussian(mean, factor)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Return the Fréchet distance of two normal distributions, squared as is the custom.

    |mean_a - mean_b|^2 + trace(A + B - 2 (A B)^1/2), with covariances A and B. A = F^T F and
    B = G^T G, so the eigenvalues of A B are those of (F G^T) (F G^T)^T, and the trace of its root
    is the sum of the singular values of F G^T: no root of a covariance is taken, which loses half
    of the digits where a unit never fires and the covariance is singular.

    Source: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, "GANs Trained by a Two
    Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017,
    https://arxiv.org/abs/1706.08500.
    """
    means = (a.mean - b.mean).square().sum()
    traces = a.factor.square().sum() + b.factor.square().sum()
    return (means + traces - 2 * torch.linalg.svdvals(a.factor @ b.factor.T).sum()).item()


def inception_score(probabilities: Tensor) -> float:
    """Return the Inception Score: 1 at the worst, at the best the number of classes.

    exp of the mean Kullback-Leibler divergence of an image's probabilities from those of all: high
    where each image is clearly of one class, and the classes are equally frequent.

    Args:
        probabilities: (n, classes), each row of sum 1.

    Source: Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, "Improved Techniques for
    Training GANs", 2016, https://arxiv.org/abs/1606.03498.
    """
    probabilities = probabilities.double()
    of_image = torch.special.entr(probabilities).sum(1).mean()
    of_all = torch.special.entr(probabilities.mean(0)).sum()
    return (of_all - of_image).exp().item()  # the mean divergence is the entropies' difference


def smallest_share(digits: Tensor) -> float:
    """Return how many of the digits, (n,) int64, are the rarest of 0 to 9: 0 to 0.1."""
    return digits.bincount(minlength=10).min().item() / len(digits)


class Judge:
    """A trained classifier that scores generated digits.

    Its probabilities, which the Inception Score needs, are calibrated by a temperature that is
    fitted on the test images, which the classifier was not trained on (with --validate, on those
    that were held out, if it was trained with --validate, too): they serve as a yardstick here, and
    no figure of the classifier's own depends on it.

    Attributes:
        temperature: what its logits are divided by.
        unit: the Fréchet distance of training images from the test images.
        reference: the scores of the test images, in the form of `scores`; of the distance, 1.
    """

    def __init__(
        self,
        classifier: nn.Sequential,
        x_train: Tensor,
        x_test: Tensor,
        y_test: Tensor,
        tested: str = "test images",
    ) -> None:
        """Look at the real images.

        Args:
            classifier: images (n, 1, 28, 28) from -1 to 1 to logits (n, 10); what comes into its
                last layer are the features in which the distance is taken.
            x_train: (n, 1, 28, 28) uint8, as many as will be generated.
            x_test: (n, 1, 28, 28) uint8.
            y_test: (n,) int64.
            tested: what the last two are, in words.

        Raises:
            ValueError: the training images' features are no distance from the test images': the
                classifier tells no images apart, or both are the same images.
        """
        self._tested = tested
        classifier.eval()
        *hidden, self._last = classifier
        self._hidden = nn.Sequential(*hidden)
        features, logits = self.look(x_test)
        y_test = y_test.cpu()
        predicted = logits.argmax(1)
        try:
            self.temperature = fit_temperature(logits, y_test)
        except ValueError:  # nothing misread: no temperature is the best
            self.temperature = 1.0
        self._test = gaussian(features)
        self.unit = frechet_distance(gaussian(self.look(x_train)[0]), self._test)
        if not self.unit > 1e-9 * self._test.factor.square().sum():  # but for rounding 0
            raise ValueError(
                f"the classifier sees no difference between training and {tested}, or there is none"
            )
        self.reference = {
            ASKED: 100 * (predicted == y_test).double().mean().item(),
            DISTANCE: 1.0,
            RAREST: 100 * smallest_share(predicted),
            INCEPTION: inception_score((logits / self.temperature).softmax(1)),
        }

    @torch.no_grad()
    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features, (n, d), and the logits, (n, 10), float32 on the CPU.

        Args:
            images: (n, 1, 28, 28) uint8.
        """
        parts = (self._hidden(scaled(part)) for part in images.split(250))
        features = joined(parts, len(images))
        return features.cpu(), self._last(features).cpu()

    def scores(self, images: Tensor, asked: Tensor | None = None) -> dict[str, float]:
        """Return the scores of generated digits by name.

        "digit as asked": the percentage that the classifier reads as the digit that was asked for,
        if that is given. "Frechet distance": of its features from those of the test images, as a
        multiple of `unit`. "rarest digit": the percentage of the digit that it reads least often.
        "Inception Score": of its calibrated probabilities.

        Args:
            images: (n, 1, 28, 28) uint8.
            asked: (n,) int64.
        """
        features, logits = self.look(images)
        predicted = logits.argmax(1)
        share = {}
        if asked is not None:
            share[ASKED] = 100 * (predicted == asked.cpu()).double().mean().item()
        return {
            **share,
            DISTANCE: frechet_distance(gaussian(features), self._test) / self.unit,
            RAREST: 100 * smallest_share(predicted),
            INCEPTION: inception_score((logits / self.temperature).softmax(1)),
        }

    def line(self, scores: Mapping[str, float]) -> str:
        """Return the line of the log that tells the scores."""
        asked = f"{ASKED}: {scores[ASKED]:.2f}%  " if ASKED in scores else ""
        return (
            f"          {asked}{DISTANCE}: {scores[DISTANCE]:.2f} (training images: 1)"
            f"  {RAREST}: {scores[RAREST]:.2f}%"
            f"  {INCEPTION}: {scores[INCEPTION]:.2f}"
            f" ({self._tested}: {self.reference[INCEPTION]:.2f})"
        )


def trained_judge(
    run: Run, kind: Callable[[], nn.Sequential], x_train: Tensor, x_test: Tensor, y_test: Tensor
) -> Judge | None:
    """Return the judge with the weights of `out/conv.pt`, and tell of it in the log's header.

    None, and a line to stderr, if they are not there, or are of no use.

    Args:
        run: the run whose digits are to be judged.
        kind: the classifier's class.
        x_train: (n, 1, 28, 28) uint8, of which the first 10,000 are taken.
        x_test: (n, 1, 28, 28) uint8.
        y_test: (n,) int64.
    """
    path = run.args.out / "conv.pt"
    x_train = x_train[:10_000]
    try:
        classifier = run.place(load_weights(kind, path))
        judge = Judge(classifier, x_train, x_test, y_test, run.tested)
    except (OSError, ValueError) as error:
        reason = f"no {shown(path)}" if isinstance(error, FileNotFoundError) else str(error)
        print(
            f"{run.name}: no scores of the digits: {reason}"
            f" ({command_for('conv', run.args.out)} trains it)",
            file=sys.stderr,
        )
        return None
    run.header.append(
        f"judge: {shown(path)}, {judge.reference[ASKED]:.2f}% of the {run.tested} read right,"
        f" temperature {judge.temperature:.3f}; {DISTANCE} of {len(x_train):,} training images:"
        f" {judge.unit:.3f}"
    )
    return judge


def log_scores(
    run: Run, judge: Judge | None, generator: nn.Module, latent: Tensor, *asked: Tensor
) -> dict[str, float]:
    """Log the scores of a generator's digits and return them by name; none without a judge.

    With them come the seconds that they took, under the name `SECONDS`.

    Args:
        run: the run, to whose log the line goes.
        judge: gives the scores.
        generator: draws the digits.
        latent: (n, 100, 1, 1), what it draws them from.
        asked: (n,) int64, which digits it is asked for, if it can be asked.
    """
    if judge is None:
        return {}
    start = time.perf_counter()
    scores = judge.scores(draw(generator, run.autocast, latent, *asked), *asked)
    run.log(judge.line(scores))
    return {**scores, SECONDS: time.perf_counter() - start}
