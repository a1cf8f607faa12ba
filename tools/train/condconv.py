"""Conditionally parameterised layers (Yang et al., NeurIPS 2019), routed one layer at a time.

    alpha  = sigmoid(global average pool(x) R + r)      one weight per expert
    kernel = sum_i alpha_i kernel_i                     one kernel per input
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def initial_experts(experts: int, shape: tuple[int, ...]) -> nn.Parameter:
    """Kaiming-uniform experts, scaled so that their sum at alpha = 1/2 keeps the variance of one kernel."""
    kernels = torch.empty(experts, *shape)
    for kernel in kernels:
        nn.init.kaiming_uniform_(kernel, a=math.sqrt(5))
    return nn.Parameter(kernels * 2 / math.sqrt(experts))


class CondConv2d(nn.Module):
    """A convolution without bias whose kernel is mixed from `experts` kernels, anew for each input."""

    def __init__(self, channels_in, channels_out, kernel, stride, padding, groups, experts):
        super().__init__()
        self.stride, self.padding, self.groups = stride, padding, groups
        self.routing = nn.Linear(channels_in, experts)
        self.experts = initial_experts(experts, (channels_out, channels_in // groups, *kernel))

    def forward(self, x):
        batch = x.shape[0]
        alpha = torch.sigmoid(self.routing(x.mean((2, 3))))
        kernel = alpha @ self.experts.flatten(1)
        if batch == 1:
            kernel = kernel.view(self.experts.shape[1:])
            return F.conv2d(x, kernel, None, self.stride, self.padding, 1, self.groups)
        # A batch becomes one grouped convolution: its inputs side by side, a group of channels each.
        kernel = kernel.view(-1, *self.experts.shape[2:])
        side_by_side = x.reshape(1, -1, *x.shape[2:])
        y = F.conv2d(side_by_side, kernel, None, self.stride, self.padding, 1, self.groups * batch)
        return y.view(batch, -1, *y.shape[2:])


class CondLinear(nn.Module):
    """A fully connected layer whose matrix and bias are mixed from `experts`, routed by its own input."""

    def __init__(self, features_in, features_out, experts):
        super().__init__()
        self.routing = nn.Linear(features_in, experts)
        self.experts = initial_experts(experts, (features_out, features_in))
        self.bias = nn.Parameter(torch.zeros(experts, features_out))

    def forward(self, x):
        alpha = torch.sigmoid(self.routing(x))
        matrix = (alpha @ self.experts.flatten(1)).view(-1, *self.experts.shape[1:])
        return (matrix @ x.unsqueeze(2)).squeeze(2) + alpha @ self.bias
