"""The rows of an image as a sequence: a recurrent network reads it from top to bottom.

python mnist/lstm.py                 # 40 epochs, 17 minutes on 2 cores
python mnist/lstm.py --epochs 4      # a first look

Test accuracy after 40 epochs: 99.50 ± 0.07 % (3 seeds, mnist/results/lstm).
Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", https://doi.org/10.1162/neco.1997.9.8.1735
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.augment import distorted
from common.batches import accuracy, batches, predict
from common.flags import parse_flags
from common.run import Run

State = tuple[Tensor, Tensor]


class RowLSTM(nn.Module):
    """Images (n, 1, 28, 28) from -1 to 1 to logits (n, 10), and a state; 214,282 parameters.

    The state is the hidden and the cell state after the last row, (2, n, 128) each. If it is passed
    to the next call, the network continues where it ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 128, num_layers=2, batch_first=True)
        self.decode = nn.Linear(128, 10)

    def forward(self, images: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        rows = images.squeeze(1)  # n x 28 rows x 28 pixels
        output, state = self.lstm(rows, state)  # n x 28 x 128
        return self.decode(output[:, -1]), state  # after the last row: n x 10


def main(argv: list[str] | None = None) -> None:
    flags = parse_flags(argv, __file__, __doc__, epochs=40, batch_size=60, lr=0.003)
    with Run(flags) as run:
        x_train, y_train, x_test, y_test = run.load((1, 28, 28), classes=10)
        model = run.place(RowLSTM())
        optimizer = torch.optim.AdamW(model.parameters(), flags.lr, weight_decay=0.01, fused=True)
        # 6 steps at least: with 5, the rise takes 0.2 * 5 - 1 = 0, and OneCycleLR divides by it.
        schedule = OneCycleLR(optimizer, flags.lr, total_steps=max(run.steps, 6), pct_start=0.2)

        for epoch in run.epochs(model=model, optimizer=optimizer, schedule=schedule):
            lr = optimizer.param_groups[0]["lr"]
            losses = []
            model.train()
            for images, labels in batches(x_train, y_train, flags.batch_size):
                with run.autocast:
                    logits, _ = model(distorted(images, 0.1))
                loss = cross_entropy(logits.float(), labels)  # in float32
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

        run.finish(model, x_test, y_test, temperature=1.422, unsure=0.795)  # for predict


if __name__ == "__main__":
    main()
