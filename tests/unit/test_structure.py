"""What keeps the house in order, read off the source."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import debride

SOURCE = Path(debride.__file__).parent
TASKS = {"segmentation", "classification"}
TASK_SIDES = {"training/segmentation.py", "training/classification.py", "training/task.py"}
REFUSES = "refuses"
"""The hook of a method that says for which tasks and settings it is not made: the one place to compare a task's name."""
LONGEST = 400


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), path.read_text(encoding="utf-8")


def task_questions(tree: ast.Module) -> list[int]:
    """The lines where something is compared with the name of a task, outside ``Method.refuses``."""
    hooks = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == REFUSES]
    allowed = {id(node) for hook in hooks for node in ast.walk(hook)}
    comparisons = (node for node in ast.walk(tree) if isinstance(node, ast.Compare) and id(node) not in allowed)
    return [node.lineno for node in comparisons if any(is_task(side) for side in (node.left, *node.comparators))]


def is_task(side: ast.expr) -> bool:
    entries = side.elts if isinstance(side, ast.Tuple | ast.Set | ast.List) else [side]
    return any(isinstance(entry, ast.Constant) and entry.value in TASKS for entry in entries)


def flags_in_errors(tree: ast.Module) -> list[int]:
    """The lines where a DataError names an option of the command line as its place."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args)
    return [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id == "DataError"
        and ast.unparse(call.args[0]).startswith(("'--", "f'--"))
    ]


def test_no_module_asks_which_task_it_is() -> None:
    asked = {name: lines for name, text in sources() if name not in TASK_SIDES and (lines := task_questions(ast.parse(text)))}
    assert not asked, "a task's own lies in its side of training/task.py, or in a table by task"


def test_no_library_module_names_an_option() -> None:
    named = {
        name: lines for name, text in sources() if not name.startswith("cli/") and (lines := flags_in_errors(ast.parse(text)))
    }
    assert not named, "name the setting in backticks: the command line makes an option of it"


def test_verbs_compute_nothing() -> None:
    """What a verb imports of rooms that work on data is a class of settings, or a list to print; all else is in debride.api."""
    wired: dict[str, set[str]] = defaultdict(set)
    for name, text in sources():
        if name.startswith("cli/"):
            imports = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module)
            for node in imports:
                room = ".".join(str(node.module).split(".")[:2])
                if room in WORKING:
                    wired[name] |= {f"{node.module}:{each.name}" for each in node.names}
    assert dict(wired) == SHOWN_BY_VERBS


WORKING = {
    f"debride.{room}" for room in ("audit", "bench", "calibration", "data", "evaluation", "methods", "noise", "training")
}
SHOWN_BY_VERBS = {
    "cli/audit.py": {"debride.audit:AuditConfig", "debride.training.config:TrainConfig"},
    "cli/bench.py": {"debride.bench.papers.listing:estimates", "debride.bench.papers.listing:listing"},
    "cli/calibrate.py": {"debride.calibration.calibration_config:CalibrationConfig"},
    "cli/completed_words.py": {f"debride.methods.table:{name}" for name in ("SettingRow", "read_table")},
    "cli/demo.py": {"debride.bench.demo:run_demo"},
    "cli/methods.py": {
        "debride.methods.page:page",
        *(f"debride.methods.table:{name}" for name in ("MethodRow", "SettingRow", "find_row", "read_table")),
    },
    "cli/runs.py": {"debride.training.run_list:shown_rows"},
    "cli/train.py": {
        "debride.data.augmentation:AUGMENTATIONS",
        "debride.methods:METHODS",
        "debride.methods:find_method",
        "debride.training.config:TrainConfig",
    },
    "cli/__init__.py": {"debride.training.memory:is_memory"},
    "cli/identity.py": {
        f"debride.data.dicom.identities:{name}" for name in ("read_files", "read_identities", "roots_of", "write_identities")
    },
}
"""What verbs import of them."""


CALLED_AS_ROOMS = {"data/formats/nnunet.py", "data/formats/dicom.py", "data/pixels/dicom.py"}
"""Formats and kinds of file are called what users call them, as rooms are."""


def test_no_module_name_stands_twice() -> None:
    places = defaultdict(list)
    for name, _ in sources():
        path = Path(name)
        if path.parts[0] != "cli" and name not in CALLED_AS_ROOMS:
            places[path.parent.name if path.name == "__init__.py" else path.stem].append(name)
    assert not {stem: names for stem, names in places.items() if len(names) > 1}


def test_no_module_is_too_long() -> None:
    assert not {name: lines for name, text in sources() if (lines := len(text.splitlines())) > LONGEST}


def test_every_room_says_what_it_is_for() -> None:
    for name, text in sources():
        if name.endswith("__init__.py"):
            assert ast.get_docstring(ast.parse(text)), name


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('x = 1 if task == "classification" else 2', [1]),
        ('def f(dataset):\n    return dataset.task in ("segmentation",)', [2]),
        ('def refuses(cls, task, config):\n    return task == "classification"', []),
        ('y = [c for c in cells\n     if c.task != "segmentation"]', [2]),
    ],
)
def test_a_question_is_seen(text: str, lines: list[int]) -> None:
    assert task_questions(ast.parse(text)) == lines


def test_an_option_in_an_error_is_seen() -> None:
    assert flags_in_errors(ast.parse('raise DataError("--q", "is 5", "Lower it.")\nDataError(f"--{n}", "a", "b")')) == [1, 2]
    assert not flags_in_errors(ast.parse('raise DataError("`q`", "is 5", "Lower it.")'))
