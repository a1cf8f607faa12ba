"""What a network costs on the device: multiply-adds and bytes of weights."""

from dataclasses import dataclass

import torch
from torch import nn

from .condconv import CondConv2d, CondLinear
from .network import Architecture


@dataclass(frozen=True)
class Cost:
    macs: int
    mixing_macs: int
    parameters: int
    flash_bytes: int
    activation_bytes: int


def measure(architecture: Architecture, input_shape: tuple[int, int, int]) -> Cost:
    """Weights count as int8 with all experts, routing matrices as int16; biases and batch norm are left out.

    `activation_bytes` is the int8 input and output of the layer for which their sum is largest.
    """
    network = architecture.build().eval()
    layers = []

    def record(layer, inputs, output):
        layers.append((layer, inputs[0], output))

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, CondConv2d, CondLinear)) or layer is network.head:
            layer.register_forward_hook(record)
    network(torch.zeros(1, *input_shape))

    macs = mixing = flash = activations = 0
    for layer, x, y in layers:
        conditional = isinstance(layer, (CondConv2d, CondLinear))
        kernel = layer.experts[0] if conditional else layer.weight
        macs += y.numel() * kernel[0].numel()
        flash += kernel.numel()
        if conditional:
            experts = len(layer.experts)
            mixing += experts * kernel.numel()
            macs += layer.routing.weight.numel()
            flash += (experts - 1) * kernel.numel() + 2 * layer.routing.weight.numel()
        activations = max(activations, x.numel() + y.numel())
    parameters = sum(p.numel() for p in network.parameters())
    return Cost(macs, mixing, parameters, flash, activations)


def widen_to_flash(twin: Architecture, flash_bytes: int, input_shape) -> Architecture:
    """The widest of the twin's multiples (in steps of 1 %) whose weights fit `flash_bytes`."""
    factor = 1.0
    while measure(twin.widened(factor + 0.01), input_shape).flash_bytes <= flash_bytes:
        factor += 0.01
    return twin.widened(factor)
