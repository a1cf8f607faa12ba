"""Makes the golden vectors in this folder: CondConv layers computed by PyTorch.

    pip install -r ../../tools/train/requirements.txt
    python make.py

Two sources: timm's CondConv2d itself, and the formula of nibuiro/CondConv-pytorch (MIT), written anew
because it is no package: alpha = sigmoid(fc(avgpool(x))), kernel = sum_i alpha_i kernel_i, no bias.
All numbers are computed in double precision from single-precision values and stored in single precision.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from timm.layers import CondConv2d
from torch import nn
from torch.nn import functional as F

FOLDER = Path(__file__).parent


def random(*shape, scale=1.0):
    """Normal values that single precision holds exactly."""
    return (scale * torch.randn(shape)).float().double()


def routing(channels, experts):
    return dict(
        routing_weight=random(experts, channels, scale=1.5), routing_bias=random(experts, scale=0.5)
    )


def alpha_of(x, case):
    pooled = F.adaptive_avg_pool2d(x, 1).flatten(1) if x.dim() == 4 else x
    return torch.sigmoid(F.linear(pooled, case["routing_weight"], case["routing_bias"]))


def timm_conv(x, channels_out, kernel, experts, stride=1, padding=0, dilation=1, groups=1, bias=True):
    layer = CondConv2d(
        x.shape[1], channels_out, kernel, stride, padding, dilation, groups, bias, experts
    ).double()
    case = routing(x.shape[1], experts)
    case["experts"] = random(experts, *layer.weight_shape, scale=0.3)
    layer.weight.data = case["experts"].flatten(1)
    if bias:
        case["expert_bias"] = random(experts, channels_out)
        layer.bias.data = case["expert_bias"]
    case["alpha"] = alpha_of(x, case)
    case["output"] = layer(x, case["alpha"])
    attributes = geometry(layer.stride, layer.padding, layer.dilation, groups)
    return dict(source="timm CondConv2d", **attributes), case


def nibuiro_conv(x, channels_out, kernel, experts, stride=1, padding=0, groups=1):
    case = routing(x.shape[1], experts)
    case["experts"] = random(experts, channels_out, x.shape[1] // groups, kernel, kernel, scale=0.3)
    case["alpha"] = alpha_of(x, case)
    mixed = (case["alpha"][0, :, None, None, None, None] * case["experts"]).sum(0)
    case["output"] = F.conv2d(x, mixed, stride=stride, padding=padding, groups=groups)
    attributes = geometry((stride, stride), (padding, padding), (1, 1), groups)
    return dict(source="nibuiro/CondConv-pytorch formula", **attributes), case


def linear(x, features_out, experts):
    case = routing(x.shape[1], experts)
    case["experts"] = random(experts, features_out, x.shape[1], scale=0.3)
    case["expert_bias"] = random(experts, features_out)
    case["alpha"] = alpha_of(x, case)
    mixed = torch.einsum("n,noi->oi", case["alpha"][0], case["experts"])
    case["output"] = F.linear(x, mixed, case["alpha"][0] @ case["expert_bias"])
    return dict(source="mixed torch.nn.functional.linear"), case


def geometry(stride, padding, dilation, groups):
    return dict(stride=list(stride), padding=list(padding), dilation=list(dilation), groups=groups)


def with_batch_norm(made):
    """The layer followed by a batch norm in inference with statistics far from trivial."""
    attributes, case = made
    channels = case["output"].shape[1]
    norm = nn.BatchNorm2d(channels).double().eval()
    case["norm_gamma"] = random(channels)
    case["norm_beta"] = random(channels)
    case["norm_mean"] = random(channels)
    case["norm_variance"] = random(channels).square().float().double() + 0.125
    norm.weight.data, norm.bias.data = case["norm_gamma"], case["norm_beta"]
    norm.running_mean, norm.running_var = case["norm_mean"], case["norm_variance"]
    case["output"] = norm(case["output"])
    return dict(attributes, batch_norm_epsilon=norm.eps), case


def write(name, x, made):
    attributes, case = made
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    arrays = {"input": x, **case}
    for array, values in arrays.items():
        np.save(folder / f"{array}.npy", values.detach().numpy().astype(np.float32))
    shapes = {array: list(values.shape) for array, values in arrays.items()}
    entries = dict(attributes, shapes=shapes).items()
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in entries)
    (folder / "case.json").write_text(f"{{\n{lines}\n}}\n")


def main():
    torch.manual_seed(2019)
    x = random(1, 5, 9, 8)
    write("timm_3x3", x, timm_conv(x, 7, 3, experts=4, padding=1))
    x = random(1, 6, 8, 7)
    write("timm_depthwise_3x3", x, timm_conv(x, 6, 3, experts=8, padding=1, groups=6))
    x = random(1, 7, 6, 5)
    write("timm_1x1", x, timm_conv(x, 5, 1, experts=3))
    x = random(1, 4, 11, 9)
    write("timm_grouped_1x7", x, timm_conv(x, 6, (1, 7), experts=2, stride=(1, 2), padding=(0, 3), groups=2))
    x = random(1, 3, 10, 9)
    write("timm_dilated_3x3", x, timm_conv(x, 4, 3, experts=4, padding=2, dilation=2, bias=False))
    x = random(1, 3, 9, 9)
    write("nibuiro_3x3_stride2", x, nibuiro_conv(x, 8, 3, experts=4, stride=2, padding=1))
    x = random(1, 3, 8, 8)
    write("nibuiro_5x5", x, nibuiro_conv(x, 4, 5, experts=3, padding=2))
    x = random(1, 13)
    write("linear", x, linear(x, 6, experts=4))
    x = random(1, 4, 7, 7)
    write("timm_3x3_batch_norm", x, with_batch_norm(timm_conv(x, 6, 3, experts=4, padding=1)))
    x = random(1, 6, 9, 7)
    made = nibuiro_conv(x, 6, 3, experts=8, stride=2, padding=1, groups=6)
    write("nibuiro_depthwise_3x3_batch_norm", x, with_batch_norm(made))


if __name__ == "__main__":
    main()
