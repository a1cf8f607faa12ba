"""Trains every network of a task with every seed, and writes models, samples, results and the table.

    python -m train all
    python -m train digits --processes 2
"""

import argparse
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import multiprocessing

from . import digits, watch
from .cost import measure, widen_to_flash
from .export import write_network, write_samples
from .fit import accuracy, train
from .report import KINDS, Result, Run, write_result, write_table

TASKS = {
    "digits": digits.task,
    "watch": partial(watch.task, "watch", 6),
    "watch_acc": partial(watch.task, "watch_acc", 3),
}
MODELS = Path(__file__).parents[2] / "models"


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


def main():
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=[*TASKS, "all"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=MODELS)
    arguments = parser.parse_args()
    names = list(TASKS) if arguments.task == "all" else [arguments.task]
    arguments.out.mkdir(parents=True, exist_ok=True)

    jobs = [(name, suffix, seed) for name in names for suffix in KINDS for seed in range(arguments.seeds)]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        trained = pool.imap(run, jobs)
        for name in names:
            task = TASKS[name]()
            write_samples(task, arguments.out)
            for suffix, architecture in variants(task).items():
                runs = list(islice(trained, arguments.seeds))
                best, network = max(runs, key=lambda scored: scored[0].validation)
                write_network(network, task, arguments.out / f"{name}{suffix}.onnx")
                cost = measure(architecture, task.train.inputs.shape[1:])
                result = Result.of(task, suffix, architecture, cost, [scores for scores, _ in runs], best.seed)
                write_result(result, arguments.out)
    write_table(arguments.out)


if __name__ == "__main__":
    main()
