"""``debride bench``: a grid of data sets, noises, methods and seeds, each cell a training that can be resumed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from debride.bench.cell_base import Cell, drop_stale, expanded, open_given
from debride.bench.cell_kinds import CELL_KINDS
from debride.bench.grid_entries import Block, DatasetEntry, Grid, GridSettings, MethodEntry, NoiseEntry
from debride.bench.results import write_report, write_tables
from debride.bench.run_cells import run_cells
from debride.bench.tabulate import CellRow
from debride.data.cache import cache_folder
from debride.data.source_hashes import forget
from debride.execute.cluster import Cluster, on_cluster
from debride.files import read_yaml, write_json
from debride.folders import new_folder
from debride.methods import find_method
from debride.plugins import Trust
from debride.progress import track
from debride.records import not_a_name
from debride.settings import from_mapping, paper_values
from debride.spawning import refuse_script
from debride.training.job import refuse_method
from debride.training.task import TASKS
from debride.types import DataError, TaskName


def read_grid(file: Path, trust_code: bool = False) -> Grid:
    """Reads and checks a grid file; every mistake in it is a DataError that names the file and the entry.

    Without ``trust_code`` a method, noise, network or format that it names as ``package.module:name`` is refused.
    """
    raw = read_yaml(file)
    if not isinstance(raw, dict):
        raise DataError(file, "is not a YAML mapping", "Give name, datasets, noises, methods, seeds and training.")
    return make_grid(raw, file, trust_code)


def make_grid(raw: Mapping[str, Any], where: object, trust_code: bool = False) -> Grid:
    """A grid from plain values, as a grid file holds them; see ``read_grid``."""
    plain = ("name", "task", "seeds", "training", "test_every", "last_ten", "pictures")
    known = {*plain, "datasets", "noises", "methods", "augmentation", "cells"}
    for name in raw:
        if name not in known:
            raise DataError(where, f"has the unknown entry {name!r}", f"Known entries: {', '.join(sorted(known))}.")
    for name in ("datasets", "noises", "methods"):
        if not isinstance(raw.get(name), dict) or not raw[name]:
            raise DataError(where, f"has no {name}", f"Give {name}: with a name and settings for each.")

    def entries(key: str, cls: type[Any], default: str | None = None) -> dict[str, Any]:
        named = {}
        for name, value in raw[key].items():
            here = f"{where}, {key}, {name}"
            if why := "which stands twice" if str(name) in named else not_a_name(str(name)):
                raise DataError(here, f"has a name {why}", "Give each the name of a folder of its own, without slashes.")
            if value is not None and not isinstance(value, dict):
                raise DataError(here, "is not a mapping", "Write its settings as NAME: VALUE below it.")
            named[str(name)] = from_mapping(cls, {**({default: str(name)} if default else {}), **(value or {})}, here)
        return named

    rest = {name: raw[name] for name in plain if raw.get(name) is not None}
    blocks = raw.get("cells") or [{}]
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise DataError(where, "has cells that are no list of blocks", "Write each as - {noises: [...], methods: [...]}.")
    settings = from_mapping(GridSettings, rest, where)
    noises: dict[str, NoiseEntry] = entries("noises", NoiseEntry)
    for name, entry in noises.items():
        _check_task(settings.task, entry.noise, f"{where}, noises, {name}")
    grid = Grid(
        name=settings.name,
        task=settings.task,
        datasets=entries("datasets", DatasetEntry),
        noises=noises,
        methods=entries("methods", MethodEntry, default="method"),
        seeds=settings.seeds,
        training=settings.training,
        augmentation=from_mapping(TASKS[settings.task].augmentation, raw.get("augmentation") or {}, f"{where}, augmentation"),
        cells=tuple(from_mapping(Block, block, f"{where}, cells") for block in blocks),
        test_every=settings.test_every,
        last_ten=settings.last_ten,
        pictures=settings.pictures,
    )
    _admit(grid, where, Trust(everything=trust_code))
    _check(grid, where)
    return grid


def _admit(grid: Grid, where: object, trust: Trust) -> None:
    """Refuses modules that the grid names and nobody trusts, before anything is imported."""
    trust.admit(grid.training.get("network"), f"{where}, training, network")
    for name, dataset in grid.datasets.items():
        trust.admit(dataset.format, f"{where}, datasets, {name}, format")
        trust.admit(dataset.training.get("network"), f"{where}, datasets, {name}, training, network")
    for name, noise in grid.noises.items():
        trust.admit(noise.noise, f"{where}, noises, {name}")
    for name, method in grid.methods.items():
        trust.admit(method.method, f"{where}, methods, {name}")
        trust.admit(method.training.get("network"), f"{where}, methods, {name}, training, network")


def _patterns(entry: DatasetEntry) -> dict[str, str]:
    """The patterns that are given."""
    given = {"image_pattern": entry.image_pattern, "mask_pattern": entry.mask_pattern}
    return {name: pattern for name, pattern in given.items() if pattern is not None}


def cells(grid: Grid, out: Path) -> list[Cell]:
    """The cells of a grid in the order of its blocks, each once."""
    by_place: dict[tuple[Any, ...], Cell] = {}
    for block in grid.cells:
        for dataset, noise, method, seed in _product(grid, block):
            entry, noise_entry, chosen = grid.datasets[dataset], grid.noises[noise], grid.methods[method]
            training = {**grid.training, **entry.training, **chosen.training, "seed": seed}
            by_place.setdefault(
                (dataset, noise, method, seed),
                Cell(
                    dataset=dataset,
                    path=expanded(entry.path),
                    open_options={
                        "format": entry.format,
                        "patient_pattern": entry.patient_pattern,
                        "val_fraction": entry.val_fraction,
                        "test_fraction": entry.test_fraction,
                        **_patterns(entry),
                        **({"split_by": entry.split_by} if entry.split_by else {}),
                    },
                    limit=dict(entry.limit),
                    trusted=entry.trusted,
                    noise=noise,
                    simulator=_simulator(grid.task, noise_entry),
                    target_dice=noise_entry.dice,
                    share=noise_entry.share,
                    validation=noise_entry.validation,
                    raters=noise_entry.raters,
                    name=method,
                    method=chosen.method,
                    method_config=_method_config(chosen),
                    training=training,
                    augmentation=grid.augmentation,
                    seed=seed,
                    test_every=grid.test_every,
                    last_ten=grid.last_ten,
                    pictures=grid.pictures,
                    calibrate=chosen.calibrate,
                    hold_out_trusted=chosen.hold_out_trusted,
                    out=out,
                    task=grid.task,
                ),
            )
    return list(by_place.values())


def run_grid(
    grid: Grid, out: Path, *, resume: bool = False, jobs: int = 1, verify: bool = False, cluster: Cluster | None = None
) -> Sequence[CellRow]:
    """Runs all cells, ``jobs`` at a time or by jobs of a ``cluster``, writes results.jsonl, table.md and report.html to
    ``out``, the first two after every cell, and returns the rows.

    A cell that fails is recorded with its reason and the grid goes on; DataError where all have failed. With ``resume``
    finished cells are kept, a cell that was cut off goes on from its last epoch; so does one that failed, but afresh
    where its settings or data were mended. ``verify`` has all files of the data sets read (``source_hashes``).
    """
    if cluster is not None:
        _refuse_script(grid)
    sources = {f"the data set {name}": expanded(entry.path) for name, entry in grid.datasets.items()}
    remedy = "Choose another `out`, or go on with this grid with `resume`."
    new_folder(out, apart_from=sources, may_go_on=resume, remedy=remedy)
    for entry in grid.datasets.values():
        cache_folder(expanded(entry.path))
    if jobs < 1:
        raise DataError("`jobs`", f"is {jobs}", "Give a whole number of at least 1.")
    todo = cells(grid, out)
    labels = {Path(source.file) for cell in todo if (source := cell.label_file)}
    for path in sorted({*(cell.path for cell in todo), *labels}):
        if not path.exists():
            remedy = "Correct the path in the grid, or set the environment variable that it names."
            raise DataError(path, "does not exist", remedy)
    if verify:
        for path, root in {(cell.path, root) for cell in todo for root in (cell.path, cell.data_folder)}:
            forget(cache_folder(path), root)
    drop_stale(todo)
    write_json(out / "grid.json", {"name": grid.name, "cells": len(todo)})
    with (
        track(f"bench {grid.name}", len(todo)) as show,
        on_cluster(cluster, out),
        closing(run_cells(todo, jobs)) as running,
    ):
        for done, _ in enumerate(running):
            write_tables(todo, out)
            show(done + 1)
    rows = write_report(grid.name, todo, out)
    if missing := len(todo) - len(rows):
        remedy = "It may show late what other machines write: use `resume` in a minute."
        raise DataError(out, f"does not show the results of {missing} cells", remedy)
    if all(row["failed"] for row in rows):
        reason = str(rows[0]["failed"]).removesuffix(".")
        raise DataError(out, f"every cell failed, the first with: {reason}", "Mend the cause and use `resume`.")
    return rows


def _refuse_script(grid: Grid) -> None:
    """Raises DataError for what jobs of a cluster would look for in the user's script."""
    refuse_script(grid.training.get("network"), *(entry.noise for entry in grid.noises.values()))
    for dataset in grid.datasets.values():
        refuse_script(dataset.format, dataset.training.get("network"))
    for method in grid.methods.values():
        refuse_script(method.method, method.training.get("network"))


def _simulator(task: TaskName, entry: NoiseEntry) -> Any:
    return None if entry.noise is None else CELL_KINDS[task].simulator(entry.noise, entry.parameters)


def _method_config(entry: MethodEntry) -> dict[str, Any]:
    """The settings of a method: its preset's, then its own."""
    preset = paper_values(find_method(entry.method).Config) if entry.preset == "paper" else {}
    return {**preset, **entry.config}


def _product(grid: Grid, block: Block) -> Iterator[tuple[str, str, str, int]]:
    chosen = block.datasets or tuple(grid.datasets), block.noises or tuple(grid.noises), block.methods or tuple(grid.methods)
    yield from itertools.product(*chosen, block.seeds or grid.seeds)


def _check(grid: Grid, where: object) -> None:
    """Builds every setting once, so that a mistake is reported before anything runs."""
    for name, noise in grid.noises.items():
        _check_noise(grid.task, noise, f"{where}, noises, {name}")
    for name, method in grid.methods.items():
        here = f"{where}, methods, {name}"
        find_method(method.method, here)
        config = {key: value for key, value in _method_config(method).items() if value != "measured"}
        settings = from_mapping(find_method(method.method, here).Config, config, here)
        refuse_method(method.method, grid.task, settings, here)
        if method.calibrate and not CELL_KINDS[grid.task].calibrates:
            raise DataError(f"{here}, calibrate", f"is for grids of masks, this one is for {grid.task}", "Leave it out.")
    for block in grid.cells:
        for axis, known in (("datasets", grid.datasets), ("noises", grid.noises), ("methods", grid.methods)):
            wrong = [name for name in getattr(block, axis) if name not in known]
            if wrong:
                problem = f"names {', '.join(wrong)}, which is not among the {axis}"
                raise DataError(f"{where}, cells", problem, "Correct the name.")
    foreign = CELL_KINDS[grid.task].foreign_training
    for cell in cells(grid, Path()):
        if cell.raters is not None and "measured" in cell.method_config.values():
            problem = f"has a measured setting, and nothing to measure it by with the raters of {cell.noise}"
            raise DataError(f"{where}, methods, {cell.name}", problem, "Give a number, or list cells without this pair.")
        here = f"{where}, training of {cell.dataset} and {cell.name}"
        setup = from_mapping(TASKS[cell.task].config, cell.training, here)
        if setup.patience is not None:
            raise DataError(f"{here}: patience", "is set: methods are compared at one budget", "Leave it out.")
        usual = TASKS[cell.task].config()
        if any(getattr(setup, name) != getattr(usual, name) for name in foreign):
            raise DataError(here, f"has a {_either(foreign)}, which are not for {grid.task}", "Leave them out.")
    _check_trusted(cells(grid, Path()), where)


def _check_trusted(todo: Sequence[Cell], where: object) -> None:
    """Raises DataError for a share of trusted cases where the data set marks its own, and for a method that needs trusted cases
    where there are none. Opens only the data sets that this depends on; one that cannot be opened is left to its cells."""
    marked: dict[tuple[object, ...], bool | None] = {}
    for cell in todo:
        needed = "trusted" in find_method(cell.method).paper.needs
        if needed and cell.hold_out_trusted == 1:
            remedy = "Give hold_out_trusted as a share, such as 0.5, or name a method that needs no trusted cases."
            raise DataError(f"{where}, methods, {cell.name}", "needs the trusted cases that it holds out", remedy)
        needed |= cell.calibrate or cell.hold_out_trusted > 0
        if not (needed or cell.trusted):
            continue
        key = (cell.dataset, cell.raters, cell.seed if cell.raters else None)
        if key not in marked:
            marked[key] = _marks_trusted(cell)
        if cell.trusted and marked[key]:
            problem = f"has a trusted share of {cell.trusted}, and the data set marks trusted cases of its own"
            remedy = "Leave trusted out to use these, or use a copy of the data set that marks none."
            raise DataError(f"{where}, datasets, {cell.dataset}", problem, remedy)
        if needed and not cell.trusted and marked[key] is False:
            remedy = (
                f"Give {cell.dataset} a share of trusted: 0.02, mark them in the data set, or list cells without this pair."
            )
            raise DataError(f"{where}, methods, {cell.name}", f"needs trusted cases, {cell.dataset} has none", remedy)


def _marks_trusted(cell: Cell) -> bool | None:
    """Whether the data set of a cell marks trusted cases among those trained on; None where it cannot be opened."""
    try:
        return any(case.trusted for case in open_given(cell).of("train"))
    except DataError:
        return None


def _check_task(task: TaskName, noise: str | None, where: str) -> None:
    """Raises DataError for a noise of another task than the grid's."""
    own = CELL_KINDS[task].noises
    others = [name for name, kind in CELL_KINDS.items() if noise in kind.noises]
    if others and noise not in own:
        problem = f"noise {noise} does not exist for {task}, which the grid is for"
        raise DataError(where, problem, f"Write task: {others[0]} in the grid, or choose one of {', '.join(own)}.")


def _check_noise(task: TaskName, noise: NoiseEntry, where: str) -> None:
    """Raises DataError for a noise that cannot be simulated, or whose entries do not fit together or the task."""
    foreign = CELL_KINDS[task].foreign_noise
    if any(getattr(noise, name) != getattr(NoiseEntry(), name) for name in foreign):
        remedy = "Set the strength by the noise's own parameters."
        raise DataError(where, f"has a {_either(foreign)}, which are not for {task}", remedy)
    if noise.raters is not None and noise != NoiseEntry(raters=noise.raters):
        remedy = "Give raters alone, and the simulated noise an entry of its own."
        raise DataError(where, "has raters and settings of a simulated noise", remedy)
    if noise.noise:
        try:
            _simulator(task, noise)
        except DataError as error:
            raise DataError(f"{where}: {error.where}", error.problem, error.remedy) from error
    elif noise.dice is not None:
        raise DataError(where, "has a dice but no noise", "Name the noise.")
    elif noise.validation == "clean":
        remedy = "Name the simulated noise that the training labels alone get, or leave validation out."
        raise DataError(where, "has clean validation labels but no noise", remedy)


def _either(names: Sequence[str]) -> str:
    """Several names as prose: "a, b or c"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"
