"""Shoulder exercises seen by the motion sensors of a smartwatch, tested on people never trained on.

Inputs are (channel, 1, time) at 50 Hz: accelerometer x, y, z in units of g, then gyroscope x, y, z in units
of 125 degrees per second, both limited to -4..4. So a sensor at full scales of 4 g and 500 degrees per second
delivers the input as its raw 16-bit readings divided by 8192.
"""

import math

import numpy as np
import torch
from seglearn.datasets import load_watch
from torch.nn import functional as F

from .ds_cnn import DsCnn
from .network import Block
from .task import Recipe, Samples, Task

SPLIT_SEED = 2019
TEST_SUBJECTS, VALIDATION_SUBJECTS = 3, 2
WINDOW = 160
TRAIN_STRIDE, VALIDATION_STRIDE, TEST_WINDOWS = 20, 40, 512

LABELS = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "lower trapezius row",
    "bent-over row",
)
UNITS = np.array([1, 1, 1] + [math.radians(125)] * 3)
FULL_SCALE = 4
# The same movement of the other arm: x points along the forearm, to the hand on one arm, to the elbow on the
# other; of a rotation, a mirror changes the two other axes.
MIRROR = torch.tensor([-1, 1, 1, 1, -1, -1]).view(1, 6, 1, 1)


def architecture(channels: int) -> DsCnn:
    return DsCnn(
        channels_in=channels,
        classes=len(LABELS),
        stem=16,
        stem_kernel=(1, 7),
        stem_stride=(1, 2),
        kernel=(1, 7),
        blocks=(
            Block(16, stride=(1, 2)),
            Block(24, stride=(1, 2), experts=4),
            Block(32, stride=(1, 2), experts=4),
            Block(48, experts=4),
        ),
        head_experts=4,
    )


def task(name: str, channels: int) -> Task:
    recordings = load_watch()
    subjects = np.random.default_rng(SPLIT_SEED).permutation(np.unique(recordings["subject"]))
    held_out = TEST_SUBJECTS + VALIDATION_SUBJECTS
    test, validation, train = np.split(subjects, [TEST_SUBJECTS, held_out])
    test = windows(recordings, test, channels, 1)
    return Task(
        name=name,
        data=name,
        train=windows(recordings, train, channels, TRAIN_STRIDE),
        validation=windows(recordings, validation, channels, VALIDATION_STRIDE),
        test=thinned(test, TEST_WINDOWS),
        labels=LABELS,
        architecture=architecture(channels),
        recipe=Recipe(epochs=15, weight_decay=0.05),
        augment=augment,
        input_scale=1.0,
        exporter="legacy",
    )


def windows(recordings, subjects, channels: int, stride: int) -> Samples:
    inputs, labels = [], []
    for series, label, subject in zip(recordings["X"], recordings["y"], recordings["subject"]):
        if subject in subjects:
            series = (series / UNITS).clip(-FULL_SCALE, FULL_SCALE)[:, :channels]
            series = torch.from_numpy(series.astype(np.float16))
            cut = series.unfold(0, WINDOW, stride).unsqueeze(2)
            inputs.append(cut)
            labels.append(torch.full((len(cut),), int(label)))
    return Samples(torch.cat(inputs), torch.cat(labels))


def thinned(samples: Samples, count: int) -> Samples:
    chosen = torch.linspace(0, len(samples.labels) - 1, count).long()
    return Samples(samples.inputs[chosen], samples.labels[chosen])


def augment(inputs: torch.Tensor) -> torch.Tensor:
    """The other arm, the watch worn differently, the exercise done stronger or weaker, faster or slower."""
    n, channels, _, time = inputs.shape
    inputs = torch.where(torch.rand(n, 1, 1, 1) < 0.5, inputs * MIRROR[:, :channels], inputs)
    tempo = 1 + 0.2 * (torch.rand(n, 1, 1, 1) * 2 - 1)
    position = torch.linspace(-1, 1, time).view(1, 1, time, 1) * tempo
    grid = torch.cat((position, torch.zeros_like(position)), 3)
    inputs = F.grid_sample(inputs, grid, padding_mode="reflection", align_corners=True)
    turned = small_rotations(n) @ inputs.view(n, channels // 3, 3, time)
    noise = 0.1 * torch.randn(n, channels, 1, time)
    return turned.view_as(inputs) * (1 + 0.25 * torch.randn(n, 1, 1, 1)) + noise


def small_rotations(n: int) -> torch.Tensor:
    """Rotations (N, 1, 3, 3) about random axes, about 20 degrees."""
    x, y, z = math.radians(20) * torch.randn(3, n)
    o = torch.zeros(n)
    generator = torch.stack((o, -z, y, z, o, -x, -y, x, o), 1).view(n, 1, 3, 3)
    return torch.linalg.matrix_exp(generator)
