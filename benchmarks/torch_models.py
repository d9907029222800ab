"""The networks in PyTorch, as their publications describe them: what the models are timed beside."""

from __future__ import annotations

import torch
from torch import nn


class PannsCnn(nn.Module):
    """CNN14, CNN10 or CNN6 on log-mel pictures (batch, 1, frames, bins)."""

    def __init__(self, channels: tuple[int, ...], kernel: int, n_convs: int, classes: int) -> None:
        """Builds the layers."""
        super().__init__()
        self.bn0 = nn.BatchNorm2d(64)
        blocks, inputs = [], 1
        for i, width in enumerate(channels):
            for _ in range(n_convs):
                conv = nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=False)
                blocks += [conv, nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            blocks += [nn.AvgPool2d(2)] * (i < 5) + [nn.Dropout(0.2)]
        self.blocks = nn.Sequential(*blocks)
        self.fc1, self.fc_audioset = nn.Linear(inputs, inputs), nn.Linear(inputs, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        maps = self.bn0(pictures.transpose(1, 3)).transpose(1, 3)
        sequence = self.blocks(maps).mean(3)
        pooled = nn.functional.dropout(sequence.amax(2) + sequence.mean(2), 0.5, self.training)
        return self.fc_audioset(torch.relu(self.fc1(pooled)))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Returns a depthwise separable convolution with normalisations."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs), nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


def yamnet(classes: int) -> nn.Sequential:
    """Returns YAMNet on one patch."""
    widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    layers = [nn.Conv2d(1, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    for inputs, outputs, stride in zip(widths[:-1], widths[1:], strides, strict=True):
        layers.append(separable(inputs, outputs, stride))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, classes))


class MobileNetV1(nn.Module):
    """MobileNetV1 of PANNs."""

    def __init__(self, classes: int) -> None:
        """Builds the layers."""
        super().__init__()
        widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
        halvings = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
        self.bn0 = nn.BatchNorm2d(64)
        layers = [nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.AvgPool2d(2)]
        layers += [nn.BatchNorm2d(32), nn.ReLU()]
        for inputs, outputs, halving in zip(widths[:-1], widths[1:], halvings, strict=True):
            block = list(separable(inputs, outputs))
            layers += [block[0], *([nn.AvgPool2d(2)] * (halving > 1)), *block[1:]]
        self.blocks = nn.Sequential(*layers)
        self.fc1, self.fc_audioset = nn.Linear(1024, 1024), nn.Linear(1024, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        maps = self.bn0(pictures.transpose(1, 3)).transpose(1, 3)
        sequence = self.blocks(maps).mean(3)
        pooled = nn.functional.dropout(sequence.amax(2) + sequence.mean(2), 0.5, self.training)
        return self.fc_audioset(torch.relu(self.fc1(pooled)))


class Musicnn(nn.Module):
    """musicnn on (batch, 1, frames, 96)."""

    def __init__(self, classes: int) -> None:
        """Builds the layers."""
        super().__init__()
        self.bn_input = nn.BatchNorm2d(1)
        sizes = [(204, 7, 38, 3), (204, 7, 67, 3)]
        sizes += [(51, n, 1, None) for n in (128, 64, 32)]
        self.front = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(1, width, (rows, columns), padding='same' if pad is None else (pad, 0)),
                nn.ReLU(), nn.BatchNorm2d(width),
            )
            for width, rows, columns, pad in sizes
        )  # fmt: skip
        self.midend = nn.ModuleList(
            nn.Sequential(nn.Conv1d(inputs, 64, 7, padding=3), nn.ReLU(), nn.BatchNorm1d(64))
            for inputs in (561, 64, 64)
        )
        self.back = nn.Sequential(
            nn.BatchNorm1d(1506), nn.Dropout(0.5), nn.Linear(1506, 200), nn.ReLU(),
            nn.BatchNorm1d(200), nn.Dropout(0.5), nn.Linear(200, classes),
        )  # fmt: skip

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        normed = self.bn_input(pictures)
        sequences, hidden = [torch.cat([conv(normed).amax(3) for conv in self.front], 1)], 0
        for conv in self.midend:
            hidden = conv(sequences[-1]) + hidden
            sequences.append(hidden)
        sequence = torch.cat(sequences, 1)
        return self.back(torch.stack([sequence.amax(2), sequence.mean(2)], -1).flatten(1))


def vgg16(classes: int, rows: int, columns: int) -> nn.Sequential:
    """Returns VGG16 on (batch, 3, rows, columns)."""
    layers, inputs = [], 3
    for width, n_convs in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(n_convs):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    flat = 512 * (rows // 32) * (columns // 32)
    dense = [nn.Linear(flat, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), *dense, nn.Dropout(), nn.Linear(4096, classes))


class ShallowCnn(nn.Module):
    """The shallow CNN on (batch, 1, 80 mels, 80 frames)."""

    def __init__(self, classes: int) -> None:
        """Builds the layers."""
        super().__init__()
        self.left = nn.Sequential(
            nn.Conv2d(1, 16, (10, 23), padding='same'), nn.LeakyReLU(0.3), nn.MaxPool2d((1, 20))
        )
        self.right = nn.Sequential(
            nn.Conv2d(1, 16, (21, 20), padding='same'), nn.LeakyReLU(0.3), nn.MaxPool2d((20, 1))
        )
        self.head = nn.Sequential(
            nn.Linear(10240, 200), nn.LeakyReLU(0.3), nn.Dropout(0.1), nn.Linear(200, classes)
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        flat = [self.left(pictures).flatten(1), self.right(pictures).flatten(1)]
        return self.head(torch.cat(flat, 1))


class Hybrid(nn.Module):
    """Efficient CNN (kind ''), CNN-GRU ('gru') or CNN-LSTM ('lstm') on (batch, 1, mels, frames)."""

    def __init__(self, kind: str, classes: int) -> None:
        """Builds the layers."""
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            separable(32, 64), nn.MaxPool2d(2), nn.Dropout2d(0.15),
            separable(64, 128), nn.MaxPool2d(2), nn.Dropout2d(0.3),
        )  # fmt: skip
        self.kind = kind
        if kind:
            self.recurrent = {'gru': nn.GRU, 'lstm': nn.LSTM}[kind](128, 32, 2, batch_first=True)
            self.residual = nn.Linear(128, 32)
            self.attention = nn.Sequential(nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 1))
            self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(32, classes))
        else:
            self.head = nn.Sequential(
                nn.Dropout(0.3), nn.Linear(128, 32), nn.ReLU(), nn.Dropout(0.15),
                nn.Linear(32, classes),
            )  # fmt: skip

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        maps = self.trunk(pictures)
        if not self.kind:
            return self.head(maps.mean((2, 3)))
        sequence = maps.mean(3).transpose(1, 2)
        states = self.recurrent(sequence)[0] + self.residual(sequence)
        return self.head((states * self.attention(states).softmax(1)).sum(1))


class Lstm(nn.Module):
    """Three LSTM layers and dense layers on (batch, steps, bins)."""

    def __init__(self, bins: int, units: tuple[int, ...], dense: tuple[int, ...], classes: int) -> None:
        """Builds the layers."""
        super().__init__()
        widths = (bins, *units)
        self.recurrent = nn.ModuleList(
            nn.LSTM(a, b, batch_first=True) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.head = perceptron((units[-1], *dense, classes))

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        for layer in self.recurrent:
            sequence = layer(sequence)[0]
        return self.head(sequence[:, -1])


def perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    """Returns dense layers with ReLU between them."""
    layers = []
    for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Ast(nn.Module):
    """AST of transformers on (batch, frames, bins)."""

    def __init__(self, frames: int, classes: int, **settings: int) -> None:
        """Builds the layers."""
        super().__init__()
        from transformers import ASTConfig, ASTForAudioClassification

        self.network = ASTForAudioClassification(ASTConfig(max_length=frames, num_labels=classes, **settings))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        return self.network(pictures).logits
