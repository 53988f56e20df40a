"""Probabilities that mean what they say: one temperature a network, and how far off they are.

Method and measure: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks",
2017, https://arxiv.org/abs/1706.04599.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """Return the number that logits are to be divided by, so that their loss is lowest.

    Args:
        logits: (n, classes), of images that the network was not trained on: it is surer of those
            that it was, and so too sure of all others.
        y: (n,) int64, their labels.

    Raises:
        ValueError: no image is misread: the surer, the better, and no temperature is the best.
    """
    if bool((logits.argmax(1) == y).all()):
        raise ValueError(f"a temperature cannot be fitted: none of {len(y)} images is misread")
    logits = logits.double()
    log_temperature = torch.zeros((), dtype=torch.double, device=logits.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss_and_gradient() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(logits / log_temperature.exp(), y)
        loss.backward()
        return loss

    optimizer.step(loss_and_gradient)
    return log_temperature.exp().item()


def calibration_error(probabilities: Tensor, y: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error, 0 to 1.

    Images are put into bins of equal width by the probability of their likeliest class. The error
    is the mean over all images of how far the accuracy of their bin is from its mean probability.

    Args:
        probabilities: (n, classes), each row of sum 1.
        y: (n,) int64, the labels.
        bins: between 0 and 1.
    """
    confidence, predicted = probabilities.double().max(1)
    surplus = confidence - (predicted == y).double()
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    # A bin's difference weighted by its share of the images is the sum of its surpluses over n.
    sums = surplus.new_zeros(bins).index_add(0, bin_of, surplus)
    return sums.abs().sum().item() / len(y)


def error_by_chance(probabilities: Tensor, bins: int = 15, draws: int = 200) -> float:
    """Return the calibration error, 0 to 1, that probabilities show if they are exactly right.

    Accuracy is counted on a finite number of images, so even then a bin's is off by chance, and the
    error, a sum of absolute values, is above 0: the less sure the network, the more. This is the
    mean error over several sets of labels that are drawn by the probabilities themselves.

    Args:
        probabilities: (n, classes), each row of sum 1.
        bins: as for `calibration_error`.
        draws: sets of labels.
    """
    random = torch.Generator().manual_seed(0)
    labels = torch.multinomial(probabilities.cpu(), draws, replacement=True, generator=random)
    errors = [calibration_error(probabilities.cpu(), y, bins) for y in labels.T]
    return sum(errors) / draws
