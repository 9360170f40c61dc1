"""The graph of a run as ONNX, checked by onnxruntime where that is installed."""

from __future__ import annotations

import inspect
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from debride.export.plan import Plan
from debride.export.tracing import CLOSE, Predicting, Traced, quiet
from debride.types import DataError

OPSET = 17
"""The version of ONNX's operators."""


def refuse_no_onnx() -> None:
    """DataError where the package onnx is missing."""
    if find_spec("onnx") is None:
        raise DataError("`to` onnx", "needs the package onnx, which is not installed", "Run `pip install 'debride[export]'`.")


def write_onnx(plan: Plan, graph: Traced, file: Path) -> str:
    """Writes the graph with the weights of a plan's calibration, and says how it was checked.

    Raises DataError for an operation that ONNX does not have, and for a file that predicts otherwise.
    """
    axes = len(graph.output) - 2
    predicting = Predicting(plan.trained.method, plan.weights.reshape(-1, *[1] * axes) if plan.calibrated else None).eval()
    free = {0: "batch"} | {axis + 2: f"size_{axis}" for axis in range(plan.ndim)}
    given = {axis: name for axis, name in free.items() if axis < len(graph.output)}
    options: dict[str, Any] = {} if graph.fixed else {"dynamic_axes": {"image": free, "probabilities": given}}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # the exporter of traced graphs: the same one in all versions of torch, and ten times faster
    try:
        with torch.no_grad(), quiet():
            torch.onnx.export(
                predicting,
                (graph.example,),
                str(file),
                input_names=["image"],
                output_names=["probabilities"],
                opset_version=OPSET,
                **options,
            )
    except Exception as error:  # of torch's exporter, unrelated kinds
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "Export it to torchscript, or change the network's operations."
        raise DataError("the network", f"cannot be written as ONNX ({line})", remedy) from error
    return _checked(predicting, graph, file)


def _checked(predicting: torch.nn.Module, graph: Traced, file: Path) -> str:
    """Compares the file with the method on a random image, and on two of another size where it takes any."""
    if find_spec("onnxruntime") is None:
        return "It was not compared with the method: onnxruntime is not installed."
    import onnxruntime

    generator = torch.Generator().manual_seed(1)
    batch, _, first, *rest = graph.example.shape
    shapes = [graph.example.shape] if graph.fixed else [graph.example.shape, (batch + 1, _, first + graph.multiple, *rest)]
    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        largest = 0.0
        for shape in shapes:
            image = torch.randn(shape, generator=generator)
            found = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
            with torch.no_grad():
                largest = max(largest, float((predicting(image) - found).abs().max()))
    except Exception as error:  # of onnxruntime, which has kinds of its own
        problem = f"cannot be run by onnxruntime ({str(error).strip().splitlines()[0]})"
        raise DataError("the network as ONNX", problem, "Export it to torchscript.") from error
    if not largest <= CLOSE:
        raise DataError(
            "the network as ONNX", f"predicts otherwise (by {largest:.2g} in onnxruntime)", "Export it to torchscript."
        )
    return f"onnxruntime {onnxruntime.__version__} gives the method's probabilities, within {largest:.1g}."
