"""conv's network in other libraries, for speed.py to measure conv.py against.

python bench/peers.py keras --epochs 2 --limit 5000

jax needs `pip install jax flax optax`, keras needs `pip install tensorflow-cpu`. compile is torch's
own `torch.compile`, which needs a C++ compiler. Each is written as its documentation shows it, in
float32; batches and optimizer are conv's. keras and jax have a constant learning rate, and labels
that are not smoothed.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.plain import parse, save_timed
from common.data import load
from common.errors import clear_errors
from common.record import Record
from mnist import plain

Arrays = tuple[NDArray[Any], ...]


def compiled(epochs: int, x: Arrays, y: Arrays) -> Iterator[float]:
    """Yield the test accuracy, in percent, after each epoch; x and y are (training, test)."""
    x_train, x_test, y_train, y_test = map(torch.from_numpy, (*x, *y))
    model = plain.ConvNet()
    fast = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), 0.004, weight_decay=0.05, fused=True)
    steps = epochs * -(-len(x_train) // 125)
    schedule = OneCycleLR(optimizer, 0.004, total_steps=max(steps, 6), pct_start=0.2)
    for _ in range(epochs):
        model.train()
        for index in torch.randperm(len(x_train)).split(125):
            loss = cross_entropy(fast(x_train[index]), y_train[index], label_smoothing=0.01)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            found = torch.cat([model(part).argmax(1) for part in x_test.split(250)])
        yield 100 * (found == y_test).double().mean().item()


def keras(epochs: int, x: Arrays, y: Arrays) -> Iterator[float]:
    import keras
    from keras import layers

    x_train, x_test = (images.transpose(0, 2, 3, 1) for images in x)
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for maps in (20, 50):
        model.add(layers.Conv2D(maps, 5, activation="relu"))
        model.add(layers.Dropout(0.25))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense(500, "relu"))
    model.add(layers.Dropout(0.25))
    model.add(layers.Dense(10))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(0.001, weight_decay=0.05), loss, metrics=["accuracy"])
    for _ in range(epochs):
        model.fit(x_train, y[0], batch_size=125, verbose=0)
        yield 100 * model.evaluate(x_test, y[1], batch_size=250, verbose=0)[1]


def jax(epochs: int, x: Arrays, y: Arrays) -> Iterator[float]:
    import jax
    import optax
    from flax import nnx

    class ConvNet(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.convolutions = nnx.List(
                [nnx.Conv(a, b, (5, 5), padding="VALID", rngs=rngs) for a, b in ((1, 20), (20, 50))]
            )
            self.hidden, self.last = nnx.Linear(800, 500, rngs=rngs), nnx.Linear(500, 10, rngs=rngs)
            self.dropout = nnx.Dropout(0.25, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            for convolution in self.convolutions:
                x = nnx.max_pool(self.dropout(nnx.relu(convolution(x))), (2, 2), (2, 2))
            return self.last(self.dropout(nnx.relu(self.hidden(x.reshape(len(x), -1)))))

    def mean_loss(model: Any, images: Any, labels: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    @nnx.jit
    def step(model: Any, optimizer: Any, images: Any, labels: Any) -> None:
        optimizer.update(model, nnx.grad(mean_loss)(model, images, labels))

    @nnx.jit
    def answers(model: Any, images: Any) -> Any:
        return model(images).argmax(1)

    x_train, x_test = (jax.numpy.asarray(images.transpose(0, 2, 3, 1)) for images in x)
    y_train, model = jax.numpy.asarray(y[0]), ConvNet(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(0.001, weight_decay=0.05), wrt=nnx.Param)
    for _ in range(epochs):
        model.train()
        order = np.random.default_rng().permutation(len(x_train))
        for index in np.split(order, range(125, len(order), 125)):
            step(model, optimizer, x_train[index], y_train[index])
        model.eval()
        found = [answers(model, x_test[i : i + 250]) for i in range(0, len(x_test), 250)]
        yield 100 * float((np.concatenate(found) == y[1]).mean())


PEERS = {"compile": compiled, "keras": keras, "jax": jax}


def main(argv: list[str] | None = None) -> None:
    flags = parse(argv, PEERS, __doc__)
    with clear_errors("peers"):
        arrays = [part.numpy() for part in load(flags.data, (1, 28, 28), 10, flags.limit)[:4]]
        x = tuple((images / 127.5 - 1).astype(np.float32) for images in arrays[::2])
        percents = PEERS[flags.name](flags.epochs, x, tuple(arrays[1::2]))
        epochs = ({"accuracy": percent} for percent in percents)
        save_timed(epochs, Record(f"peers-{flags.name}", flags.out))


if __name__ == "__main__":
    main()
