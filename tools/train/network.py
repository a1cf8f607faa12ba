"""What the networks have in common: conditional blocks after a static convolution, and a fully connected layer."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass, replace

from torch import nn

from .condconv import CondConv2d, CondLinear

Pair = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """The convolutions of one width; CondConv where there is more than one expert."""

    channels: int
    stride: Pair = (1, 1)
    experts: int = 1


@dataclass(frozen=True)
class Architecture(ABC):
    """Has a `stem` of some channels, `blocks` and `head_experts`."""

    @abstractmethod
    def build(self) -> nn.Sequential:
        """The network, its first layer called `stem.conv` and its last one `head`."""

    def static_twin(self) -> "Architecture":
        """The same layers, each with one expert: equal multiply-adds, mixing aside."""
        blocks = tuple(replace(block, experts=1) for block in self.blocks)
        return replace(self, blocks=blocks, head_experts=1)

    def widened(self, factor: float) -> "Architecture":
        """Every hidden layer wider by `factor`."""
        blocks = tuple(replace(block, channels=round(block.channels * factor)) for block in self.blocks)
        return replace(self, stem=round(self.stem * factor), blocks=blocks)


def convolution(channels_in, channels_out, kernel, stride=(1, 1), groups=1, experts=1, activation=nn.ReLU6):
    """Convolution, batch norm and activation, padded so that stride 1 keeps the size."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    if experts > 1:
        layer = CondConv2d(channels_in, channels_out, kernel, stride, padding, groups, experts)
    else:
        layer = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=layer, norm=nn.BatchNorm2d(channels_out), activation=activation()))


def classifier(channels, classes, experts):
    """The layers after the last block, by name."""
    head = CondLinear(channels, classes, experts) if experts > 1 else nn.Linear(channels, classes)
    return OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), dropout=nn.Dropout(0.1), head=head)


def fold_input_scale(network: nn.Sequential, scale: float):
    """Make a network trained on `scale * x` take x itself."""
    network.stem.conv.weight.data.mul_(scale)
