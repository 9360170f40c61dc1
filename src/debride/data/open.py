"""``open_dataset``: a folder of images and labels as a ``Dataset``; ``subset`` and ``trust`` draw some of its images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from debride.data.checksums import report_unlisted, verify
from debride.data.formats import FORMATS, Layout, Report, detect_format, find_format
from debride.data.formats.about_cases import with_annotated
from debride.data.formats.dataset_json import report_unknown
from debride.data.formats.names import meeting, plain
from debride.data.legend import infer_legend
from debride.data.links import unfetched
from debride.data.patients import hint_at_patients, patient_of
from debride.data.pixels import unread_endings
from debride.data.pixels.images import endings, read_header
from debride.data.pixels.palettes import find_palette
from debride.data.rater_choice import image_id
from debride.data.splits import joined, split_by_patient
from debride.files import read_text
from debride.notes import note
from debride.records import not_a_name
from debride.rng import derive
from debride.types import Case, DataError, Dataset, Split, TaskName
from debride.words import short, some


def stop(problem: DataError) -> None:
    """Raise a problem: the default for ``report``."""
    raise problem


def open_dataset(
    path: Path | str,
    *,
    format: str | None = None,
    fold: int = 0,
    patient_pattern: str | None = None,
    seed: int = 0,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    trusted: Path | str | Collection[str] | None = None,
    image_pattern: str | None = None,
    mask_pattern: str | None = None,
    split_by: str | None = None,
    checksums: bool = True,
    labels: bool = True,
    jobs: int = 1,
    report: Report = stop,
) -> Dataset:
    """Find the cases of a data set without reading their images.

    ``format`` names a layout of ``data.formats`` (None: by the files). Splits are taken from the data set's own files,
    from nnU-Net the given ``fold``, whose list may leave cases out. Without such files the patients are drawn by ``seed``, with
    ``val_fraction`` and ``test_fraction`` of them held out; with ``split_by``, one of ``GROUPS``, its values are drawn, and
    patients stay whole. A case's patient is what the data set says, else group 1 of the regular expression ``patient_pattern``
    in the image's id, else the image's id. ``image_pattern`` and ``mask_pattern`` say where files of the layout "folder" lie
    (``formats.patterns``). ``trusted`` are case ids, or a text file of them, one a line, beside those that the data set marks.
    Where no dataset.json names the classes, all labels are read once to infer them, by so many ``jobs``; without ``labels``
    none is, and the classes are empty: who predicts needs none. With ``checksums`` files are verified by the data set's list,
    where it has one. Raises DataError for the first problem; a ``report`` that collects problems receives each, and the rest is
    opened.
    """
    root = Path(path).resolve()
    if not root.exists():
        raise unfetched(root) or DataError(root, "does not exist", "Check the path.")
    layout_of = find_format(format) if format else detect_format(root)
    listed = verify(root, report) if checksums and (layout_of is None or layout_of.lists_files) else None
    if image_pattern or mask_pattern:
        known = find_format(format or "folder").with_patterns(image_pattern, mask_pattern)
    else:
        known = layout_of or _refuse_unknown(root)
    layout = known.read(root, report, fold=fold)
    if listed is not None:
        report_unlisted(root, layout.cases, listed, report)
    if not layout.cases:
        remedy = f"Check that it has images with labels, of the kinds {', '.join(endings())}."
        raise DataError(root, "has no cases", remedy + _unread(root))
    found = with_file_names(layout.cases, report, in_folders=not any(case.label for case in layout.cases))
    legend, files = layout.legend, [case.label for case in found if case.label and labels]
    palette = None
    try:
        palette = find_palette(files)
    except DataError as problem:
        report(problem)
    if labels and not legend.classes:
        legend = infer_legend(root, files, report, palette, jobs)
    cases = [
        replace(case, patient=patient_of(case, layout, patient_pattern, report), groups=layout.groups.get(case.id, case.groups))
        for case in found
    ]
    cases = with_annotated(cases, layout.annotated, legend.classes, report) if labels else cases
    splits = _splits(layout, cases, seed, val_fraction, test_fraction, split_by, report)
    verified = layout.trusted | _read_trusted(trusted, {case.id for case in cases}, report)
    used = tuple(replace(case, split=splits[case.id], trusted=case.id in verified) for case in cases if case.id in splits)
    if patient_pattern is None and not layout.patients:
        hint_at_patients(root, used)
    for a, b in meeting(case.id for case in cases):
        note(root, f"has the cases {a} and {b}, whose files are one where capitals do not count (macOS, Windows)")
    return Dataset(
        root=root,
        format=format or known.name,
        classes=legend.classes,
        cases=used,
        ndim=_ndim(cases, report),
        ignore=legend.ignore,
        values=legend.values,
        task=known.task,
        palette=palette,
        fold=fold,
        rest=tuple(case for case in cases if case.id not in splits),
        lent=frozenset(verified - layout.trusted),
        patterns=layout.patterns,
        regions=legend.regions,
    )


def reopened(dataset: Dataset, copy: Path) -> Dataset:
    """A copy of a data set, opened as that was."""
    return open_dataset(copy, format=dataset.format, fold=dataset.fold)


def dataset_or_images(source: Path, task: TaskName, options: Mapping[str, Any]) -> Dataset | Path:
    """What is to be predicted in a folder: a data set for the task, opened with the ``options`` of ``open_dataset`` and without
    its labels, or else the folder that holds plain images."""
    if options.get("image_pattern") or options.get("mask_pattern"):
        return open_dataset(source, **options, labels=False)
    layout = find_format(options["format"]) if options.get("format") else detect_format(source)
    if layout is None:
        return source
    if layout.task == task and layout.labelled(source):
        return open_dataset(source, **options, labels=False)
    return layout.images(source) or source


def sources_around(folder: Path) -> dict[str, Path]:
    """A folder of images, and the data set that it is a part of, if any, by what they are called: to keep apart from."""
    sources = {"the folder of the images": folder}
    try:
        inside, root = folder.resolve(), folder.resolve().parent
        layout = detect_format(root)
        belongs = layout is not None and layout.labelled(root) and layout.images(root) in (inside, None)
        return {**sources, "the data set": root} if belongs and inside.name.startswith("images") else sources
    except (DataError, OSError, RuntimeError):  # a folder that cannot be read is refused when it is
        return sources


def with_file_names(cases: Iterable[Case], report: Report = stop, *, in_folders: bool = False) -> list[Case]:
    """The cases whose name an output file can have, as masks are named by their case; the others are reported.

    ``in_folders``: names of images without masks may have folders before them.
    """
    fitting = []
    for case in cases:
        parts = case.id.split("/") if in_folders else [case.id]
        if problem := next(filter(None, map(not_a_name, parts)), ""):
            where = case.image[0] if case.image else f"case {case.id!r}"
            report(DataError(where, f"makes a case of the name {short(repr(case.id))}, {problem}", "Rename it."))
        else:
            fitting.append(case)
    return fitting


def nothing_to_predict(source: Path, task: TaskName) -> DataError:
    """What is wrong with a folder, or a data set, that holds no image to predict."""
    layout = detect_format(source)
    unknown = "" if layout and layout.task == task else f", and is no data set for {task} of a known layout"
    remedy = f"Give a folder with files of the kinds {', '.join(endings())}, or name the layout of the data set by `format`."
    return DataError(source, f"holds no images{unknown}", remedy + _unread(source))


def subset(dataset: Dataset, limits: Mapping[Split, int], seed: int) -> Dataset:
    """The data set with at most the given number of randomly chosen images in each split that ``limits`` names.

    An image stays with the cases of all its raters, or goes with them. The choice depends on the seed and the image's id only,
    and a smaller subset is part of a larger one. The order of the cases is kept. Raises DataError for a limit below 1.
    """
    kept: dict[Split, set[str]] = {}
    for split, limit in limits.items():
        if limit < 1:
            raise DataError(f"limit of {split}", f"is {limit}", "Give a number of images of at least 1.")
        kept[split] = set(_drawn_images(dataset.of(split), seed, "subset")[:limit])
    cases = (case for case in dataset.cases if case.split not in kept or image_id(case) in kept[case.split])
    return replace(dataset, cases=tuple(cases), rest=None)


def trust(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The data set with a ``share`` (0 to 1) of its training images trusted, in place of those that it had marked.

    At least one is, and where there are two one is not. An image is trusted with the labels of all its raters. The choice
    depends on the seed and the image's id only, and a smaller share is part of a larger one. The order of the cases is kept.
    """
    images = _drawn_images(dataset.of("train"), seed, "trusted")
    kept = set(images[: max(1, min(round(share * len(images)), len(images) - 1))])
    cases = (replace(case, trusted=image_id(case) in kept) if case.split == "train" else case for case in dataset.cases)
    return replace(dataset, cases=tuple(cases), lent=frozenset())


def unused_trusted(trusted: Path | str | Collection[str], dataset: Dataset) -> DataError | None:
    """What is wrong with trusted cases, in a file or not, that are no training case of a data set; None if one is, and where
    there are only names that the data set does not know, which opening it reports. DataError if the file cannot be read."""
    where, listed = _named_in(trusted)
    names = set(listed)
    if not names:
        return DataError(where, "is empty: it trusts no case", "Write the ids of trusted training cases, one a line.")
    splits = {case.split for case in dataset.cases if case.id in names}
    if not splits or "train" in splits:
        return None
    problem = f"names no training case, but cases of {' and '.join(sorted(splits))}"
    return DataError(where, problem, "Write the ids of training cases, one a line: methods learn from those alone.")


def _drawn_images(cases: Iterable[Case], seed: int, purpose: str) -> list[str]:
    """The ids of the cases' images, each once, in an order drawn by a hash of them."""
    return sorted({image_id(case) for case in cases}, key=lambda id: (derive(seed, purpose, id), id))


def _refuse_unknown(root: Path) -> NoReturn:
    """DataError for a folder of no known layout: what keeps it from being of one, where that can be told."""
    for layout in FORMATS.values():
        if nearly := layout.near_miss(root):
            raise nearly
    problem = "is no data set of a known format" if root.is_dir() else "is not a folder"
    raise DataError(root, problem, _known_layouts())


def _known_layouts() -> str:
    """What to give, in words."""
    files: dict[str, list[str]] = {}
    for layout in FORMATS.values():
        files.setdefault(layout.task, []).append(layout.about)
    lines = (f"for {task} " + ", or ".join(about) for task, about in sorted(files.items(), reverse=True))
    return f"Give {'; '.join(lines)}."


def _unread(root: Path) -> str:
    """A sentence on the files that are of no kind of image; empty where there are none."""
    unread = unread_endings(root)
    return f" Not read as images: {some(unread, 3)}; name a kind of your own by `pixels`." if unread else ""


def _splits(
    layout: Layout,
    cases: Sequence[Case],
    seed: int,
    val_fraction: float,
    test_fraction: float,
    split_by: str | None,
    report: Report,
) -> dict[str, Split]:
    """The split of each case that has one: as the files say, and drawn by patient or group where they are silent."""
    splits = dict(layout.splits)
    rest = [case for case in cases if case.id not in splits]
    if test_fraction > 0 and (layout.listed or not rest) and "test" not in splits.values():
        problem = "is given, but the data set's files say the split of every case, and none is a test case"
        report(DataError("test fraction", problem, "Name test cases there, or set it to 0."))
    if split_by is not None and (layout.listed or not rest):
        problem = "is given, but the data set's files say the split of every case"
        report(DataError("`split_by`", problem, "Leave it out, or take the splits out of the files."))
    if rest and not layout.listed:
        if test_fraction > 0 and "test" in splits.values():
            report(DataError("test fraction", "is given, but the data set has test cases of its own", "Set it to 0."))
        fractions: dict[Split, float] = {"train": 1 - val_fraction - test_fraction, "val": val_fraction, "test": test_fraction}
        try:
            drawn = split_by_patient(_units(rest, split_by), fractions, seed, split_by or "patient")
        except DataError as problem:
            report(problem)
            drawn = ["train"] * len(rest)
        splits.update(zip((case.id for case in rest), drawn, strict=True))
    return splits


def _units(cases: Sequence[Case], split_by: str | None) -> list[str]:
    """What the splits are drawn from, for each case: its patient, or its value of a group; DataError where one has none."""
    patients = [case.patient for case in cases]
    if split_by is None:
        return patients
    values = [dict(case.groups).get(split_by, "") for case in cases]
    lacking = [case.id for case, value in zip(cases, values, strict=True) if not value]
    if lacking:
        known = sorted({name for case in cases for name, _ in case.groups})
        remedy = f"Groups that cases have: {', '.join(known)}." if known else "Name it in a column, or in dataset.json."
        remedy = f"Name the {split_by} of every case." if len(lacking) < len(cases) else remedy
        raise DataError("`split_by`", f"is {split_by}, which {some(lacking)} has not", remedy)
    return joined(patients, values)


def _read_trusted(trusted: Path | str | Collection[str] | None, known: Collection[str], report: Report) -> set[str]:
    if trusted is None:
        return set()
    where, names = _named_in(trusted)
    report_unknown(where, names, known, report)
    return set(names)


def _named_in(trusted: Path | str | Collection[str]) -> tuple[object, list[str]]:
    """The ids of trusted cases, and where they stand: in a file that a path names, or in what was given."""
    if not isinstance(trusted, Path | str):
        return "`trusted`", list(trusted)
    path = Path(trusted)
    if problem := unfetched(path):
        raise problem
    return path, [plain(line, path) for line in read_text(path).splitlines() if line.strip()]


def _ndim(cases: Sequence[Case], report: Report) -> int:
    """The number of spatial axes of the first image that can be read; images with a class are planes. What keeps an image from
    being read is said where it is needed, and here where that is true of all."""
    problems = []
    for case in cases:
        if case.array or case.target is not None:
            return 2
        try:
            return len(read_header(case.image[0]).shape)
        except DataError as problem:
            problems.append(problem)
    for each in problems:
        report(each)
    return 2
