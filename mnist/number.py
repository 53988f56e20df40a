"""Numbers whose digits touch, read as a whole: nothing says where one digit ends.

python mnist/number.py               # 30 epochs, an hour on 1 core
python mnist/number.py --epochs 2    # a first look

Test numbers read right: 94.46 % after 30 epochs, 92.30 % after 10 (1 seed each,
mnist/results/number).
Graves et al. 2006, "Connectionist Temporal Classification",
https://www.cs.toronto.edu/~graves/icml_2006.pdf
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss
from torch.optim.lr_scheduler import OneCycleLR

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.batches import batches, pixels, predict, scaled
from common.errors import InputError
from common.flags import parse_flags, shown
from common.mnist import makegrid
from common.numbers import make_numbers, read_numbers
from common.run import Run


class NumberNet(nn.Sequential):
    """Images (n, 1, 28, w) from -1 to 1 to logits (n, w / 2, 11); 251,094 parameters.

    The last class is no digit. w is a multiple of 4.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__(
            nn.Conv2d(1, 24, 5, stride=2, padding=2),  # 24 x 14 x w / 2
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.MaxPool2d(2),  # 32 x 7 x w / 4
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 128, (7, 3), padding=(0, 1)),  # 128 x 1 x w / 4
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 128, (1, 3), padding=(0, 1)),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 2 * (classes + 1), 1),  # of each column, its left and its right half
            nn.Flatten(2),  # 22 x w / 4
        )

    def forward(self, images: Tensor) -> Tensor:
        halves = super().forward(images).unflatten(1, (2, -1))  # n x 2 x 11 x w / 4
        return halves.permute(0, 3, 1, 2).flatten(1, 2)  # n x w / 2 x 11


def main(argv: list[str] | None = None) -> None:
    flags = parse_flags(argv, __file__, __doc__, epochs=30, batch_size=125, lr=0.004)
    with Run(flags) as run:
        x_train, y_train, x_test, y_test = run.load((1, 28, 28), classes=10)
        if x_train.dtype != torch.uint8 or not run.header["data"]["dark"]:
            raise InputError("number.py joins light digits on dark: it needs uint8, 0 to 255")
        most, width = 3, 64  # digits of a number, and pixels of its image
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same test numbers in all runs
            thousands = zip(scaled(x_test).split(1000), y_test.split(1000), strict=True)
            made = [make_numbers(images, labels, most, width) for images, labels in thousands]
            x_test, y_test, lengths = (torch.cat(part) for part in zip(*made, strict=True))
        actual = [digits[:n] for digits, n in zip(y_test.tolist(), lengths.tolist(), strict=True)]
        model = run.place(NumberNet())
        optimizer = torch.optim.AdamW(model.parameters(), flags.lr, weight_decay=0.05, fused=True)
        # 6 steps at least: with 5, the rise takes 0.2 * 5 - 1 = 0, and OneCycleLR divides by it.
        schedule = OneCycleLR(optimizer, flags.lr, total_steps=max(run.steps, 6), pct_start=0.2)

        for epoch in run.epochs(model=model, optimizer=optimizer, schedule=schedule):
            lr = optimizer.param_groups[0]["lr"]
            losses = []
            model.train()
            for images, labels in batches(x_train, y_train, flags.batch_size):
                images, digits, lengths = make_numbers(images, labels, most, width)
                with run.autocast:
                    logits = model(images)  # n x 32 x 11
                shares = logits.float().log_softmax(2).transpose(0, 1)  # 32 x n x 11, in float32
                columns, none = torch.full_like(lengths, len(shares)), shares.shape[2] - 1
                loss = ctc_loss(shares, digits, columns, lengths, none, zero_infinity=True)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
            train_loss = torch.stack(losses).mean().item()
            found = read_numbers(predict(model, x_test))
            right = sum(one.digits == digits for one, digits in zip(found, actual, strict=True))
            percent = 100 * right / len(actual)
            line = f"{epoch:3}.  lr: {lr:.4f}  training loss: {train_loss:8.6f}"
            line += f"  {run.tested} numbers read right: {percent:5.2f}%"
            run.log(line, lr=lr, loss=train_loss, read=percent)

        found = read_numbers(predict(model, x_test))
        misread = [i for i, one in enumerate(found) if one.digits != actual[i]]
        percent = 100 * (len(actual) - len(misread)) / len(actual)
        text = f"{percent:.2f}% of the {run.tested} numbers read right"
        run.log(f"\n{text}, {len(misread)} of {len(actual):,} misread")
        final = {"read": percent, **run.log_time(), "network": NumberNet.__name__}
        if not flags.evaluate:
            final["weights"] = run.save_weights(model)
        cells = list(pixels(x_test[misread[:100]]).cpu().numpy()) or [np.zeros((28, width), "u1")]
        run.save_picture(".png", makegrid(cells, -(-len(cells) // 10), 10))
        run.log(f"grid of misread numbers: {shown(run.path('.png'))}")
        run.save_figures(final)


if __name__ == "__main__":
    main()
