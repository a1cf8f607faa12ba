"""What a network is trained to do: its data, split once and for all, and how it is trained."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .network import Architecture


@dataclass(frozen=True)
class Samples:
    """Inputs (N, C, H, W) in the type in which they are stored, and their labels (N)."""

    inputs: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Recipe:
    epochs: int
    batch: int = 64
    rate: float = 5e-3
    weight_decay: float = 0.02


@dataclass(frozen=True)
class Task:
    """`data` names the files of samples, which tasks may share."""

    name: str
    data: str
    train: Samples
    validation: Samples
    test: Samples
    labels: tuple[str, ...]
    architecture: Architecture
    recipe: Recipe
    augment: Callable[[torch.Tensor], torch.Tensor]
    input_scale: float
    exporter: str
