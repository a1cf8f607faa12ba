"""Trains every network of a task with every seed, and writes models, samples, results and the table.

    python -m train all
    python -m train digits --processes 2
"""

import argparse
from itertools import islice
from pathlib import Path

from torch import multiprocessing

from .cost import measure
from .export import write_network, write_samples
from .jobs import TASKS, run, variants
from .report import KINDS, Result, write_result, write_table

MODELS = Path(__file__).parents[2] / "models"


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
                scores = [scores for scores, _ in runs]
                write_result(Result.of(task, suffix, architecture, cost, scores, best.seed), arguments.out)
    write_table(arguments.out)


if __name__ == "__main__":
    main()
