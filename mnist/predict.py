"""What the trained classifiers say of your own picture of a digit.

The picture may be of any size, dark on light or light on dark, in colour, with transparency. It is
brought to the form of MNIST's images, and every classifier that has been trained says which three
digits are the likeliest, and how likely.

python mnist/predict.py my-seven.jpg
python mnist/predict.py --show scan-1.png scan-2.png     # with what the classifiers see
python mnist/predict.py --calibration                    # how far the probabilities are off
"""

import argparse
import importlib
import sys
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.batches import predict
from common.calibration import calibration_error, error_by_chance, fit_temperature
from common.mnist import mnist
from common.own_digits import read_digit
from common.run import ROOT, Parser, command_for, echo, find_device, shown
from common.weights import load_weights

# The classifiers' scripts, each with its network and the temperature that its logits are divided
# by, or else its probabilities would be too modest (ConvNet, with its dropout before the pooling)
# or too sure of themselves. Fitted by --calibration on the last 10,000 training images, which the
# network had not seen: `python mnist/NAME.py --validate --out DIR`, then
# `python mnist/predict.py --calibration --out DIR`. That of swa was fitted to conv with the dropout
# of swa, and that of simple and wsimple after three epochs of simple.
CLASSIFIERS = {
    "logit": ("Logit", 0.994),
    "linear": ("Linear", 1.113),
    "conv": ("ConvNet", 0.571),
    "swa": ("ConvNet", 0.48),
    "simple": ("SimpNet", 0.708),
    "wsimple": ("SimpNet", 0.708),
    "lstm": ("RowLSTM", 1.607),
}
GREYS = " .:-=+*#%@"


def trained_classifiers(out: Path, device: torch.device) -> tuple[dict[str, nn.Module], list[str]]:
    """Return the networks whose weights are in a folder, by the name of their script.

    And a line for each file of weights that cannot be read, or does not fit its script.
    """
    models, refused = {}, []
    for name, (network, _) in CLASSIFIERS.items():
        path = out / f"{name}.pt"
        try:
            if path.exists():
                kind = getattr(importlib.import_module(f"mnist.{name}"), network)
                models[name] = load_weights(kind, path).to(device)
        except OSError as error:
            refused.append(f"cannot read {path}: {error.strerror}")
        except ValueError as error:
            refused.append(str(error))
    return models, refused


def probabilities(name: str, model: nn.Module, x: Tensor) -> Tensor:
    """Return a classifier's calibrated probabilities of images (n, 1, 28, 28): (n, 10) float64.

    They are on the CPU, wherever the network is.
    """
    logits = predict(model, x).cpu().double()  # not every accelerator has float64
    return (logits / CLASSIFIERS[name][1]).softmax(1)


def opinions(of_models: dict[str, Tensor]) -> list[str]:
    """Return a line for each model, and the verdict if there are several.

    Args:
        of_models: by the name of the model, its probabilities, (10,).
    """
    lines, votes, sureness = [], Counter[int](), torch.zeros(10)
    for name, of_digits in of_models.items():
        likeliest = of_digits.topk(3)
        pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        lines.append(f"  {name:8}" + "   ".join(f"{digit} {share:7.2%}" for digit, share in pairs))
        votes[int(likeliest.indices[0])] += 1
        sureness += of_digits
    if len(of_models) > 1:
        # Of digits with as many votes, the one that all models together think likelier.
        digit = max(votes, key=lambda digit: (votes[digit], sureness[digit].item()))
        lines.append(f"  verdict {digit}, by {votes[digit]} of {len(of_models)} models")
    return lines


def calibration(name: str, model: nn.Module, out: Path, data: dict[str, Tensor]) -> str:
    """Return the line that tells a classifier's temperature and what it is good for.

    The temperature is fitted, if the log is of a finished run with --validate; else it is the one
    in CLASSIFIERS.

    Raises:
        OSError: there is a log, but it cannot be read.
    """
    temperature, source = CLASSIFIERS[name][1], "as in predict.py"
    y, y_test = data["y"], data["Y"]
    path = out / f"{name}.log"
    log = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    # Until a run has ended, the weights are an older run's.
    if "held-out training images" in log and "\nweights: " in log:
        held_out = predict(model, data["x"][-10000:]).cpu()
        try:
            temperature = fit_temperature(held_out, y[-10000:])
            source = f"fitted on {len(held_out):,} held-out training images"
        except ValueError as error:
            source += f" ({error})"
    logits = predict(model, data["X"]).cpu()
    calibrated, raw = ((logits / number).softmax(1) for number in (temperature, 1))
    with_it, without = (100 * calibration_error(x, y_test) for x in (calibrated, raw))
    return (
        f"{name:8}temperature: {temperature:.3f}, {source}"
        f"  calibration error on {len(logits):,} test images: {with_it:.2f}%"
        f" ({without:.2f}% without, {100 * error_by_chance(calibrated):.2f}% by chance alone)"
    )


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("images", type=Path, nargs="*", metavar="IMAGE", help="pictures, each of one digit")
    add("--show", action="store_true", help="print the 28 x 28 pixels that the classifiers see")
    add(
        "--calibration",
        action="store_true",
        help="measure on the test images how far the probabilities are off; fit the temperatures"
        " of networks that were trained with --validate",
    )
    add(
        "--device",
        type=find_device,
        default="auto",
        metavar="NAME",
        help="cpu, cuda, mps, xpu, or auto: the accelerator that torch finds, else the CPU"
        " (default: auto)",
    )
    add(
        "--data",
        type=Path,
        default=ROOT / "mnist/data",
        metavar="DIR",
        help="the IDX files, for --calibration (default: %(default)s)",
    )
    add(
        "--out",
        type=Path,
        default=ROOT / "mnist/out",
        metavar="DIR",
        help="the trained weights (default: %(default)s)",
    )
    args = parser.parse_intermixed_args()  # flags may stand between pictures
    if not args.images and not args.calibration:
        parser.error("give a picture of a digit")
    return args


def main() -> None:
    args = arguments()
    models, refused = trained_classifiers(args.out, args.device)
    for line in refused:
        print(f"predict: {line}", file=sys.stderr)
    if not models:
        if refused:  # the reasons stand above
            raise SystemExit(1)
        raise SystemExit(
            f"predict: no trained classifier in {shown(args.out)};"
            f" {command_for('conv --epochs 1', args.out)} trains one"
        )
    try:
        if args.calibration:
            data = {key: torch.from_numpy(array) for key, array in mnist(args.data).items()}
    except (OSError, ValueError) as error:
        raise SystemExit(f"predict: {error}") from None

    failed = bool(refused)
    for path in args.images:
        try:
            digit = read_digit(path)
        except (OSError, ValueError) as error:
            told = f"cannot read {path}: {error.strerror}" if isinstance(error, OSError) else error
            print(f"predict: {told}", file=sys.stderr)
            failed = True
            continue
        echo(shown(path))
        if args.show:
            for row in digit:
                echo("".join(GREYS[pixel * len(GREYS) // 256] for pixel in row.tolist()))
        x = torch.from_numpy(digit)[None, None].to(args.device)
        for line in opinions({name: probabilities(name, models[name], x)[0] for name in models}):
            echo(line)

    if args.calibration:
        for key in "xX":
            data[key] = data[key].unsqueeze(1).to(args.device)
        for key in "yY":
            data[key] = data[key].long()
        for name, model in models.items():
            try:
                echo(calibration(name, model, args.out, data))
            except OSError as error:
                path = args.out / f"{name}.log"
                print(f"predict: cannot read {path}: {error.strerror}", file=sys.stderr)
                failed = True
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
