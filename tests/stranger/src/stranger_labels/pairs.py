"""A folder layout: a folder for each case."""

from pathlib import Path

from debride.data.formats.dataset_json import (
    legend_entries,
    people_entries,
    read_legend,
    read_object,
    read_people,
    read_splits,
    split_lists,
)
from debride.data.formats.layout import Format, Layout, NewLabels, Report, copy_cases
from debride.data.pixels import is_image, stem
from debride.files import write_json
from debride.types import Case, DataError, Dataset, TaskName


class PairFolders(Format):
    """CASE/image.* and CASE/label.*, with pairs.json and perhaps splits.json."""

    name = "pairs"
    task: TaskName = "segmentation"
    about = "pairs.json and a folder for each case, with image.* and label.*"

    def detects(self, root: Path) -> bool:
        """By pairs.json."""
        return (root / "pairs.json").is_file()

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts."""
        cases = []
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            files = {stem(path): path for path in sorted(folder.iterdir()) if is_image(path)}
            if {"image", "label"} <= files.keys():
                cases.append(Case(folder.name, (files["image"],), files["label"], patient=folder.name))
            else:
                report(DataError(folder, "has no image or no label", "Add it, or take the folder away."))
        file, lists = root / "pairs.json", root / "splits.json"
        said = read_object(file, report)
        patients, trusted = read_people(file, said, cases, report)
        splits = read_splits(lists, read_object(lists, report), {case.id for case in cases}, report)
        return Layout(tuple(cases), splits, patients=patients, trusted=trusted, legend=read_legend(file, said, report))

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """As for all layouts."""
        copy_cases(dataset, folder, labels, lambda case, file, kind: Path(case.id) / file.name)
        write_json(folder / "pairs.json", {**legend_entries(dataset), **people_entries(dataset)})
        write_json(folder / "splits.json", split_lists(dataset))
