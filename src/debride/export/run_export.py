"""``debride export``: a finished run as TorchScript, as ONNX, or as a MONAI bundle, in a folder that needs no debride."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from debride.export.about import about, in_words
from debride.export.bundle import write_bundle
from debride.export.onnx_graph import OPSET, refuse_no_onnx, write_onnx
from debride.export.plan import Plan, plan_export, scripted, traced
from debride.export.tracing import Traced
from debride.files import write_json, write_text
from debride.folders import atomic_folder, new_folder
from debride.plugins import NOTHING, Trust
from debride.training.ensemble import members_of
from debride.training.predict import calibration_in_use
from debride.types import DataError

Form = Literal["torchscript", "onnx", "monai-bundle"]
"""What a run can be exported to."""


@dataclass(frozen=True)
class Exported:
    """A folder that was written, its files by name, and what is to be said of it, in sentences."""

    out: Path
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()


def export_run(
    run_folder: Path, to: Form, out: Path, *, checkpoint: str | None = None, raw: bool = False, trust: Trust = NOTHING
) -> Exported:
    """Writes a run to a new folder ``out``: the model, ``preprocessing.json`` with all that is done to an image, ``README.md``.

    The weights are those that ``predict`` would take: of ``checkpoint``, or those that were calibrated, or the best. Offsets of
    the run's calibration are put into the model, unless ``raw``. Raises DataError for the run and ``out`` as ``predict_folder``
    does, for a calibration that moves outlines or differs between groups, and for a network that cannot be exported.
    """
    if to not in WRITERS:
        raise DataError(f"`to` {to}", "is no form of export", f"Choose one of {', '.join(WRITERS)}.")
    if not (run_folder / "run.json").exists() and len(members_of(run_folder)) > 1:
        raise DataError(run_folder, "holds several runs, whose mean is no one network", "Export each run by itself.")
    new_folder(out, apart_from={"the run": run_folder})
    if to == "onnx":
        refuse_no_onnx()
    plan = plan_export(run_folder, calibration_in_use(run_folder, checkpoint, raw), trust)
    graph = traced(plan)
    told = about(plan, graph)
    with atomic_folder(out) as folder:
        written, notes = WRITERS[to](plan, graph, folder)
        write_json(folder / "preprocessing.json", {**told, **written})
        write_text(folder / PAGES.get(to, "README.md"), _page(plan, graph, told, EXAMPLES[to], notes))
        files = tuple(sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()))
    if graph.fixed:
        notes = (*notes, f"The network takes images of {_by(graph.example.shape[2:])} alone, one at a time.")
    return Exported(out, files, notes)


def _torchscript(plan: Plan, graph: Traced, folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    scripted(plan, graph).save(str(folder / "model.ts"))
    return {"model": {"file": "model.ts", "form": "torchscript"}}, ()


def _onnx(plan: Plan, graph: Traced, folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    checked = write_onnx(plan, graph, folder / "model.onnx")
    return {"model": {"file": "model.onnx", "form": "onnx", "opset": OPSET, "checked": checked}}, (checked,)


def _bundle(plan: Plan, graph: Traced, folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    write_bundle(plan, scripted(plan, graph), folder)
    (folder / "docs").mkdir()
    return {"model": {"file": "models/model.ts", "form": "torchscript"}}, ()


WRITERS: dict[str, Callable[[Plan, Traced, Path], tuple[dict[str, Any], tuple[str, ...]]]] = {
    "torchscript": _torchscript,
    "onnx": _onnx,
    "monai-bundle": _bundle,
}
"""What writes a model to a folder, and returns what ``preprocessing.json`` says of it and what is to be told."""

PAGES = {"monai-bundle": "docs/README.md"}
"""Where the page lies that explains a folder, where it is not README.md."""

_IN_TORCH = """\
```python
import torch

model = torch.jit.load("model.ts")
image = torch.zeros({shape})  # as the file stores it: channels first, x last
result = model.predict(image, {spacing})  # {result}
probabilities = model(torch.zeros({batch}))  # of prepared images, if you do the preparation yourself
```
"""

_IN_NUMPY = """\
`model.onnx` begins after the preparation and ends before what is done then. `preprocessing.json` has all numbers.

```python
import json

import numpy as np
import onnxruntime

about = json.load(open("preprocessing.json"))
session = onnxruntime.InferenceSession("model.onnx")
image = np.zeros({batch}, np.float32)  # prepared: intensities, then size, padded
scores = session.run(None, {{"image": image}})[0][0]
ids = scores.argmax(axis=0)
print([about["classes"][number]["name"] for number in np.unique(ids)])
```
"""

_IN_MONAI = """\
```sh
python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir IMAGES --output_dir MASKS
```

It needs `pip install "monai[fire,nibabel,pillow]"`, and no debride. In Python it is
`monai.bundle.run(config_file="configs/inference.json", bundle_root=".", dataset_dir="IMAGES", output_dir="MASKS")`.
"""

EXAMPLES = {"torchscript": _IN_TORCH, "onnx": _IN_NUMPY, "monai-bundle": _IN_MONAI}
"""How each form is used."""


RESULTS = {"segmentation": "label values", "classification": "probabilities of the classes"}
"""What ``model.predict`` returns, by task."""


def _page(plan: Plan, graph: Traced, told: dict[str, Any], example: str, notes: tuple[str, ...]) -> str:
    """The page that explains a folder."""
    made = told["made_by"]
    length = (64,) * plan.ndim
    size = tuple(plan.trained.config.patch_size or plan.size or length)
    shown = example.format(
        shape=", ".join(map(str, (plan.trained.channels, *size))),
        batch=str(tuple(graph.example.shape)),
        spacing=str([1.0] * plan.ndim),
        result=RESULTS[plan.task],
    )
    classes = "".join(f"| {entry['id']} | {entry['name']} | {entry['value']} |\n" for entry in told["classes"])
    done = "".join(f"- {line}\n" for line in [*in_words(told), *notes])
    first = f"A network for {plan.task}, trained by the method {made['method']} with debride {made['debride']}."
    table = f"## Classes\n\n| id | name | label value |\n|---|---|---|\n{classes}"
    return f"# {made['run']}\n\n{first}\n\n{shown}\n## What is done to an image\n\n{done}\n{table}"


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
