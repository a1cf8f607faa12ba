"""The residual network of MLPerf Tiny (image classification), of any width, and with experts."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from torch import nn
from torch.nn import functional as F

from .network import Architecture, Block, Pair, classifier, convolution

KERNEL: Pair = (3, 3)


@dataclass(frozen=True)
class ResNet(Architecture):
    """A convolution, residual blocks, global average pool, fully connected layer; ResNet8 has three blocks."""

    channels_in: int
    classes: int
    stem: int
    blocks: tuple[Block, ...]
    head_experts: int

    def build(self) -> nn.Sequential:
        layers = OrderedDict(stem=convolution(self.channels_in, self.stem, KERNEL, activation=nn.ReLU))
        channels = self.stem
        for i, block in enumerate(self.blocks, 1):
            layers[f"residual{i}"] = Residual(channels, block)
            channels = block.channels
        layers.update(classifier(channels, self.classes, self.head_experts))
        return nn.Sequential(layers)


class Residual(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution of one pixel where the shape changes."""

    def __init__(self, channels_in, block: Block):
        super().__init__()
        conv = partial(convolution, experts=block.experts)
        self.first = conv(channels_in, block.channels, KERNEL, block.stride, activation=nn.ReLU)
        self.second = conv(block.channels, block.channels, KERNEL, activation=nn.Identity)
        if block.stride == (1, 1) and channels_in == block.channels:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = conv(channels_in, block.channels, (1, 1), block.stride, activation=nn.Identity)

    def forward(self, x):
        return F.relu(self.second(self.first(x)) + self.shortcut(x))
