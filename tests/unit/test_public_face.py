"""What ``import debride`` shows: lazily, always the functions, with the options of the verbs."""

from __future__ import annotations

import argparse
import inspect
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_folder

import debride
from debride.api.datasets import DatasetOptions
from debride.cli import make_parser
from debride.notes import note

FUNCTIONS = tuple(name for name in debride.__all__ if inspect.isfunction(getattr(debride, name)))

VERBS = {
    "audit": "audit_dataset",
    "bench": "run_bench",
    "calibrate": "calibrate",
    "changes": "list_changes",
    "check": "check_dataset",
    "choose": "choose_cases",
    "corrupt": "corrupt_dataset",
    "datasets": "convert_dataset",
    "evaluate": "evaluate",
    "export": "export_run",
    "predict": "predict",
    "repair": "repair_dataset",
    "review": "review_audit",
    "runs": "compare_runs",
    "train": "train",
}
"""The function of each verb that works on data."""

RENAMED = {"class": "class_", "no_browser": "browser", "as": "as_", "import": "import_", "run_folder": "run", "input": "source"}
"""Options that cannot have their name in Python, and places that have a longer one in the parser."""

PLACES = {("check", "dataset"): "path", ("evaluate", "reference"): "dataset"}
"""Places of a verb that the function calls otherwise."""

ONLY_VERB = {"predict": {"with"}, "audit": {"fail_on"}, "bench": {"estimate"}, "datasets": {"markdown"}}
"""What the command line alone has: an exit code, a list that is printed, and runs that are a list in Python."""


def python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def options_of(verb: str) -> set[str]:
    """The options and places of a verb by their names in Python, without those of settings, which leave no default."""
    verbs = next(action.choices for action in make_parser()._actions if action.choices)
    assert isinstance(verbs, dict)
    actions = [action for action in verbs[verb]._actions if action.default is not argparse.SUPPRESS or action.required]
    named = (max(action.option_strings, key=len, default=action.dest).lstrip("-").replace("-", "_") for action in actions)
    return {RENAMED.get(name, name) for name in named}


def parameters_of(name: str) -> set[str]:
    """The arguments of a function by name, without those that stand for others."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    function = getattr(debride, name)
    return {name for name, each in inspect.signature(function).parameters.items() if each.kind not in kinds}


def test_importing_it_imports_nothing_large() -> None:
    code = "import sys, debride; dir(debride); print(*{'torch', 'numpy', 'monai', 'pandas', 'matplotlib'} & set(sys.modules))"
    assert python(code) == ""
    code = "import sys, debride; debride.train, debride.DataError; print(*{'torch', 'numpy', 'argparse'} & set(sys.modules))"
    assert python(code) == ""


def test_every_name_is_there_and_no_other() -> None:
    assert set(debride.__all__) <= set(dir(debride))
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        debride.trian  # type: ignore[attr-defined]  # noqa: B018
    assert debride.IGNORE == 255 and debride.__version__


def test_no_public_name_is_that_of_a_package() -> None:
    """Whatever was imported before: a submodule of a function's name would take its place."""
    code = """
import importlib, inspect, pkgutil, sys
import debride
of_nnunet = ("nnunetv2", "batchgenerators", "batchgeneratorsv2", "dynamic_network_architectures", "acvl_utils", "blosc2")
for found in pkgutil.walk_packages(debride.__path__, "debride."):
    if not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as missing:
            assert found.name.startswith("debride.nnunet.") and missing.name.split(".")[0] in of_nnunet, found.name
for name in sys.argv[1:]:
    assert inspect.isfunction(getattr(debride, name)), name
print("done")
"""
    command = [sys.executable, "-c", code, *FUNCTIONS]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "done"
    modules = {found.name for found in pkgutil.iter_modules(debride.__path__)}
    assert not modules & set(FUNCTIONS)
    assert len(FUNCTIONS) >= 11


@pytest.mark.parametrize("verb", VERBS)
def test_a_function_has_the_options_of_its_verb(verb: str) -> None:
    options, parameters = options_of(verb) - {"help"} - ONLY_VERB.get(verb, set()), parameters_of(VERBS[verb])
    own = {PLACES.get((verb, name), name) for name in options - set(DatasetOptions.__annotations__)}
    assert own == parameters


def test_every_verb_that_works_on_data_has_a_function() -> None:
    verbs = next(action.choices for action in make_parser()._actions if action.choices)
    assert isinstance(verbs, dict) and set(verbs) - {"methods", "nnunet-path", "demo", "completions"} == set(VERBS)
    assert set(FUNCTIONS) - {"open_dataset", "audit_labels", "known_datasets"} == set(VERBS.values())


def test_how_a_data_set_is_read_has_the_options_of_the_verbs() -> None:
    shared = options_of("choose") - {"help", "dataset", "count", "out", "what_if", "jobs"}
    assert shared == set(DatasetOptions.__annotations__) == parameters_of("open_dataset") - {"path", "jobs"}


def test_notes_become_warnings_of_the_callers_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = build_folder(tmp_path / "data")
    from debride.data import open as opening

    opened = opening.open_dataset

    def noting(*args: object, **options: object) -> object:
        note(root, "is noted")
        return opened(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "open_dataset", noting)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        debride.open_dataset(root)
    assert [(str(each.message), each.filename) for each in caught] == [(f"debride: {root} is noted.", __file__)]


def test_trusted_cases_are_a_list_or_a_file(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "data")
    (tmp_path / "ids.txt").write_text("case001\n")
    for trusted in (["case001"], tmp_path / "ids.txt", str(tmp_path / "ids.txt")):
        dataset = debride.open_dataset(root, trusted=trusted)
        assert [case.id for case in dataset.cases if case.trusted] == ["case001"]
    with pytest.raises(debride.DataError, match=r"^`trusted`: names .*case00x.*did you mean"):
        debride.open_dataset(root, trusted=["case00x"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epoch": 3}, r"^`epoch`: is no setting. Did you mean `epochs`"),
        ({"lr": 0.1}, r"^`lr`: is no setting. Did you mean `learning_rate`\?"),
        ({"spatial_size": (64, 64)}, r"^`spatial_size`: is no setting. Did you mean `image_size`\?"),
        ({"augment_flips": (0,)}, r"^`augment_flips`: is no setting. Did you mean `augment_flip`"),
        ({"augment_policy": "none"}, r"^`augment_policy`: is for classification, and the data set is for segmentation"),
        ({"q": 7.0}, r"^`q`: is 7.0. Give a number above 0 and at most 1"),
        ({"epochs": 0}, r"^`epochs`: is 0. Give a whole number of at least 1"),
        ({"preset": "papers"}, r"^`preset`: is 'papers'. Choose one of default, paper"),
        ({"jobs": 0}, r"^`jobs`: is 0. Give a whole number of at least 1"),
    ],
)
def test_settings_that_cannot_be_are_named(tmp_path: Path, settings: dict[str, object], said: str) -> None:
    root = build_folder(tmp_path / "data")
    with pytest.raises(debride.DataError, match=said):
        debride.train("gce", root, tmp_path / "run", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def channels_last(data: Path) -> Path:
    """A folder of probabilities with the classes on the last axis, as Keras has them."""
    folder = data.parent / "maps"
    folder.mkdir()
    for mask in (data / "masks").iterdir():
        with Image.open(mask) as opened:
            height, width = opened.height, opened.width
        np.save(folder / f"{mask.stem}.npy", np.full((height, width, 2), 0.5, np.float32))
    return folder


REFUSED: list[tuple[Callable[[Path, Path], object], str]] = [
    (
        lambda data, out: debride.predict(data, data, out, splits="tests"),
        r"^`splits`: is 'tests'. Choose one of train, val, test",
    ),  # type: ignore[arg-type]
    (lambda data, out: debride.predict(data, data, out, device="gpu"), r"^`device`: is 'gpu'. Choose one of auto, cpu, cuda"),
    (lambda data, out: debride.calibrate(data, data, by="patient"), r"^`by`: is 'patient'. Choose one of site, scanner"),
    (lambda data, out: debride.calibrate(dataset=data), r"^`run`: is missing, and `predictions` too"),
    (lambda data, out: debride.calibrate(data), r"^`dataset`: is missing"),
    (lambda data, out: debride.calibrate(data, data, out=out), r"^`out`: is for predictions in a folder"),
    (lambda data, out: debride.calibrate(data, data, predictions=data, out=out), r"^`run`: is for a run"),
    (lambda data, out: debride.open_dataset(data, split_by="patient"), r"^`split_by`: is 'patient'"),
    (lambda data, out: debride.open_dataset(data, pixels="no.such:Kind"), r"^`pixels`: cannot import 'no.such:Kind'"),
    (lambda data, out: debride.open_dataset(data, jobs="all"), r"^`jobs`: is 'all'"),  # type: ignore[arg-type]
    (lambda data, out: debride.audit_dataset(data, out, consensus="mean"), r"^`consensus`: is 'mean'. Choose one of majority"),  # type: ignore[arg-type]
    (lambda data, out: debride.audit_dataset(data, out, run=data, predictions=data), r"^`run`: is given beside `predictions`"),
    (
        lambda data, out: debride.audit_dataset(data, out, predictions=data, epoch=3),
        r"^`epoch`: is no setting. Did you mean `epochs`",
    ),
    (lambda data, out: debride.audit_dataset(data, out, predictions=data, device="gpu"), r"^`device`: is 'gpu'"),
    (lambda data, out: debride.audit_dataset(data, out, predictions=data, planted=0), r"^`planted`: is 0"),
    (lambda data, out: debride.audit_dataset(data, out, prediction=data), r"^`prediction`: .* Did you mean `predictions`"),
    (lambda data, out: debride.check_dataset(data, fonds=1), r"^`fonds`: is no option. Did you mean `fold`"),  # type: ignore[call-arg]
    (
        lambda data, out: debride.repair_dataset(debride.open_dataset(data), data, out, confidnce=0.4),  # type: ignore[call-arg]
        r"^`confidnce`: is no option. Did you mean `confidence`",
    ),
    (lambda data, out: debride.predict(data, data, out, split="test"), r"^`split`: is no option. Did you mean `splits`"),  # type: ignore[call-arg]
    (lambda data, out: debride.audit_dataset(data, out, predictions=data / "none"), "none"),
    (lambda data, out: debride.audit_dataset(data, out, predictions=channels_last(data)), "its classes come last"),
    (lambda data, out: debride.train("ce", data, out, network="unet-smal"), "network"),
    (lambda data, out: debride.run_bench(None, out), r"^`paper`: is not given, and no grid either"),
    (lambda data, out: debride.run_bench("alc", out, paper="alc", size="huge"), r"^`size`: is 'huge'"),  # type: ignore[arg-type]
    (lambda data, out: debride.choose_cases(data, count=0), "count"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_the_command_line_refuses_python_refuses(tmp_path: Path, number: int) -> None:
    call, said = REFUSED[number]
    with pytest.raises(debride.DataError, match=said):
        call(build_folder(tmp_path / "data"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
