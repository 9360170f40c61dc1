"""A folder layout: a folder for each case."""

from pathlib import Path

from debride.data.formats import Format, Layout, Legend
from debride.data.formats.layout import copy_cases
from debride.data.pixels import is_image, stem
from debride.types import Case, DataError


class PairFolders(Format):
    """CASE/image.* and CASE/label.*, with classes.txt and perhaps test.txt."""

    name = "pairs"
    task = "segmentation"
    about = "classes.txt and a folder for each case, with image.* and label.*"

    def detects(self, root):
        return (root / "classes.txt").is_file()

    def read(self, root, report, *, fold=0):
        cases = []
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            files = {stem(path): path for path in sorted(folder.iterdir()) if is_image(path)}
            if {"image", "label"} <= files.keys():
                cases.append(Case(folder.name, (files["image"],), files["label"], patient=folder.name))
            else:
                report(DataError(folder, "has no image or no label", "Add it, or take the folder away."))
        test = (root / "test.txt").read_text().split() if (root / "test.txt").exists() else []
        classes = tuple((root / "classes.txt").read_text().split())
        return Layout(tuple(cases), splits=dict.fromkeys(test, "test"), legend=Legend(classes))

    def write(self, dataset, folder, labels):
        copy_cases(dataset, folder, labels, lambda case, file, kind: Path(case.id) / file.name)
        (folder / "classes.txt").write_text("\n".join(dataset.classes))
        (folder / "test.txt").write_text("\n".join(case.id for case in dataset.of("test")))
