"""Writes docs/results.md, and its picture, from the rows that are there.

python -m benchmarks.evidence.report
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.evidence.diagram import draw
from benchmarks.evidence.grids import BENCHMARKS, GRIDS, grid_files, planned
from benchmarks.evidence.in_words import CLEAN, GLOSSARY, background, conclusions, setup_of
from benchmarks.evidence.paired import Difference, Ranks, class_mean, difference, ranks, scores
from benchmarks.evidence.rows import key_of, read_rows
from benchmarks.evidence.stamp import ROOT

from debride.bench.calibrated import CALIBRATED, with_calibrated
from debride.bench.grid import read_grid
from debride.bench.tabulate import BASELINE, PERCENT, PLAIN, Style, Table, cell_text, summary, write_markdown
from debride.evaluation.class_metrics import ratio
from debride.files import write_text

ABLATIONS = {
    "meta-dcseg": "meta-dcseg without meta",
    "gsd-net": "jocor",
    "self-cleansing": "self-cleansing without cleansing",
    "alc": "trusted alone",
    "dcd-seg": "l2b",
    "debias, calibrated": "ce and dice held out, calibrated",
}
"""Each system, and what is left of it without the idea that names it."""

ONE_SEED = "one seed so far"
WORSE = 0.01
"""What a method may lose on clean labels before it is said."""

RATIO = Style(1, digits=2)
FIELD = tuple[str, str]
"""A data set and a noise."""


@dataclass(frozen=True)
class Evidence:
    """What there is of one grid: its ``rows`` by cell, made with the settings that the grid has now, of so many ``cells``."""

    name: str
    task: str
    fields: tuple[FIELD, ...]
    methods: tuple[str, ...]
    rows: Mapping[tuple[str, str, str, int], Any]
    cells: int
    others: int
    setup: str = ""

    def of(self, field: FIELD, method: str) -> dict[int, Any]:
        """The rows of a method by seed."""
        return {key[3]: row for key, row in self.rows.items() if key[:3] == (*field, method)}

    @cached_property
    def differences(self) -> dict[tuple[FIELD, str], Difference]:
        """Those to plain cross-entropy that are known."""
        pairs = product(self.fields, [method for method in self.methods if method != BASELINE])
        known = {(field, method): self.between(method, BASELINE, [field]) for field, method in pairs}
        return {place: found for place, found in known.items() if found is not None}

    def between(self, method: str, other: str, fields: Sequence[FIELD], class_row: int | None = None) -> Difference | None:
        """The difference of two methods, the mean over fields of one data set."""
        return difference([self.of(field, method) for field in fields], [self.of(field, other) for field in fields], class_row)

    def noisy(self, dataset: str) -> list[FIELD]:
        """The fields of a data set with wrong labels."""
        return [field for field in self.fields if field[0] == dataset and field[1] != CLEAN]

    @property
    def datasets(self) -> tuple[str, ...]:
        """In the grid's order."""
        return tuple(dict.fromkeys(dataset for dataset, _ in self.fields))

    @property
    def measure(self) -> str:
        """What is compared."""
        return "Dice" if self.task == "segmentation" else "accuracy"


def gather(file: Path, results: Path) -> Evidence:
    """What there is of a grid."""
    grid, plan = read_grid(file), planned([file], results, Path())
    known = {each.key: each.made_by["settings"] for each in plan}
    paths = sorted((results / file.stem).glob("*.jsonl"))
    rows = {key_of(row): row for path in paths for row in read_rows(path)}
    current = {key: row for key, row in rows.items() if row["made_by"]["settings"] == known.get(key)}
    kept = {key_of(row): row for row in with_calibrated([*current.values()])}
    names = [name for method in grid.methods for name in (method, method + CALIBRATED)]
    methods = [name for name in names if name in grid.methods or any(key[2] == name for key in kept)]
    fields = tuple(dict.fromkeys((each.cell.dataset, each.cell.noise) for each in plan))
    return Evidence(file.stem, grid.task, fields, tuple(methods), kept, len(plan), len(rows) - len(current), setup_of(grid))


def score(row: Any, class_row: int | None = None) -> float:
    """The mean of the class means of a row's first measure, or that of a class."""
    values = scores(row) if class_row is None else scores(row)[:, [class_row]]
    return float(class_mean(np.nansum(values, axis=0)[None], (~np.isnan(values)).sum(axis=0)[None])[0])


def area_ratio(row: Any, class_row: int | None = None) -> float:
    """Predicted over true area: of all test images together, each image counting alike, and of all classes or of one."""
    measures = np.array([_areas(case) for cases in row["by_case"].values() for case in cases.values()])
    predicted, true = measures.sum(axis=0) if class_row is None else measures[:, :, class_row].sum(axis=0)[:, None]
    return float(ratio(predicted.sum(keepdims=True), true.sum(keepdims=True))[0])


def _areas(case: Sequence[Sequence[float | None]]) -> list[list[float]]:
    return [[value or 0.0 for value in measure] for measure in case[2:4]]


def difference_text(found: Difference | None) -> str:
    """In points, with its interval, and an arrow where that excludes zero."""
    if found is None:
        return "–"
    arrow = {1: " ↑", 0: "", -1: " ↓"}[found.sign]
    return f"{points(found.mean)} [{points(found.low)}, {points(found.high)}] ({found.seeds}){arrow}"


def points(share: float) -> str:
    """A difference in points; what is rounded to zero is no negative one."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def page(found: Sequence[Evidence]) -> tuple[str, Ranks | None]:
    """The page as Markdown, and the ranks that its picture shows."""
    core = found[0]
    place = place_of(core)
    parts = [*opening(found), write_markdown([claims(core)], []).strip(), *verdicts(core)]
    parts += [write_markdown(beside(core), []).strip()]
    parts += ranking(core, place)
    parts += [write_markdown([table for each in found for table in tables(each)], []).strip()]
    return "\n\n".join(part for part in parts if part) + "\n", place


def opening(found: Sequence[Evidence]) -> Iterator[str]:
    """What the page is made of, and what its numbers mean."""
    yield "# Which methods beat plain cross-entropy?"
    yield from conclusions(found[0])
    yield "## How to read it"
    yield GLOSSARY
    yield (
        "`make evidence` runs the cells that are missing. "
        "`python -m benchmarks.evidence.report` makes this page from their rows.\n"
        "Grid: [core.yaml](../benchmarks/core.yaml). Rows: [results/core](../benchmarks/results/core). "
        "What is tested: [claims.md](../benchmarks/claims.md)."
    )
    lines = ["| grid | cells | rows | made | minutes |", "|---|---|---|---|---|"]
    for each in found:
        own = [row for row in each.rows.values() if not row["method"].endswith(CALIBRATED)]
        dates = sorted({row["date"] for row in own})
        minutes = sum(row["cell_minutes"] for row in own)
        made = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "–"
        lines.append(f"| {each.name} | {each.cells} | {len(own)} | {made} | {minutes:.0f} |")
    yield "\n".join(lines)
    if others := sum(each.others for each in found):
        yield f"{others} rows of other settings are left out."
    yield (
        "- Dice, and the area ratio, are means over the last ten epochs. HD95 is that of the last epoch, in mm, or in pixels "
        "where the spacing is unknown.\n"
        "- A class counts in the test cases whose reference has it. So all methods are measured on the same cases.\n"
        "- Area ratio: predicted over true area, over all test cases. One is right; below, objects are too small.\n"
        "- Differences are paired by seed, case and class. In brackets is the 95 % interval, by a bootstrap of seeds and of "
        "patients ([Owen 2007](https://doi.org/10.1214/07-AOAS122)). In parentheses is the number of seeds.\n"
        "- An arrow says that the interval of two or more seeds excludes zero. By chance five in a hundred would.\n"
        "- Three seeds are few. An interval says little of seeds that were not drawn."
    )
    if found[0].task == "segmentation" and (alone := background(found[0], mean_scores(found[0]))):
        yield alone


def mean_scores(core: Evidence) -> dict[tuple[str, str, str], float]:
    """Of each field and method that has rows."""
    fields = product(core.fields, core.methods)
    known = {(*field, method): core.of(field, method) for field, method in fields}
    return {place: float(np.mean([score(row) for row in rows.values()])) for place, rows in known.items() if rows}


def verdicts(core: Evidence) -> Iterator[str]:
    """Which methods beat the baseline, and where; which never do; which lose on clean labels."""
    known = core.differences
    methods = [method for method in core.methods if any(own == method for _, own in known)]
    if not methods:
        yield "There are no rows to compare yet."
        return
    noises = tuple(dict.fromkeys(noise for _, noise in core.fields))
    overview = []
    for dataset in core.datasets:
        lines = tuple(
            (method, tuple(difference_text(known.get(((dataset, noise), method))) for noise in noises)) for method in methods
        )
        note = f"In points of {core.measure}, paired."
        overview.append(Table(f"Difference to {BASELINE}", dataset, note, noises, lines))
    yield write_markdown(overview, []).strip()

    def where(method: str, sign: int) -> str:
        own = {field: found for (field, name), found in known.items() if name == method}
        if max(found.seeds for found in own.values()) < 2:
            return ONE_SEED
        places = [(field, found) for field, found in own.items() if found.sign == sign]
        return ", ".join(f"{dataset} {noise} ({points(found.mean)})" for (dataset, noise), found in places) or "never"

    note = "Where the interval of two or more seeds excludes zero."
    lines = tuple((method, (where(method, 1), where(method, -1))) for method in methods)
    yield write_markdown([Table("In short", f"Better and worse than {BASELINE}", note, ("better", "worse"), lines)], []).strip()
    losing = [
        f"{method} on {dataset} ({points(found.mean)})"
        for ((dataset, noise), method), found in known.items()
        if noise == CLEAN and found.mean < -WORSE
    ]
    yield f"On clean labels these are more than a point below {BASELINE}."
    yield "\n".join(f"- {each}." for each in losing or ["none"])


def claims(core: Evidence) -> Table:
    """What claims.md wants to know: each system and its idea alone, the mean over all noises of a data set."""
    lines = []
    for method, ablation in ABLATIONS.items():
        cells = []
        for other in (BASELINE, ablation):
            known = [core.between(method, other, core.noisy(dataset)) for dataset in core.datasets]
            cells += [*map(difference_text, known), outcome(known)]
        lines.append((method, tuple(cells)))
    columns = [
        *(f"{dataset}, to {BASELINE}" for dataset in core.datasets),
        f"beats {BASELINE}",
        *(f"{dataset}, to its ablation" for dataset in core.datasets),
        "beats its ablation",
    ]
    note = (
        "Mean over the noises, clean labels apart. A claim holds where the interval lies above zero on all data sets, and on "
        "some where it contains zero on the others. A seed counts when it has rows under every noise."
    )
    title = f"Each system beside {BASELINE}, and beside what is left of it without its idea"
    return Table("The claims", title, note, tuple(columns), tuple(lines))


def outcome(known: Sequence[Difference | None]) -> str:
    """Whether a claim holds, by the differences on each data set."""
    if any(found is None for found in known):
        return "–"
    if min(found.seeds for found in known if found is not None) < 2:
        return ONE_SEED
    signs = [found.sign for found in known if found is not None]
    if min(signs) < 0 or not any(signs):
        return "fails"
    return "holds" if all(signs) else "holds on some"


def beside(core: Evidence) -> list[Table]:
    """Each system beside what is left without its idea: both differences to the baseline, and that between the two."""
    columns = (f"to {BASELINE}", f"ablation to {BASELINE}", "to its ablation")
    note = f"In points of {core.measure}, paired."
    made = []
    for method, ablation in ABLATIONS.items():
        lines = []
        for field in core.fields:
            if own := core.between(method, ablation, [field]):
                to_baseline = (core.differences.get((field, name)) for name in (method, ablation))
                lines.append((f"{field[0]}, {field[1]}", tuple(map(difference_text, [*to_baseline, own]))))
        if lines:
            made.append(Table("Beside its ablation", f"{method} and {ablation}", note, columns, tuple(lines)))
    return made


def place_of(core: Evidence) -> Ranks | None:
    """The ranks of the methods that have a row in every field."""
    methods = [method for method in core.methods if all(core.of(field, method) for field in core.fields)]
    return ranks({method: [_mean_score(core, field, method, methods) for field in core.fields] for method in methods})


def _mean_score(core: Evidence, field: FIELD, method: str, methods: Sequence[str]) -> float:
    """Over the seeds that all of the methods have, or else the first."""
    shared = set.intersection(*(set(core.of(field, other)) for other in methods))
    rows = core.of(field, method)
    return float(np.mean([score(rows[seed]) for seed in shared or {min(rows)}]))


def ranking(core: Evidence, found: Ranks | None) -> Iterator[str]:
    """The picture of mean ranks, and what it says."""
    yield "## Ranks"
    left_out = [method for method in core.methods if found is None or method not in found.mean]
    if found is None:
        yield "Too few methods have a row in every field yet."
        return
    picture = "pictures/critical_difference.svg"
    yield f"[![Mean ranks of the methods, with bars over those that do not differ]({picture})]({picture})"
    pairs = [abs(one - other) >= found.critical for one, other in combinations(found.mean.values(), 2)]
    yield (
        f"Mean rank over {found.blocks} fields, each a data set with a noise; 1 is the best. "
        f"Friedman's test: p = {found.p:.2g}.\n"
        f"By Nemenyi's test at 5 %, ranks differ from {found.critical:.1f} on "
        "([Demšar 2006](https://jmlr.org/papers/v7/demsar06a.html)). A bar joins methods that do not.\n"
        f"Of {len(pairs)} pairs {sum(pairs)} do: with so few fields most methods are not told apart. "
        "Open the picture by itself to read it on a small screen."
    )
    if left_out:
        yield "Left out, as rows are missing:\n\n" + "\n".join(f"- {method}" for method in left_out)


def tables(found: Evidence) -> Iterator[Table]:
    """For each data set and noise a table of all methods that have rows there, and one by class, where there are several."""
    for dataset, noise in found.fields:
        field = dataset, noise
        methods = [method for method in found.methods if found.of(field, method)]
        if not methods:
            continue
        first = next(iter(found.of(field, methods[0]).values()))
        masks = found.task == "segmentation"
        columns = [found.measure, f"difference to {BASELINE}", *(["HD95", "area ratio"] if masks else [])]
        lines = tuple((method, tuple(_cells(found, field, method, None, masks))) for method in methods)
        note = f"{found.measure} in %, its difference in points. Mean ± deviation over seeds (number of seeds)."
        yield Table(dataset, noise, note, tuple(columns), lines)
        classes = list(first["last"]["per_class"]) if masks else []
        if len(classes) > 1:
            by_class = [f"{name} {column}" for name in classes for column in ("Dice", "difference", "area ratio")]
            lines = tuple(
                (method, tuple(text for number in range(len(classes)) for text in _cells(found, field, method, number, masks)))
                for method in methods
            )
            yield Table(dataset, f"{noise}, by class", note, tuple(by_class), lines)


def _cells(found: Evidence, field: FIELD, method: str, class_row: int | None, masks: bool) -> Iterator[str]:
    """What a table says of a method: of all classes, or of one."""
    rows = found.of(field, method)

    def mean(value: Callable[[Any], float | None], style: Style) -> str:
        return cell_text(summary(value(row) for row in rows.values()), 0, style)

    yield mean(lambda row: score(row, class_row), PERCENT)
    yield difference_text(_difference(found, field, method, class_row))
    if masks and class_row is None:
        yield mean(lambda row: row["last"]["hd95"], PLAIN)
    if masks:
        yield mean(lambda row: area_ratio(row, class_row), RATIO)


def _difference(found: Evidence, field: FIELD, method: str, class_row: int | None) -> Difference | None:
    if method == BASELINE:
        return None
    if class_row is None:
        return found.differences.get((field, method))
    return found.between(method, BASELINE, [field], class_row)


def write(files: Sequence[Path], results: Path, docs: Path) -> None:
    """Writes the page and its picture."""
    text, place = page([gather(file, results) for file in files])
    write_text(docs / "results.md", text)
    if place is not None:
        write_text(docs / "pictures" / "critical_difference.svg", draw(place).decode())


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=BENCHMARKS / "results", help="the folder of the rows")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="the folder of the page")
    arguments = parser.parse_args(words)
    write(grid_files(GRIDS), arguments.results, arguments.docs)


if __name__ == "__main__":
    main()
