"""Probabilities that mean what they say, and the bound below which an answer is unsure.

Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks",
https://arxiv.org/abs/1706.04599.
"""

import math

from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """Return the number by which to divide logits so that their cross entropy is lowest.

    It is 1 if no image is misread: then the lower, the better.

    Args:
        logits: (n, classes), of images that the network was not trained on.
        y: (n,) int64, their labels.
    """
    if bool((logits.argmax(1) == y).all()):
        return 1.0
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        return cross_entropy(logits / math.exp(log_temperature), y).item()

    return math.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x)


def fit_unsure(probabilities: Tensor, y: Tensor, share: float = 0.005) -> float:
    """Return the probability below which an answer is unsure.

    Args:
        probabilities: (n, classes), calibrated.
        y: (n,) int64, the labels.
        share: of the images that are read right, those that may be called unsure.
    """
    likeliest, predicted = probabilities.max(1)
    return likeliest[predicted == y].quantile(share).item()


def calibration_error(probabilities: Tensor, y: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error, 0 to 1.

    Images are put into bins of equal width by the probability of their likeliest class. The error
    is the mean over all images of how far the accuracy of their bin is from its mean probability.

    Args:
        probabilities: (n, classes), each row of sum 1.
        y: (n,) int64, the labels.
        bins: between 0 and 1.
    """
    likeliest, predicted = probabilities.double().max(1)
    surplus = likeliest - (predicted == y).double()
    bin_of = (likeliest * bins).long().clamp(max=bins - 1)
    # A bin's difference weighted by its share of the images is the sum of its surpluses over n.
    sums = surplus.new_zeros(bins).index_add(0, bin_of, surplus)
    return sums.abs().sum().item() / len(y)
