"""Training and evaluation of one network."""

import torch
from torch import nn

from .network import Architecture, fold_input_scale
from .task import Samples, Task


def accuracy(network: nn.Module, samples: Samples) -> float:
    return (logits(network, samples.inputs).argmax(1) == samples.labels).double().mean().item()


@torch.no_grad()
def logits(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    return torch.cat([network(batch.float()) for batch in inputs.split(100)])


def train(architecture: Architecture, task: Task, seed: int) -> nn.Sequential:
    """Adam with a one-cycle rate, weight decay and label smoothing; the last epoch's weights."""
    torch.manual_seed(seed)
    network = architecture.build()
    samples, recipe = task.train, task.recipe
    steps = len(samples.labels) // recipe.batch
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, recipe.epochs * steps)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    network.train()
    for _ in range(recipe.epochs):
        for chosen in torch.randperm(len(samples.labels))[: steps * recipe.batch].split(recipe.batch):
            inputs = task.augment(samples.inputs[chosen].float())
            optimiser.zero_grad()
            loss(network(inputs * task.input_scale), samples.labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    fold_input_scale(network, task.input_scale)
    return network.eval()
