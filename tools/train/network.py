"""A DS-CNN: a static convolution, depthwise-separable blocks, global average pool, fully connected layer."""

from collections import OrderedDict
from dataclasses import dataclass, replace

from torch import nn

from .condconv import CondConv2d, CondLinear

Pair = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """A depthwise and a pointwise convolution; CondConv where there is more than one expert."""

    channels: int
    stride: Pair = (1, 1)
    experts: int = 1


@dataclass(frozen=True)
class Architecture:
    channels_in: int
    classes: int
    stem: int
    stem_kernel: Pair
    stem_stride: Pair
    kernel: Pair
    blocks: tuple[Block, ...]
    head_experts: int

    def static_twin(self) -> "Architecture":
        """The same layers, each with one expert: equal multiply-adds, mixing aside."""
        blocks = tuple(replace(block, experts=1) for block in self.blocks)
        return replace(self, blocks=blocks, head_experts=1)

    def widened(self, factor: float) -> "Architecture":
        """Every hidden layer wider by `factor`."""
        blocks = tuple(replace(block, channels=round(block.channels * factor)) for block in self.blocks)
        return replace(self, stem=round(self.stem * factor), blocks=blocks)


def convolution(channels_in, channels_out, kernel, stride=(1, 1), groups=1, experts=1):
    """Convolution, batch norm and ReLU6, padded so that stride 1 keeps the size."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    if experts > 1:
        layer = CondConv2d(channels_in, channels_out, kernel, stride, padding, groups, experts)
    else:
        layer = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=layer, norm=nn.BatchNorm2d(channels_out), activation=nn.ReLU6()))


def build(architecture: Architecture) -> nn.Sequential:
    a = architecture
    layers = OrderedDict(stem=convolution(a.channels_in, a.stem, a.stem_kernel, a.stem_stride))
    channels = a.stem
    for i, block in enumerate(a.blocks, 1):
        layers[f"depthwise{i}"] = convolution(
            channels, channels, a.kernel, block.stride, groups=channels, experts=block.experts
        )
        layers[f"pointwise{i}"] = convolution(channels, block.channels, (1, 1), experts=block.experts)
        channels = block.channels
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["dropout"] = nn.Dropout(0.1)
    if a.head_experts > 1:
        layers["head"] = CondLinear(channels, a.classes, a.head_experts)
    else:
        layers["head"] = nn.Linear(channels, a.classes)
    return nn.Sequential(layers)


def fold_input_scale(network: nn.Sequential, scale: float):
    """Make a network trained on `scale * x` take x itself."""
    network.stem.conv.weight.data.mul_(scale)
