"""A DS-CNN: a static convolution, depthwise-separable blocks, global average pool, fully connected layer."""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from .network import Architecture, Block, Pair, classifier, convolution


@dataclass(frozen=True)
class DsCnn(Architecture):
    """Each block is a depthwise and a pointwise convolution."""

    channels_in: int
    classes: int
    stem: int
    stem_kernel: Pair
    stem_stride: Pair
    kernel: Pair
    blocks: tuple[Block, ...]
    head_experts: int

    def build(self) -> nn.Sequential:
        layers = OrderedDict(stem=convolution(self.channels_in, self.stem, self.stem_kernel, self.stem_stride))
        channels = self.stem
        for i, block in enumerate(self.blocks, 1):
            layers[f"depthwise{i}"] = convolution(
                channels, channels, self.kernel, block.stride, groups=channels, experts=block.experts
            )
            layers[f"pointwise{i}"] = convolution(channels, block.channels, (1, 1), experts=block.experts)
            channels = block.channels
        layers.update(classifier(channels, self.classes, self.head_experts))
        return nn.Sequential(layers)
