"""The classifiers that a user has trained, and what they say of images."""

import json
import math
import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from common import data
from common.batches import accuracy, predict
from common.checkpoint import load_weights
from common.errors import InputError
from common.files import write_whole
from common.flags import ROOT, shown
from common.mnist import MNIST_HASH
from common.record import PUBLISHED, read_figures
from common.weights import check_weights


class Classifier(NamedTuple):
    """A trained network, and what its run's `NAME.json` says of it."""

    name: str
    date: str  # of its run's start
    model: nn.Module
    classes: list[str]  # in the order of the logits
    accuracy: float  # percent
    temperature: float  # divides the logits to calibrate the probabilities
    unsure: float  # a lower probability is answered with "?"
    data: dict[str, Any]  # what the header says of the images: nothing in older versions


def load_classifiers(
    out: Path, device: torch.device, or_published: bool = True
) -> list[Classifier]:
    """Return the networks of all finished classifiers of one data set in a folder, by name.

    The data set is MNIST, or else that of the newest run. Others, those for images that are not
    (1, 28, 28), and those with damaged files or a script that does not fit are left out, with a
    line on stderr. If there is none at all, they are the published ones, and a line says so. If
    none is left, InputError is raised.
    """
    found, left_out = list[Classifier](), list[str]()
    own = {path.stem: path for path in sorted(out.glob("*.json"))}
    weights = sorted(PUBLISHED.glob("*/*.pt"))
    published = {path.parent.name: path.with_suffix(".json") for path in weights}
    for runs in (own, published) if or_published else (own,):
        if found or left_out:
            break
        for name, path in runs.items():
            try:
                found += _finished(name, path, device)
            except (Exception, SystemExit) as error:  # a script raises whatever it likes
                kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                reason = " ".join(str(error).split())[:300]
                left_out.append(f"{name} is left out: {kind}{reason}")
        if found and runs is published:
            names = ", ".join(one.name for one in found)
            left_out.append(f"no trained classifier in {shown(out)}: published ones read ({names})")
    if not found:
        hint = f"no trained classifier in {shown(out)}: run python mnist/conv.py first"
        raise InputError("; ".join(left_out) or hint)
    newest = max(found, key=lambda one: one.date).data.get("hash")
    chosen = MNIST_HASH if any(one.data.get("hash") == MNIST_HASH for one in found) else newest
    others = [one.name for one in found if one.data.get("hash") != chosen]
    left_out += [f"{name} is left out: its data is not the others', or unknown" for name in others]
    print(*(f"{line}\n" for line in left_out), sep="", end="", file=sys.stderr)
    return [one for one in found if one.name not in others]


def _finished(name: str, path: Path, device: torch.device) -> list[Classifier]:
    """Return the classifier of a run, or nothing if the run has not ended, or is a generator's."""
    header, _, final = read_figures(path)
    if not final or "temperature" not in final or not path.with_suffix(".pt").exists():
        return []
    if header["shape"] != [1, 28, 28]:
        raise InputError("it takes images of another shape")
    model, classes = trained(path)[0].to(device), header["classes"]
    a, t, u = (final[figure] for figure in ("accuracy", "temperature", "unsure"))
    one = Classifier(name, header["date"], model, classes, a, t, u, header.get("data") or {})
    if probabilities(one, torch.zeros(1, 1, 28, 28)).shape != (1, len(classes)):
        raise InputError(f"its network is not for {len(classes)} classes")
    return [one]


def load_reader(out: Path, like: Classifier) -> Classifier | None:
    """Return number.py's network for the data of a classifier: a folder's or the published one.

    Of two, it is the one that reads more numbers: a quick try would make sure answers wrong. A
    damaged one is left out, with a line on stderr.
    """
    found = list[tuple[float, Classifier]]()
    for path in (out / "number.json", PUBLISHED / "number/seed-0.json"):
        try:
            if path.exists() and path.with_suffix(".pt").exists():
                model, header, final = trained(path)
                if (header.get("data") or {}).get("hash") == like.data.get("hash"):
                    model = model.to(next(like.model.parameters()).device)
                    found.append((final["read"], like._replace(name="number", model=model)))
        except (Exception, SystemExit) as error:  # a script raises whatever it likes
            print(f"number is left out: {' '.join(str(error).split())[:300]}", file=sys.stderr)
    return max(found, key=lambda one: one[0])[1] if found else None


def trained(path: Path) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """Return a finished run's network with its weights, and header and final of its `NAME.json`."""
    header, _, final = read_figures(path)
    if not final or "script" not in header:
        raise InputError(f"{shown(path)}: no network's run, or one that has not ended")
    check_weights(path.with_suffix(".pt"))
    network = final.get("network") or header.get("network", "")  # of older versions
    model = build(ROOT / header["script"], network)
    load_weights(model, path.with_suffix(".pt"))
    return model.eval(), header, final


def build(script: Path, network: str) -> nn.Module:
    """Return a network of a class that a script in the folder mnist defines; no other is run."""
    if script.resolve().parent != ROOT / "mnist":
        raise InputError(f"{shown(script)} is not in the folder mnist: copy it there")
    if re.search(r"^main\(", script.read_text(encoding="utf-8"), re.MULTILINE):
        raise InputError(f'{shown(script)} lacks if __name__ == "__main__":')
    kind = runpy.run_path(str(script)).get(network)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise InputError(f"{shown(script)} has no network {network} any more: train it anew")
    return kind()


def probabilities(classifier: Classifier, x: Tensor) -> Tensor:
    """Return calibrated probabilities, (n, classes) float64 on the CPU, of (n, 1, 28, 28) uint8.

    Light digits on dark, 0 to 255, become images like those on which the network was trained.
    """
    if data := classifier.data:
        ink = x / 255 if data["dark"] else 1 - x / 255
        x = data["low"] + (data["high"] - data["low"]) * ink
        x = x.round().to(torch.uint8) if data["dtype"] == "uint8" else x
    device = next(classifier.model.parameters()).device
    logits = predict(classifier.model, x.to(device)).cpu().double()
    return (logits / classifier.temperature).softmax(1)


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """Return what to divide logits, (n, classes), by to calibrate them (Guo et al. 2017)."""
    if bool((logits.argmax(1) == y).all()):
        return 1.0  # the lower, the better

    def loss(log_temperature: float) -> float:
        return cross_entropy(logits / math.exp(log_temperature), y).item()

    return math.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x)


def data_of(header: Mapping[str, Any], source: Path) -> data.Data:
    """Return the data of a run, read anew, with the test images that it was tested on."""
    given = re.findall(r" --limit[ =](\d+)", header["command"])  # a part has its own hash
    found = data.load(
        source,
        tuple(header["shape"]),
        len(header["classes"]),
        int(given[-1]) if given else None,
        validate=header["test set"] == "held-out training images",
        ink="--ink" in header["command"].split(),
    )
    n = header["tested"]
    return found._replace(x_test=found.x_test[:n], y_test=found.y_test[:n])


def calibrate(classifier: Classifier, out: Path, source: Path) -> str:
    """Fit temperature and bound of "unsure" to a run's test set; write both to its `NAME.json`."""
    path = out / f"{classifier.name}.json"
    run = read_figures(path)
    _, _, x, y, _, about = data_of(run.header, source)
    plain = classifier._replace(temperature=1, data={})  # x is as the network takes it
    temperature = fit_temperature(probabilities(plain, x).log(), y)
    shares = probabilities(plain._replace(temperature=temperature), x)
    likeliest, predicted = shares.max(1)
    other = classifier.data.get("hash", about["hash"]) != about["hash"]
    if other or abs(accuracy(shares, y) - classifier.accuracy) > 0.5:
        return f"{path.stem:8}was tested on other images than those of {shown(source)}: unchanged"
    if not (predicted == y).any():
        return f"{path.stem:8}misread all images of {shown(source)}: unchanged"
    unsure = likeliest[predicted == y].quantile(0.005).item()  # 0.5 % of those read right
    final = {**(run.final or {}), "temperature": temperature, "unsure": unsure}
    write_whole(path, json.dumps(run._replace(final=final)._asdict(), indent=1).encode())
    return f"{path.stem:8}temperature: {temperature:.3f}  unsure: below {unsure:.3f}"
