"""A folder of images for each class, perhaps within folders of splits."""

from __future__ import annotations

from pathlib import Path

from debride.data.formats.about_cases import read_about_cases
from debride.data.formats.class_table import MAX_CLASSES, write_table
from debride.data.formats.dataset_json import SPLIT_NAMES, read_object, read_people
from debride.data.formats.image_folders import images_and_masks
from debride.data.formats.layout import Format, Layout, Legend, NewLabels, Report
from debride.data.formats.names import plain
from debride.data.pixels import is_hidden
from debride.data.pixels.images import endings, is_image, suffix
from debride.types import Case, DataError, Dataset, Split, TaskName


class ClassFolders(Format):
    """CLASS/image or SPLIT/CLASS/image. A case is named by its path without the file's ending.

    Folders named as splits are splits where all are, or where they hold folders and no images.
    """

    name = "classes"
    task: TaskName = "classification"
    about = "a folder of images for each class (perhaps within train/, val/, test/)"

    def detects(self, root: Path) -> bool:
        """By folders of images, which are not images and masks."""
        return root.is_dir() and _class_folders(root)

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts."""
        if not root.is_dir():
            raise DataError(root, "is not a folder", "Give the folder, or leave the format out.")
        tops = _folders_in(root)
        named = {top: SPLIT_NAMES[top.name.lower()] for top in tops if top.name.lower() in SPLIT_NAMES}
        sure = len(named) == len(tops)
        of_splits = {top: split for top, split in named.items() if sure or (_folders_in(top) and not _has_pictures(top))}
        others = [top.name for top in tops if top not in of_splits]
        if of_splits and others:
            beside = (
                f"has folders of splits ({', '.join(top.name for top in of_splits)}) beside others ({', '.join(others[:6])})"
            )
            report(DataError(root, beside, f"Move those away, or name them as splits: {', '.join(SPLIT_NAMES)}."))
        by_split = [(split, sub) for top, split in of_splits.items() for sub in _folders_in(top)]
        folders: list[tuple[Split | None, Path]] = [*by_split] if of_splits else [(None, top) for top in tops]
        classes = tuple(sorted({plain(folder.name, folder) for _, folder in folders}))
        cases: dict[str, Case] = {}
        splits: dict[str, Split] = {}
        for split, folder in folders:
            for image in sorted(folder.iterdir()):
                if not is_image(image) or image.is_dir():
                    if not is_hidden(image):
                        report(_unread(image))
                    continue
                id = plain(str(image.relative_to(root))[: -len(suffix(image))], image)
                if id in cases:
                    report(
                        DataError(image, f"has the same name as {cases[id].image[0].name}", "Keep one of them, or rename one.")
                    )
                    continue
                cases[id] = Case(id, (image,), None, id, target=classes.index(plain(folder.name, folder)))
                if split:
                    splits[id] = split
        description = read_object(root / "dataset.json", report)
        patients, trusted = read_people(root / "dataset.json", description, cases.values(), report)
        listed = set(splits.values()) >= {"train", "val"}
        if not listed:
            splits = {id: split for id, split in splits.items() if split != "train"}
        if not 2 <= len(classes) <= MAX_CLASSES:
            report(DataError(root, f"has {len(classes)} folders of classes", f"Give 2 to {MAX_CLASSES}."))
        groups = read_about_cases(root / "dataset.json", description, cases, report).groups
        return Layout(tuple(cases.values()), splits, listed, patients, trusted, Legend(classes), groups=groups)

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """The images in a folder, and their classes in a table: as ``ClassTable`` has them."""
        write_table(dataset, folder, labels)


def _unread(path: Path) -> DataError:
    if path.is_dir():
        remedy = "Move its images into the folder of their class, or take it away: images lie in CLASS/ or SPLIT/CLASS/."
        return DataError(path, "is a folder in the folder of a class", remedy)
    return DataError(path, "is of a kind that is not read", f"Convert it to {', '.join(endings())}.")


def _class_folders(path: Path) -> bool:
    """Whether a folder holds folders of images, or folders of splits with such; images and masks are no classes."""
    splits = [folder for folder in _folders_in(path) if folder.name.lower() in SPLIT_NAMES]
    if any(_is_masks(top) for top in (path, *splits)):
        return False
    classes = [folder for folder in _folders_in(path) if folder not in splits]
    return any(_has_pictures(folder) for folder in (*classes, *(sub for top in splits for sub in _folders_in(top))))


def _is_masks(folder: Path) -> bool:
    return images_and_masks(folder) is not None or {"images", "masks"} <= {inside.name for inside in folder.iterdir()}


def _has_pictures(folder: Path) -> bool:
    return any(is_image(file) and file.is_file() for file in folder.iterdir())


def _folders_in(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not is_hidden(folder))
