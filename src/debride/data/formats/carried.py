"""What a copy of a data set carries along from its source: descriptions and lists in which only what has to be is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from debride.data.formats.about_cases import AboutCases, about_entries, about_fields, is_said, read_about_cases
from debride.data.formats.csv_rows import FLAGS, Row, Table, path_cell
from debride.data.formats.dataset_json import (
    SPLIT_NAMES,
    legend_entries,
    people_entries,
    read_legend,
    split_lists,
)
from debride.data.formats.layout import Legend
from debride.data.formats.names import plain
from debride.data.links import is_there
from debride.data.rater_choice import image_id
from debride.files import read_json, write_json
from debride.types import Case, Dataset


def write_description(
    dataset: Dataset, folder: Path, *, legend: bool = True, people: bool = True, entries: Mapping[str, Any] | None = None
) -> None:
    """The dataset.json of a copy: byte for byte that of the source, if it has one, where that says all that is needed.

    It has to say what labels mean (``legend``), and patients, trusted cases, annotated classes and groups (``people``) where
    these are otherwise than there; ``entries`` are further ones. Cases that the copy does not have are taken out of it.
    """
    source = dataset.root / "dataset.json"
    said: dict[str, Any] = read_json(source) if is_there(source) else {}
    known = {case.id for case in (*dataset.cases, *(dataset.rest or ()))}
    wanted = _of_cases(said, known, source)
    meant = Legend(dataset.classes, dataset.ignore, dataset.values)
    if legend and read_legend(source, said, lambda problem: None) != meant:
        wanted |= legend_entries(dataset)
    if people:
        wanted |= _people(dataset, wanted, source)
        about = read_about_cases(source, wanted, known, lambda problem: None)
        if not all(is_said(case, about, dataset.classes) for case in dataset.cases):
            wanted |= {"annotated": None, "groups": None, **about_entries(dataset)}
    wanted = {name: value for name, value in {**wanted, **(entries or {})}.items() if value is not None}
    _write(source, folder / source.name, said, wanted)


def write_split_lists(dataset: Dataset, folder: Path) -> None:
    """The splits.json of a copy: that of the source, if it has one, without the cases that the copy does not have."""
    source = dataset.root / "splits.json"
    said: dict[str, Any] = read_json(source) if is_there(source) else {}
    splits = {case.id: case.split for case in dataset.cases}
    kept = {name: [id for id in ids if plain(id, source) in splits] for name, ids in said.items()}
    listed = {plain(id, source): SPLIT_NAMES[name.strip().lower()] for name, ids in kept.items() for id in ids}
    _write(source, folder / source.name, said, kept if listed == splits else split_lists(dataset))


def write_folds(dataset: Dataset, folder: Path) -> None:
    """The splits_final.json of a copy: all folds of the source, if it has one, without cases that the copy does not have."""
    source = dataset.root / "splits_final.json"
    said: list[dict[str, list[str]]] = read_json(source) if is_there(source) else []
    known = {case.id for case in (*dataset.of("train", "val"), *(dataset.rest or ()))}
    kept = [{name: [id for id in ids if plain(id, source) in known] for name, ids in fold.items()} for fold in said]
    drawn = [{"train": [case.id for case in dataset.of("train")], "val": [case.id for case in dataset.of("val")]}]
    _write(source, folder / source.name, said, kept or drawn)


def table_content(dataset: Dataset, table: Table, rows: Iterable[tuple[Case, Row, Mapping[str, str]]]) -> bytes:
    """The content of a copy's table: a row for each case, after the row that the source has for it, with other cells as given.

    Splits, patients, trust, annotated classes and groups that the source does not say become cells, or columns at the end.
    """
    source = dataset.root / "dataset.json"
    description = read_json(source) if is_there(source) else {}
    beside = read_about_cases(source, description, {case.id for case in dataset.cases}, lambda problem: None)
    written: list[Row] = []
    added: dict[str, list[str]] = {}
    for case, row, cells in rows:
        changed = {**cells, **_said_of(case, row, table), **_about(dataset, case, row, beside)}
        here = {name: text for name, text in changed.items() if name in table.columns and text != row.fields.get(name)}
        written.append(table.with_cells(row, here) if here else row)
        for name in changed.keys() - set(table.columns):
            added.setdefault(name, [""] * (len(written) - 1)).append(changed[name])
        for values in added.values():
            values += [""] * (len(written) - len(values))
    return table.content(written, dict(sorted(added.items())))


def file_cells(dataset: Dataset, row: Row, files: Mapping[str, Iterable[Path]], separator: str = ";") -> dict[str, str]:
    """The cells that name a case's files by column, which are given relative to the data set."""
    cells = {name: path_cell(row.fields.get(name, ""), dataset.root, list(paths), separator) for name, paths in files.items()}
    return {name: cell for name, cell in cells.items() if cell != row.fields.get(name, "")}


def _said_of(case: Case, row: Row, table: Table) -> dict[str, str]:
    """What a row has to say otherwise of a case's split, patient, rater and trust."""
    said: dict[str, str] = {}
    if SPLIT_NAMES.get(row.fields.get("split", "").lower()) != case.split:
        said["split"] = case.split
    if (plain(row.fields.get("patient", ""), row.where) or image_id(case)) != case.patient:
        said["patient"] = case.patient
    if plain(row.fields.get("rater", ""), row.where) != (case.rater or ""):
        said["rater"] = case.rater or ""
    if FLAGS.get(row.fields.get("trusted", "").lower(), False) != case.trusted:
        said["trusted"] = str(int(case.trusted))
    return said


def _about(dataset: Dataset, case: Case, row: Row, beside: AboutCases) -> dict[str, str]:
    """The cells of a case's annotated classes and groups, where its row and what lies ``beside`` the table say others."""
    own = AboutCases()
    own.add(case.id, row.where, row.fields)
    if is_said(case, own.with_beside(beside, lambda problem: None), dataset.classes):
        return {}
    return {name: cell for name, cell in about_fields(case, dataset).items() if cell != row.fields.get(name, "")}


def _of_cases(said: Mapping[str, Any], known: set[str], source: Path) -> dict[str, Any]:
    """A description without what it says of cases that are not ``known``."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {id: of_case for id, of_case in value.items() if plain(id, source) in known}
        return [id for id in value if plain(id, source) in known]

    wanted = dict(said)
    for name in wanted.keys() & {"patients", "annotated", "trusted"}:
        wanted[name] = kept(said[name])
    if "groups" in wanted:
        wanted["groups"] = {name: kept(of_case) for name, of_case in said["groups"].items()}
    return wanted


def _people(dataset: Dataset, said: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """The entries of ``people_entries`` that a description does not have so."""
    patients = {plain(id, source): plain(name, source) for id, name in said.get("patients", {}).items()}
    trusted = {plain(id, source) for id in said.get("trusted", [])}
    wanted = people_entries(dataset)
    entries: dict[str, Any] = {}
    if any(patients.get(case.id, case.id) != case.patient for case in dataset.cases):
        entries["patients"] = wanted.get("patients", {})
    if trusted - {case.id for case in dataset.rest or ()} != set(wanted.get("trusted", [])):
        entries["trusted"] = wanted.get("trusted")
    return entries


def _write(source: Path, target: Path, said: Any, wanted: Any) -> None:
    """The source's own file where it says what is wanted."""
    if wanted and json.dumps(said) == json.dumps(wanted):
        shutil.copyfile(source, target)
    elif wanted:
        write_json(target, wanted)
