"""Results as one JSON file a network, and the table of models/README.md made from them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from .cost import Cost
from .network import Architecture
from .task import Task

KINDS = {"": "CondConv", "_static": "static twin", "_wide": "wide static"}


@dataclass(frozen=True)
class Run:
    """Accuracies of one training, as fractions."""

    seed: int
    train: float
    validation: float
    test: float


@dataclass(frozen=True)
class Result:
    name: str
    task: str
    kind: str
    inputs: dict[str, int]
    architecture: dict
    cost: dict
    recipe: dict
    runs: list[dict]
    shipped_seed: int

    @staticmethod
    def of(
        task: Task, suffix: str, architecture: Architecture, cost: Cost, runs: list[Run], shipped_seed: int
    ) -> "Result":
        return Result(
            name=task.name + suffix,
            task=task.name,
            kind=KINDS[suffix],
            inputs={part: len(getattr(task, part).labels) for part in ("train", "validation", "test")},
            architecture=asdict(architecture),
            cost=asdict(cost),
            recipe=asdict(task.recipe),
            runs=[asdict(run) for run in runs],
            shipped_seed=shipped_seed,
        )

    def shipped(self) -> dict:
        return next(run for run in self.runs if run["seed"] == self.shipped_seed)


def write_result(result: Result, folder: Path):
    (folder / f"{result.name}.json").write_text(json.dumps(asdict(result), indent=2) + "\n")


def write_table(folder: Path):
    results = [Result(**json.loads(path.read_text())) for path in folder.glob("*.json")]
    results.sort(key=lambda result: (result.task, list(KINDS.values()).index(result.kind)))
    rows = "\n".join(row(result) for result in results)
    (folder / "README.md").write_text(PAGE.format(rows=rows))


def row(result: Result) -> str:
    shipped, cost = result.shipped(), result.cost
    tests = [run["test"] for run in result.runs]
    each = " / ".join(percent(test) for test in tests)
    cells = [
        f"`{result.name}.onnx`",
        result.kind,
        percent(shipped["test"]),
        percent(shipped["validation"]),
        each,
        f"{percent(mean(tests))} ± {percent(stdev(tests))}" if len(tests) > 1 else percent(tests[0]),
        f"{cost['macs']:,}",
        f"{cost['mixing_macs']:,}",
        f"{cost['parameters']:,}",
        f"{cost['flash_bytes']:,}",
        f"{cost['activation_bytes']:,}",
    ]
    return f"| {' | '.join(cells)} |"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


PAGE = """# Models

Made from `tools/` by

    pip install -r train/requirements.txt
    python -m train all

which writes everything here but DATA.md. Accuracies are those of the float networks, in percent. Shipped is
the seed that is best on validation; `tools/train/README.md` tells which other widths were measured.
`NAME.json` has all the figures. A static twin has the layers of its CondConv network with one expert each; a wide static network has
the twin's layers widened to the flash of the CondConv network. Multiply-adds leave out the mixing, which has a
column of its own; flash is int8 weights with all experts and int16 routing matrices; RAM is the int8 input and
output of the layer for which their sum is largest. ResNet8 is MLPerf Tiny's at half its width; its wide static network
has nearly the original's filters, 16, 31 and 63 instead of 16, 32 and 64.

| file | network | test | validation | test, each seed | mean ± std | multiply-adds | mixing | parameters | flash, bytes | RAM, bytes |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}

Beside the CondConv networks, for digits, watch and watch_acc: `NAME.calibrate.npy` (256 inputs of the training split),
`NAME.test.npy` and `NAME.labels.npy` (the test split on which the accuracies were measured), `NAME.classes.txt` (the
classes). The ResNet8 networks have the inputs of digits. DATA.md says where the data come from and what the inputs mean.
"""
