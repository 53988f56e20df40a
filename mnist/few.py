"""Ten labels of each class: the other images teach the network without theirs.

python mnist/few.py                  # 100 labels, 59,900 images without; 17 minutes on 1 core
python mnist/few.py --labels 1       # of each class; --seed chooses which ones

Test accuracy: 98.75 ± 0.62 % (5 draws of the labels, mnist/results/few).

From the labels the network learns which classes there are. From all images it learns that an image
and the same one distorted are of one class, and that the classes are about equally frequent.
Ji et al. 2019, "Invariant Information Clustering for Unsupervised Image Classification and
Segmentation", https://arxiv.org/abs/1807.06653
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.augment import distorted
from common.batches import accuracy, batches, predict, scaled
from common.flags import parse_flags
from common.run import Run

UNLABELLED = -1  # in place of a label


def convolution(inputs: int, outputs: int, stride: int = 1, pool: bool = False) -> nn.Sequential:
    """Return a normalized convolution of maps (n, inputs, h, w); a pool halves h and w, too."""
    size = 2 * stride + 1  # 3 x 3, or 5 x 5 for a stride of 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=stride, bias=False),
        nn.MaxPool2d(2) if pool else nn.Identity(),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class FewNet(nn.Sequential):
    """Images (n, 1, 28, 28) from -1 to 1 to logits (n, 10); 53,746 parameters."""

    def __init__(self, channels: int = 1, classes: int = 10) -> None:
        super().__init__(
            convolution(channels, 24, stride=2),  # 24 x 14 x 14
            convolution(24, 48, pool=True),  # 48 x 7 x 7
            convolution(48, 96),  # 96 x 7 x 7
            nn.AdaptiveMaxPool2d(1),  # the largest of each map, whatever the size of the images
            nn.Flatten(),  # 96
            nn.Linear(96, classes),
        )


def draw_labels(y: Tensor, count: int) -> Tensor:
    """Return the positions of `count` labels of each class, drawn at random, or of all it has.

    The labels are (n,) int64, the positions (count * classes,).
    """
    order = torch.randperm(len(y)).to(y.device)
    classes = y[y != UNLABELLED].unique()
    return torch.cat([order[y[order] == label][:count] for label in classes])


def mutual_information(p: Tensor, q: Tensor) -> Tensor:
    """Return how much, in nats, the class of one view of an image says of that of the other view.

    The classes' probabilities are (n, classes) for each view. It is the entropy of the class of
    either view, which is highest if all classes are equally frequent, less that of the pair, which
    is lowest if both views are surely of the same class.
    """
    pairs = (p.T @ q + q.T @ p) / (2 * len(p))  # classes x classes, of sum 1
    pairs = pairs.clamp(min=1e-9)  # the logarithm's slope at 0 is infinite
    return 2 * torch.special.entr(pairs.sum(0)).sum() - torch.special.entr(pairs).sum()


def main(argv: list[str] | None = None) -> None:
    flags = parse_flags(
        argv, __file__, __doc__, epochs=3, batch_size=250, lr=0.003, few_labels=True
    )
    with Run(flags) as run:
        x_train, y_train, x_test, y_test = run.load((1, 28, 28), classes=10)
        # 10 labels of each class by default, or all if some of your images have none.
        default = 10 if y_train.min() > UNLABELLED else len(y_train)
        known = draw_labels(y_train, flags.labels or default)  # their positions
        x_known, y_known = x_train[known], y_train[known]
        y_train = torch.full_like(y_train, UNLABELLED)  # the other labels are never used
        run.header["labels"] = len(known)
        run.header["data"]["notes"].append(f"labels of {len(known):,} training images are used")
        model = run.place(FewNet())
        recent = get_ema_multi_avg_fn(max(0, 1 - 16 / run.steps))  # mostly the last 16th of steps
        averaged = AveragedModel(model, multi_avg_fn=recent, use_buffers=True)
        optimizer = torch.optim.AdamW(model.parameters(), flags.lr, weight_decay=0.05, fused=True)
        # 11 steps at least: with 10, the rise takes 0.1 * 10 - 1 = 0, and OneCycleLR divides by it.
        schedule = OneCycleLR(optimizer, flags.lr, total_steps=max(run.steps, 11), pct_start=0.1)

        for epoch in run.epochs(
            model=model, averaged=averaged, optimizer=optimizer, schedule=schedule
        ):
            lr = optimizer.param_groups[0]["lr"]
            losses = []
            model.train()
            for images, _ in batches(x_train, y_train, flags.batch_size):
                few = torch.randint(len(known), (len(images) // 5 + 1,), device=run.device)
                views = distorted(images, 0.1), distorted(images, 0.25)
                labelled = distorted(scaled(x_known[few]), 0.25)
                with run.autocast:
                    logits = model(torch.cat([labelled, *views])).float()
                known_logits, *view_logits = logits.split([len(few), len(images), len(images)])
                loss = cross_entropy(known_logits, y_known[few])
                loss = loss - mutual_information(*(view.softmax(1) for view in view_logits))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                averaged.update_parameters(model)
                losses.append(loss.detach())
            train_loss = torch.stack(losses).mean().item()
            percent = accuracy(predict(model, x_test), y_test)
            line = f"{epoch:3}.  lr: {lr:.4f}  training loss: {train_loss:8.6f}"
            line += f"  {run.tested} accuracy: {percent:5.2f}%"
            run.log(line, lr=lr, loss=train_loss, accuracy=percent)

        if not flags.evaluate:
            run.log("average weights of the last steps:")
        run.finish(averaged.module, x_test, y_test)


if __name__ == "__main__":
    main()
