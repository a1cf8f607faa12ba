"""One training job: a task, one of its three networks, a seed."""

from functools import partial

import torch

from . import digits, watch
from .cost import measure, widen_to_flash
from .fit import accuracy, train
from .report import Run

TASKS = {
    "digits": partial(digits.task, "digits", digits.DS_CNN),
    "resnet8": partial(digits.task, "resnet8", digits.RESNET8),
    "watch": partial(watch.task, "watch", 6),
    "watch_acc": partial(watch.task, "watch_acc", 3),
}


def variants(task):
    """The CondConv network, its static twin of equal multiply-adds, the static network of equal flash."""
    shape = task.train.inputs.shape[1:]
    condconv = task.architecture
    twin = condconv.static_twin()
    wide = widen_to_flash(twin, measure(condconv, shape).flash_bytes, shape)
    return {"": condconv, "_static": twin, "_wide": wide}


def run(job):
    """Trains one network with one seed, in a process of its own."""
    task_name, suffix, seed = job
    torch.set_num_threads(1)
    task = TASKS[task_name]()
    network = train(variants(task)[suffix], task, seed)
    scores = Run(
        seed=seed,
        train=accuracy(network, task.train),
        validation=accuracy(network, task.validation),
        test=accuracy(network, task.test),
    )
    print(f"{task.name}{suffix}: {scores}", flush=True)
    return scores, network
