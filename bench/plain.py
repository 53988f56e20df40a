"""The usual way to write seven of the scripts, to measure them against.

python bench/plain.py conv --epochs 2 --limit 5000

TensorDataset and DataLoader, torch's own dropout and layout, an optimizer that is not fused, and
`.item()` in each step. Network, loss, optimizer and batch size are the script's in a short run.
Changes of the images, and a GAN's schedules, average of weights and judge are left out.
"""

import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.batches import pixels, scaled
from common.data import load
from common.dropout import Dropout
from common.errors import clear_errors
from common.flags import ROOT, positive, script_parser
from common.mnist import makegrid
from common.record import Record
from mnist import cgan, gan, linear, logit, lstm, plain, simple

SIZES = {"logit": 100, "linear": 100, "conv": 125, "simple": 100, "lstm": 60, "gan": 60, "cgan": 60}
Batches = DataLoader[tuple[Tensor, ...]]
Figures = Iterator[dict[str, float]]


def main(argv: list[str] | None = None) -> None:
    flags = parse(argv, SIZES, __doc__)
    name, size = flags.name, SIZES[flags.name]
    with clear_errors("plain"):
        x_train, y_train, x_test, y_test = load(flags.data, (1, 28, 28), 10, flags.limit)[:4]
        train: Batches = DataLoader(TensorDataset(scaled(x_train), y_train), size, shuffle=True)
        test: Batches = DataLoader(TensorDataset(scaled(x_test), y_test), size)
        record = Record(f"plain-{name}", flags.out)
        torch.manual_seed(0)
        if "gan" in name:
            epochs = train_gan(name, flags.epochs, train, record)
        else:
            epochs = train_classifier(name, flags.epochs, train, test)
        save_timed(epochs, record)


def parse(argv: list[str] | None, names: Iterable[str], description: str | None) -> Namespace:
    """Return the flags of a program that trains what one of the names says."""
    parser, count = script_parser(logit.__file__, description), positive(int)
    parser.add_argument("name", choices=names)
    parser.add_argument("--epochs", type=count, default=1, metavar="N", help="default: 1")
    parser.add_argument("--limit", type=count, metavar="N", help="as in the scripts")
    parser.add_argument("--data", type=Path, default=ROOT / "mnist/data", help="as in the scripts")
    return parser.parse_args(argv)


def save_timed(epochs: Figures, record: Record) -> None:
    """Write each epoch's figures, and its seconds, to the record's files."""
    start = time.perf_counter()
    for number, figures in enumerate(epochs, 1):
        spent = time.perf_counter() - start
        record.figures.append({"epoch": number, **figures, "seconds": spent})
        record.log(f"{record.figures[-1]}")
        start = time.perf_counter()
    record.save_figures()


def train_classifier(name: str, epochs: int, train: Batches, test: Batches) -> Figures:
    """Yield the training loss and test accuracy of each epoch."""
    if name == "logit":
        model: nn.Module = logit.Logit()
        optimizer: Optimizer = torch.optim.SGD(model.parameters(), 0.1)
    elif name == "linear":
        model = linear.Linear()
        optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=1e-4, nesterov=True)
    elif name == "conv":
        model = plain.ConvNet()
        optimizer = torch.optim.AdamW(model.parameters(), 0.004, weight_decay=0.05)
    elif name == "simple":
        model = simple.SimpNet(0.05)
        for place, layer in model.named_children():
            if isinstance(layer, Dropout):
                setattr(model, place, nn.Dropout(layer.p))
        optimizer = torch.optim.AdamW(model.parameters(), 0.005, (0.9, 0.99), weight_decay=0.1)
    else:
        model = lstm.RowLSTM()
        optimizer = torch.optim.AdamW(model.parameters(), 0.003, weight_decay=0.01)
    steps = max(epochs * len(train), 6)
    schedule: LRScheduler = CosineAnnealingLR(optimizer, steps)
    if name not in ("logit", "linear"):
        cycle = {"cycle_momentum": False} if name == "simple" else {"pct_start": 0.2}
        schedule = OneCycleLR(optimizer, optimizer.defaults["lr"], total_steps=steps, **cycle)

    def logits_of(images: Tensor) -> Tensor:
        return model(images)[0] if name == "lstm" else model(images)

    for _ in range(epochs):
        model.train()
        loss_sum, correct = 0.0, list[bool]()
        for images, labels in train:
            smoothing = 0.01 if name in ("conv", "simple") else 0.0
            loss = cross_entropy(logits_of(images), labels, label_smoothing=smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item()
        model.eval()
        with torch.no_grad():
            for images, labels in test:
                correct += (logits_of(images).argmax(1) == labels).tolist()
        yield {"loss": loss_sum / len(train), "accuracy": 100 * sum(correct) / len(correct)}


def train_gan(name: str, epochs: int, train: Iterable[Sequence[Tensor]], record: Record) -> Figures:
    """Yield the mean sum of both losses of each epoch, and save a picture; at the end, weights."""
    conditional = name == "cgan"
    script = cgan if conditional else gan
    lr, lr_d, beta, rows = (0.0002, 0.0002, 0.999, 10) if conditional else (0.004, 0.002, 0.99, 6)
    generator, discriminator = script.Generator(), script.Discriminator()
    optimizer = torch.optim.Adam(generator.parameters(), lr, (0.5, beta))
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr_d, (0.5, beta))

    def draw(latent: Tensor, digits: Tensor) -> Tensor:
        return generator(latent, digits) if conditional else generator(latent)

    def look(images: Tensor, digits: Tensor) -> Tensor:
        return discriminator(images, digits) if conditional else discriminator(images)

    for epoch in range(1, epochs + 1):
        generator.train()
        losses = []
        for images, labels in train:
            n = len(images)
            latent = torch.randn(n if conditional else 2 * n, 100, 1, 1)
            digits = wrong = labels
            if conditional:
                digits = torch.randint(10, (n,))
                wrong = (labels + torch.randint(1, 10, (n,))) % 10
            fakes = draw(latent, digits)
            real, fake = look(images, labels), look(fakes[:n].detach(), digits)
            if conditional:  # real images with a wrong digit
                fake = torch.cat([fake, look(images, wrong)])
            loss_d = binary_cross_entropy_with_logits(real, torch.empty(n).uniform_(0.8, 1))
            loss_d += binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
            optimizer_d.zero_grad()
            loss_d.backward()
            optimizer_d.step()
            loss = binary_cross_entropy_with_logits(look(fakes, digits), torch.ones(len(fakes)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss_d.item() + loss.item())
        generator.eval()
        with torch.no_grad():
            images = pixels(draw(torch.randn(10 * rows, 100, 1, 1), torch.arange(10).repeat(rows)))
        record.save_picture(f"{epoch:02}.png", makegrid(images.squeeze(1).numpy(), rows, 10))
        yield {"loss": fmean(losses)}
    record.save_weights(generator)


if __name__ == "__main__":
    main()
