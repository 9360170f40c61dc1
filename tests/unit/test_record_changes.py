"""Records that are changed at random are refused, or mean what they meant: never a mistake, never a default in silence."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.datasets import build_folder, build_nnunet_2d
from tests.training_jobs import small_job
from tests.written_audits import repaired_folder, two_findings

from debride.api.given import read_config
from debride.audit.decided.decision_tables import read_decision_table
from debride.audit.findings import read_record
from debride.audit.predictions import FolderPredictions
from debride.audit.repair.kept_labels import given_files
from debride.bench.grid import read_grid
from debride.data.masks.corrupt import Corrupted
from debride.data.open import open_dataset
from debride.files import read_json
from debride.records import read_as
from debride.settings import from_mapping
from debride.state import Field, LabelState
from debride.training.config import TrainConfig
from debride.training.counters import read_counters
from debride.training.fit import fit
from debride.training.predict import load_run, trained_on
from debride.training.recorded import read_metrics
from debride.types import DataError

TRIED = 40
"""Changes of each record."""

VALUES: tuple[Any, ...] = (None, [], {}, "", "..", "../x", "a\0b", -1, 0, 1.5, 10**30, True, [[]], [None], {"a": 1}, "x" * 300)


@dataclass(frozen=True)
class Record:
    """A file, and what reads it; ``free`` are entries that may be left out without a change of meaning."""

    file: Path
    read: Callable[[], Any]
    free: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    fit(small_job(root, "ce", n=6, epochs=1, image_size=(16, 16), width=2))
    return root / "run"


@pytest.fixture
def records(run: Path, tmp_path: Path) -> dict[str, Record]:
    """Every record that is read back, of which a test changes one."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    state = copy / "resume" / "epoch-0001"
    (tmp_path / "folder").mkdir()
    folder = build_folder(tmp_path / "folder" / "toy", n=4, size=8)
    people = {"patients": {"case000": "p"}, "trusted": ["case000"]}
    (folder / "dataset.json").write_text(
        json.dumps({"classes": ["a", "b"], "values": {"0": 0, "255": 1}, "ignore": 7, **people})
    )
    nnunet = build_nnunet_2d(tmp_path / "nnunet", n=4, size=8)
    ids = [case.id for case in open_dataset(nnunet).of("train", "val")]
    (nnunet / "splits_final.json").write_text(json.dumps([{"train": ids[1:], "val": ids[:1]}]))
    dataset, audit = two_findings(tmp_path / "audited")
    known = {("", finding.case, finding.number) for finding in read_record(audit).findings}
    (tmp_path / "d.jsonl").write_text('{"case": "p00_s0", "number": 1, "decision": "accept"}\n')
    (tmp_path / "d.csv").write_text("case,number,decision\np00_s0,1,accept\np01_s1,1,reject\n")
    repaired = repaired_folder(tmp_path / "repaired")
    predictions = tmp_path / "p"
    predictions.mkdir()
    for case in dataset.cases:
        shutil.copy(case.label or case.image[0], predictions / f"{case.id}.png")
    (predictions / "predictions.json").write_text(json.dumps({"trained_on": [dataset.cases[0].id]}))
    (tmp_path / "noise.json").write_text(json.dumps({"overall_dice": 0.9, "overall_changed": 0.01}))
    grid = {"datasets": {"toy": {"path": str(folder)}}, "noises": {"n": {"noise": "markov"}}, "methods": {"ce": None}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**grid, "training": {"epochs": 2}, "seeds": [0, 1]}))
    (tmp_path / "config.yaml").write_text("training: {epochs: 3, image_size: [16, 16]}\n")
    store = LabelState((Field("w", "pixel"),), ((2, 3),), tmp_path / "labels")
    labels = tmp_path / "epoch" / "labels"
    store.save(labels, 0)

    def loaded() -> Any:
        trained = load_run(copy, "last", torch.device("cpu"))
        return trained.config, trained.channels, trained.labels, trained_on(copy, "last")

    def opened(path: Path) -> Any:
        return open_dataset(path, val_fraction=0.25)

    def noted() -> Any:
        known_to_it = FolderPredictions(predictions, dataset)
        return [known_to_it.seen(case) for case in dataset.cases]

    def configured() -> Any:
        return from_mapping(TrainConfig, read_config(tmp_path / "config.yaml").get("training", {}), "config.yaml: training")

    seldom = frozenset({"augmentation", "parameters", "trusted", "dataset_root", "torch", "monai", "python", "debride"})
    return {
        "run.json": Record(copy / "run.json", loaded, seldom | {"train", "val", "task"}),
        "state.json": Record(state / "state.json", lambda: read_counters(state), frozenset({"epoch"})),
        "metrics.jsonl": Record(copy / "metrics.jsonl", lambda: read_metrics(copy / "metrics.jsonl", 1)),
        "fields.json": Record(labels / "fields.json", lambda: store.restore(labels)),
        "dataset.json": Record(folder / "dataset.json", lambda: opened(folder)),
        "splits.json": Record(folder / "splits.json", lambda: opened(folder)),
        "nnunet/dataset.json": Record(nnunet / "dataset.json", lambda: opened(nnunet)),
        "splits_final.json": Record(nnunet / "splits_final.json", lambda: opened(nnunet)),
        "audit.json": Record(audit / "audit.json", lambda: read_record(audit)),
        "findings.jsonl": Record(audit / "findings.jsonl", lambda: read_record(audit)),
        "cases.csv": Record(audit / "cases.csv", lambda: read_record(audit)),
        "d.jsonl": Record(tmp_path / "d.jsonl", lambda: read_decision_table(tmp_path / "d.jsonl", known)),
        "d.csv": Record(tmp_path / "d.csv", lambda: read_decision_table(tmp_path / "d.csv", known)),
        "repairs.jsonl": Record(repaired / "repairs.jsonl", lambda: given_files(open_dataset(repaired))),
        "predictions.json": Record(predictions / "predictions.json", noted),
        "noise.json": Record(
            tmp_path / "noise.json", lambda: read_as(Corrupted, read_json(tmp_path / "noise.json"), "noise.json", "Again.")
        ),
        "grid.yaml": Record(tmp_path / "grid.yaml", lambda: read_grid(tmp_path / "grid.yaml")),
        "config.yaml": Record(tmp_path / "config.yaml", configured),
    }


NAMES = (
    *("run.json", "state.json", "metrics.jsonl", "fields.json", "dataset.json", "splits.json", "nnunet/dataset.json"),
    *("splits_final.json", "audit.json", "findings.jsonl", "cases.csv", "d.jsonl", "d.csv", "repairs.jsonl"),
    *("predictions.json", "noise.json", "grid.yaml", "config.yaml"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_record_is_refused_or_reads_as_changed(name: str, records: dict[str, Record]) -> None:
    record, rng = records[name], random.Random(name)
    good = record.file.read_bytes()
    record.read()
    refused = 0
    for what, content in changes(name, good, rng):
        record.file.write_bytes(content)
        try:
            record.read()
        except DataError as error:
            refused += 1
            assert len(str(error)) < 2000, what
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}\n{content[:300]!r}")
    assert refused > TRIED // 4


@pytest.mark.parametrize("name", ["run.json", "state.json", "metrics.jsonl", "noise.json", "predictions.json"])
def test_no_entry_of_ours_can_be_left_out(name: str, records: dict[str, Record]) -> None:
    """What debride wrote itself is whole: an entry that is read has no default in silence."""
    record = records[name]
    value = json.loads(record.file.read_text())
    told = repr(record.read())
    for path in paths(value):
        holder = at(value, path[:-1])
        if not isinstance(holder, dict) or path[-1] in record.free or path[0] in record.free:
            continue
        kept = dict(holder)
        del holder[path[-1]]
        record.file.write_text(json.dumps(value) + "\n")
        holder.clear()
        holder.update(kept)
        try:
            now = repr(record.read())
        except DataError:
            continue
        assert now == told or name in ("metrics.jsonl", "state.json"), path


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_a_records_place(name: str, records: dict[str, Record]) -> None:
    record = records[name]
    record.file.unlink()
    record.file.mkdir()
    with pytest.raises(DataError):
        record.read()


def changes(name: str, good: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Changes of bytes and, where it is JSON or YAML, of values."""
    for _ in range(TRIED // 3):
        cut = rng.randrange(len(good))
        yield f"cut at {cut}", good[:cut]
    yield "not UTF-8", good[: len(good) // 2] + b"\xff\xfe" + good[len(good) // 2 :]
    yield "a null byte", good[: len(good) // 2] + b"\0" + good[len(good) // 2 :]
    yield "nested", b"[" * 1200
    yield "twice", good + good
    if name.endswith(".csv"):
        return
    lines = good.decode().splitlines() if name.endswith(".jsonl") else [good.decode()]
    for _ in range(TRIED):
        number = rng.randrange(len(lines))
        value = yaml.safe_load(lines[number]) if name.endswith(".yaml") else json.loads(lines[number])
        path = rng.choice(list(paths(value)) or [()])
        holder: Any = at(value, path[:-1])
        if rng.random() < 0.3 and path:
            del holder[path[-1]]
            what = f"{path} deleted"
        else:
            new = rng.choice(VALUES)
            what = f"{path} is {new!r}"
            if path:
                holder[path[-1]] = new
            else:
                value = new
        written = yaml.safe_dump(value) if name.endswith(".yaml") else json.dumps(value)
        yield what, "".join(f"{line}\n" for line in (*lines[:number], written, *lines[number + 1 :])).encode()


def paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield (*before, key)
        yield from paths(inside, (*before, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_maps_of_an_audit_are_of_their_shape_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from debride.audit.findings import record as module

    _, audit = two_findings(tmp_path)
    large = np.zeros((1000, 1000), np.uint16)
    np.savez_compressed(audit / "proposals" / "p01_s1.npz", number=large, proposed=large.astype(np.uint8))
    monkeypatch.setattr(module, "_arrays", lambda path: pytest.fail("it was read"))
    record = read_record(audit)
    with pytest.raises(DataError, match=r"holds number of shape \(1000, 1000\), the label of p01_s1 has \(32, 32\)"):
        module.read_proposals(audit, "p01_s1", record.by_case()["p01_s1"], (32, 32), 3)
