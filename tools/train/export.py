"""Writes what the converter reads: networks as ONNX, samples as .npy."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from .task import Task

CALIBRATION_INPUTS = 256
TOLERANCE = 1e-4


def write_network(network: nn.Module, task: Task, path: Path):
    """One self-contained file at batch 1, checked against PyTorch."""
    example = task.test.inputs[:1].float()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, and warns that it takes the batch of 1 for granted: as intended.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            path,
            input_names=["input"],
            output_names=["logits"],
            dynamo=task.exporter == "dynamo",
            external_data=False,
            verbose=False,
        )
    strip_metadata(path)
    session = onnxruntime.InferenceSession(path)
    for x in task.test.inputs[:20].float().split(1):
        (logits,) = session.run(None, {"input": x.numpy()})
        error = np.abs(logits - network(x).detach().numpy()).max()
        assert error < TOLERANCE, f"{path}: ONNX and PyTorch differ by {error}"


def strip_metadata(path: Path):
    """Drops the stack traces that the dynamo exporter stores with each node."""
    model = onnx.load(path)
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (model, graph, *graph.node, *values):
        del part.metadata_props[:]
    onnx.save(model, path)


def write_samples(task: Task, folder: Path):
    chosen = torch.linspace(0, len(task.train.labels) - 1, CALIBRATION_INPUTS).long()
    np.save(folder / f"{task.data}.calibrate.npy", task.train.inputs[chosen].numpy())
    np.save(folder / f"{task.data}.test.npy", task.test.inputs.numpy())
    np.save(folder / f"{task.data}.labels.npy", task.test.labels.numpy().astype(np.uint8))
    (folder / f"{task.data}.classes.txt").write_text("".join(f"{label}\n" for label in task.labels))
