"""The usual way to write seven of the training loops, to measure ours against.

TensorDataset and DataLoader, tensors in the default layout, layers of torch.nn, an optimizer that
is not fused, and `.item()` in every step. The networks, losses, batch sizes and kinds of optimizer
are those of the scripts; swa and wsimple train as conv and simple do.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, cross_entropy

SIMPNET = [  # channels in, channels out, kernel, pooling
    (1, 66, 3, 0),
    (66, 64, 3, 0),
    (64, 64, 3, 0),
    (64, 64, 3, 0),
    (64, 96, 3, 2),
    (96, 96, 3, 0),
    (96, 96, 3, 0),
    (96, 96, 3, 0),
    (96, 96, 3, 0),
    (96, 144, 3, 2),
    (144, 144, 1, 0),
    (144, 178, 1, 0),
    (178, 216, 3, 7),
]

Step = Callable[[Tensor, Tensor], None]


def logit() -> nn.Module:
    """Return the single layer; images (n, 1, 28, 28) to logits (n, 10), as all classifiers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def linear() -> nn.Module:
    """Return the two linear layers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 800), nn.ReLU(), nn.Linear(800, 10))


def conv() -> nn.Module:
    """Return the convolutional model."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Linear(500, 10),
    )


def simple() -> nn.Module:
    """Return SimpNet."""
    layers: list[nn.Module] = []
    for before, after, kernel, pool in SIMPNET:
        layers += [nn.Conv2d(before, after, kernel, padding="same")]
        layers += [nn.BatchNorm2d(after, momentum=0.05), nn.ReLU()]
        layers += [nn.MaxPool2d(pool)] if pool else []
        layers += [nn.Flatten()] if pool == 7 else []
        layers += [nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(216, 10))


class LSTM(nn.Module):
    """Rows as a sequence: images (n, 1, 28, 28) to logits (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 128, 2, batch_first=True)
        self.decode = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        output, _ = self.lstm(images.squeeze(1))
        return self.decode(output[:, -1])


class Generator(nn.Module):
    """Latents (n, 100, 1, 1), and labels (n,) if conditional, to images (n, 1, 28, 28)."""

    def __init__(self, conditional: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 10) if conditional else None
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(110 if conditional else 100, 256, 4, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.ConvTranspose2d(256, 128, 3, 2, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, latent: Tensor, labels: Tensor) -> Tensor:
        if self.embed is not None:
            latent = torch.cat([latent, self.embed(labels).view(-1, 10, 1, 1)], 1)
        return self.layers(latent)


class Discriminator(nn.Module):
    """Images (n, 1, 28, 28), and labels (n,) if conditional, to probabilities (n,)."""

    def __init__(self, conditional: bool) -> None:
        super().__init__()
        self.embed = (
            nn.Sequential(nn.Embedding(10, 50), nn.Linear(50, 784)) if conditional else None
        )
        self.layers = nn.Sequential(
            nn.Conv2d(2 if conditional else 1, 64, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 128, 4, 2, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2),
            nn.Conv2d(128, 256, 4, 2, 1, bias=False),
            nn.BatchNorm2d(256),
            nn.LeakyReLU(0.2),
            nn.Conv2d(256, 1, 3, bias=False),
            nn.Sigmoid(),
            nn.Flatten(0),
        )

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.embed is not None:
            images = torch.cat([images, self.embed(labels).view(-1, 1, 28, 28)], 1)
        return self.layers(images)


def classifier_step(name: str) -> Step:
    """Return a training step of a classifier."""
    model = {"logit": logit, "linear": linear, "conv": conv, "simple": simple, "lstm": LSTM}[name]()
    optimizer: torch.optim.Optimizer
    if name == "logit":
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
    elif name == "linear":
        optimizer = torch.optim.SGD(
            model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), 0.001)
    smoothing = 0.01 if name in ("conv", "simple") else 0.0
    total = 0.0

    def step(images: Tensor, labels: Tensor) -> None:
        nonlocal total
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels, label_smoothing=smoothing)
        loss.backward()
        optimizer.step()
        total += loss.item()

    return step


def gan_step(name: str) -> Step:
    """Return a training step of the GAN or, for cgan, of the conditional one."""
    generator, discriminator = Generator(name == "cgan"), Discriminator(name == "cgan")
    step_d = torch.optim.Adam(discriminator.parameters(), 0.0002, (0.5, 0.999))
    step_g = torch.optim.Adam(generator.parameters(), 0.0002, (0.5, 0.999))
    total = 0.0

    def seen(images: Tensor) -> Tensor:
        return images + 0.6 * torch.randn_like(images) if name == "gan" else images

    def step(images: Tensor, labels: Tensor) -> None:
        nonlocal total
        n = len(images)
        drawn = 2 * n if name == "gan" else n
        step_d.zero_grad()
        loss_real = binary_cross_entropy(
            discriminator(seen(images), labels), torch.empty(n).uniform_(0.8, 1)
        )
        loss_real.backward()
        digits = torch.randint(10, (drawn,))
        fakes = generator(torch.randn(drawn, 100, 1, 1), digits)
        loss_fake = binary_cross_entropy(
            discriminator(seen(fakes[:n].detach()), digits[:n]), torch.zeros(n)
        )
        loss_fake.backward()
        step_d.step()
        step_g.zero_grad()
        loss = binary_cross_entropy(discriminator(seen(fakes), digits), torch.ones(drawn))
        loss.backward()
        step_g.step()
        total += loss_real.item() + loss_fake.item() + loss.item()

    return step
