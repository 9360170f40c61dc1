"""What a row was made with: hashes of its settings, of its method's source and of its method's golden curve."""

from __future__ import annotations

import ast
import importlib.util
import json
from functools import cache
from pathlib import Path

from debride.bench.cell_base import Cell
from debride.files import content_hash
from debride.methods import find_method

ROOT = Path(__file__).parents[2]
CURVES = ROOT / "tests" / "golden" / "curves.json"

CALIBRATING = ("ascent", "calibration_config", "correction", "fitting", "moving", "scan")
"""Modules of the package ``calibration`` that rows depend on."""

METHODS, BASE = "debride.methods.", "debride.methods.base"
"""Modules that count as a method's source, and the one that does not: it is the frame of all of them."""


def made_by(cell: Cell) -> dict[str, str]:
    """The hashes of a cell. Where its data lie on this machine does not count."""
    left_out = ("path", "calibrate")  # a calibration changes no measure without it
    settings = {name: value for name, value in cell.settings.items() if name not in left_out}
    return {
        "settings": content_hash([], json.dumps(settings, sort_keys=True), type(cell.simulator).__name__)[:12],
        "source": source_hash(find_method(cell.method).__module__),
        "curve": content_hash([], curve(cell.method, cell.task))[:12],
    }


@cache
def calibration_hash() -> str:
    """Of the modules that choose and apply calibrations of masks."""
    files = (_file(f"debride.calibration.{name}") for name in CALIBRATING)
    return content_hash([], *(bare(ast.parse(file.read_text(encoding="utf-8"))) for file in files))[:12]


@cache
def source_hash(module: str) -> str:
    """Of a method's module, and of the parts and other methods that it imports, and these in turn."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            tree = ast.parse(_file(name).read_text(encoding="utf-8"))
            waiting += _imported(tree)
            found[name] = bare(tree)
    return content_hash([], *sorted(found.items()))[:12]


def bare(tree: ast.Module) -> str:
    """The code of a module without comments, docstrings and what a method says of its paper: they change no row."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [each for each in node.body if not _is_text(each)] or [ast.Pass()]
    return ast.unparse(tree)


def curve(method: str, task: str) -> tuple[str, ...]:
    """The golden loss curve of a method, to the digits that its test compares; empty for one that has none."""
    curves = json.loads(CURVES.read_text(encoding="utf-8"))
    own = curves.get(method if task == "segmentation" else f"{method} (classes)", [])
    return tuple(f"{loss:.3g}" for loss in own)


def _file(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin)


def _imported(tree: ast.Module) -> list[str]:
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return [module for module in modules if module.startswith(METHODS) and module != BASE]


def _is_text(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["paper"]
