"""SimpNet: thirteen convolutions with batch norm, deep and narrow.

python mnist/simple.py               # 20 epochs, 100 minutes on 2 cores
python mnist/simple.py --epochs 1    # a first look, about 5 minutes

The number of epochs also chooses the dropout, and how images are changed: from 5 epochs on they are
shifted, from 20 on distorted.
Test accuracy: 99.62 % after 3 epochs, 99.73 % after 20 (3 seeds each), 99.72 % after 50 (1 seed),
mnist/results/simple.
Hasanpour et al. 2018, "Towards Principled Design of Deep Convolutional Networks: Introducing
SimpNet", https://arxiv.org/abs/1802.06205
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.augment import distorted, shifted
from common.batches import accuracy, batches, predict
from common.dropout import Dropout
from common.files import write_whole
from common.flags import parse_flags
from common.run import Run

LAYERS = (  # channels in, channels out, kernel size, pooling (0: none)
    (1, 66, 3, 0),  # 66 x 28 x 28
    (66, 64, 3, 0),
    (64, 64, 3, 0),
    (64, 64, 3, 0),
    (64, 96, 3, 2),  # 96 x 14 x 14
    (96, 96, 3, 0),
    (96, 96, 3, 0),
    (96, 96, 3, 0),
    (96, 96, 3, 0),
    (96, 144, 3, 2),  # 144 x 7 x 7
    (144, 144, 1, 0),
    (144, 178, 1, 0),
    (178, 216, 3, 7),  # 216 x 1 x 1
)


class SimpNet(nn.Sequential):
    """Images (n, 1, 28, 28) from -1 to 1 to logits (n, 10); 1,022,656 parameters."""

    def __init__(self, dropout: float = 0.2) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs, size, pool in LAYERS:
            conv = nn.Conv2d(inputs, outputs, size, padding="same")
            nn.init.xavier_normal_(conv.weight, nn.init.calculate_gain("relu"))
            layers += [conv, nn.BatchNorm2d(outputs, momentum=0.05), nn.ReLU()]
            if pool:
                layers.append(nn.MaxPool2d(pool))
            if pool == 7:
                layers.append(nn.Flatten())  # 216
            layers.append(Dropout(dropout))
        super().__init__(*layers, nn.Linear(216, 10))


def main(argv: list[str] | None = None) -> None:
    flags = parse_flags(argv, __file__, __doc__, epochs=20, batch_size=100, lr=0.005)
    with Run(flags, bfloat16_pays=True) as run:
        x_train, y_train, x_test, y_test = run.load((1, 28, 28), classes=10)
        # From 0.05 in 3 epochs to 0.2 in 47: a short run has no time to overfit.
        dropout = min(0.2, round(0.04 + flags.epochs / 300, 2))
        model = run.place(SimpNet(dropout))
        optimizer = torch.optim.AdamW(
            model.parameters(), flags.lr, betas=(0.9, 0.99), weight_decay=0.1, fused=True
        )
        schedule = OneCycleLR(optimizer, flags.lr, total_steps=run.steps, cycle_momentum=False)
        distort = flags.epochs >= 20  # the longer a run, the more variety the images need
        reach = 0 if distort else min(2, flags.epochs // 5)  # pixels

        for epoch in run.epochs(model=model, optimizer=optimizer, schedule=schedule):
            lr = optimizer.param_groups[0]["lr"]
            losses = []
            model.train()
            for images, labels in batches(x_train, y_train, flags.batch_size):
                if distort:
                    images = distorted(images, 0.15)
                with run.autocast:
                    logits = model(shifted(images, reach))
                loss = cross_entropy(logits.float(), labels, label_smoothing=0.01)  # in float32
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
            train_loss = torch.stack(losses).mean().item()
            percent = accuracy(predict(model, x_test), y_test)
            line = f"{epoch:3}.  lr: {lr:.4f}  training loss: {train_loss:8.6f}"
            line += f"  {run.tested} accuracy: {percent:5.2f}%"
            run.log(line, lr=lr, loss=train_loss, accuracy=percent)

        write_whole(run.path(".txt"), f"{model}\n".encode())
        run.finish(model, x_test, y_test, temperature=0.708, unsure=0.82)  # for predict


if __name__ == "__main__":
    main()
