"""The network of conv.py, trained by several processes: each has a share of every batch.

torchrun --nproc-per-node 2 mnist/parallel.py                      # two processes, 3 minutes
torchrun --nproc-per-node 2 --max-restarts 3 mnist/parallel.py     # goes on if one is killed
python mnist/parallel.py --epochs 1                                # one process

Test accuracy after 10 epochs: 99.60 ± 0.01 % (2 processes, 2 seeds, mnist/results/parallel).
On CPUs the processes exchange their gradients by gloo, on GPUs by nccl, one process a GPU.
Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training",
https://arxiv.org/abs/2006.15704
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import OneCycleLR

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.augment import shifted
from common.batches import batch_count, predict, scaled
from common.dropout import Dropout
from common.errors import InputError
from common.flags import parse_flags
from common.run import Run

# What must be the same in all processes, beside the data.
SAME = ("images", "tested", "epochs", "batch_size", "lr", "seed", "precision")


class ConvNet(nn.Sequential):
    """Images (n, 1, 28, 28) from -1 to 1 to logits (n, 10); 431,080 parameters."""

    def __init__(self, dropout: float = 0.25) -> None:
        super().__init__(
            nn.Conv2d(1, 20, 5),  # 20 x 24 x 24
            nn.ReLU(),
            Dropout(dropout),
            nn.MaxPool2d(2),  # 20 x 12 x 12
            nn.Conv2d(20, 50, 5),  # 50 x 8 x 8
            nn.ReLU(),
            Dropout(dropout),
            nn.MaxPool2d(2),  # 50 x 4 x 4
            nn.Flatten(),  # 800
            nn.Linear(800, 500),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(500, 10),
        )


def main(argv: list[str] | None = None) -> None:
    flags = parse_flags(
        argv, __file__, __doc__, epochs=10, batch_size=125, lr=0.004, processes=True
    )
    if flags.device.type == "cuda":
        torch.cuda.set_device(flags.device)  # each process has its own
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # by torchrun, after a failure
    flags.resume |= restarts != "0"
    alone = "tcp://127.0.0.1:0?rank=0&world_size=1"
    store, rank, processes = next(rendezvous("env://" if "RANK" in os.environ else alone))
    store = PrefixStore(restarts, store)  # it still has the addresses of processes that died
    backend = "nccl" if flags.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes)

    with ExitStack() as stack:
        stack.callback(dist.destroy_process_group)
        run = stack.enter_context(Run(flags, bfloat16_pays=True, writes=rank == 0))
        run.header["device"] += f", {processes} processes"
        x_train, y_train, x_test, y_test = run.load((1, 28, 28), classes=10)
        model = run.place(ConvNet())
        parallel = DistributedDataParallel(model)  # all begin with the weights of process 0
        optimizer = torch.optim.AdamW(model.parameters(), flags.lr, weight_decay=0.05, fused=True)
        # 6 steps at least: with 5, the rise takes 0.2 * 5 - 1 = 0, and OneCycleLR divides by it.
        schedule = OneCycleLR(optimizer, flags.lr, total_steps=max(run.steps, 6), pct_start=0.2)
        reach = min(2, flags.epochs // 5)  # pixels: a longer run needs more variety
        seeds = torch.randint(2**62, (flags.epochs,)).tolist()  # the same in all processes

        for epoch in run.epochs(model=model, optimizer=optimizer, schedule=schedule):
            found: list[Any] = [None] * processes
            settings = [epoch, run.header["data"]["hash"], *(run.header[name] for name in SAME)]
            dist.all_gather_object(found, settings)
            if any(one != found[0] for one in found):
                raise InputError("processes differ in data, flags or checkpoint: give all the same")
            lr = optimizer.param_groups[0]["lr"]
            generator = torch.Generator().manual_seed(seeds[epoch - 1])
            order = torch.randperm(len(x_train), generator=generator)  # the same in all processes
            order = order[: batch_count(len(x_train), flags.batch_size) * flags.batch_size]
            own_seeds = torch.randint(2**62, (processes,), generator=generator).tolist()
            torch.manual_seed(own_seeds[rank])  # shifts and dropout differ
            losses = []
            model.train()
            for batch in order.to(run.device).split(flags.batch_size):
                share = batch[rank::processes]  # of the last batch it may be nothing
                images, labels = scaled(x_train[share]), y_train[share]
                with run.autocast:
                    logits = parallel(shifted(images, reach))
                # backward() averages the gradients of all processes. The losses are such that the
                # result is the gradient of the whole batch's mean, even if the shares are unequal.
                loss = cross_entropy(logits.float(), labels, label_smoothing=0.01, reduction="sum")
                loss = loss * processes / len(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
            right = predict(model, x_test[rank::processes]).argmax(1) == y_test[rank::processes]
            sums = torch.stack([torch.stack(losses).mean(), right.sum()])
            dist.all_reduce(sums)  # now over all processes
            train_loss, percent = sums[0].item() / processes, 100 * sums[1].item() / len(x_test)
            line = f"{epoch:3}.  lr: {lr:.4f}  training loss: {train_loss:8.6f}"
            line += f"  {run.tested} accuracy: {percent:5.2f}%"
            run.log(line, lr=lr, loss=train_loss, accuracy=percent)

        if rank == 0:
            run.finish(model, x_test, y_test, temperature=0.49, unsure=0.82)  # for predict
        dist.barrier()  # if one ended now, torchrun would take its end for a failure


if __name__ == "__main__":
    main()
