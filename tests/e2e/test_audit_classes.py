"""The verbs audit and repair on images with one class each: from predictions to a repaired data set, and back."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tests.datasets import build_npz, save_png
from tests.e2e.conftest import Command

from debride.data.open import open_dataset

CLASSES = ("cat", "dog", "hen")


class Audited(NamedTuple):
    data: Path
    audit: Path
    true: dict[str, str]
    before: dict[str, bytes]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def classes_of(folder: Path) -> dict[str, str]:
    dataset = open_dataset(folder)
    return {case.id: dataset.classes[case.target] for case in dataset.cases if case.target is not None}


def table_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write_set(root: Path, number: int = 240) -> tuple[dict[str, str], Path]:
    """A table of tiny images, of whose classes a fifth is wrong, and predictions that see what is right."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, number)
    given = np.where(rng.random(number) < 0.2, (true + 1) % 3, true)
    images = rng.integers(0, 255, (number, 6, 6, 3)).astype(np.uint8)
    images[1], true[:2], given[:2] = images[0], 1, [0, 1]
    lines = ["image,class,split,case,trusted,patient"]
    for at, image in enumerate(images):
        save_png(root / "images" / f"{at}.png", image)
        split = "train" if at < 200 else "val"
        lines.append(f'images/{at}.png,"{CLASSES[given[at]]}",{split},c{at},{int(at == 5)},p{at // 2}')
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    logits = 8 * np.eye(3)[true] + rng.normal(size=(number, 3))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = [f"c{at},{','.join(f'{value:.6f}' for value in row)}" for at, row in enumerate(probability)]
    predictions = root.parent / "p.csv"
    predictions.write_text("\n".join([f"case,{','.join(CLASSES)}", *rows]))
    return {f"c{at}": CLASSES[id] for at, id in enumerate(true)}, predictions


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    from debride.cli import main

    root = tmp_path_factory.mktemp("classes")
    true, predictions = write_set(root / "data")
    before = contents(root / "data")
    words = ["audit", root / "data", "--predictions", predictions, "--out", root / "audit", "--jobs", 1, "--pictures", 12]
    assert main([str(word) for word in words]) == 0
    assert contents(root / "data") == before
    return Audited(root / "data", root / "audit", true, before)


@pytest.mark.parametrize(("kind", "said"), [("same", "the same as the labels"), ("turned", "by chance")])
def test_predictions_that_say_nothing_are_said_to(
    audited: Audited, debride: Command, tmp_path: Path, kind: str, said: str
) -> None:
    given = list(classes_of(audited.data).items())
    turn = {"same": lambda at: at, "turned": lambda at: at + 1}[kind]
    rows = [
        np.eye(3)[turn(CLASSES.index(name)) % 3] * 0.97 + 0.01 if kind == "turned" else np.eye(3)[CLASSES.index(name)]
        for _, name in given
    ]
    lines = [f"{case},{','.join(map(str, row))}" for (case, _), row in zip(given, rows, strict=True)]
    (tmp_path / "p.csv").write_text("\n".join([f"case,{','.join(CLASSES)}", *lines]))
    done = debride("audit", audited.data, "--predictions", tmp_path / "p.csv", "--out", tmp_path / "audit", "--jobs", 1)
    assert "how many are wrong cannot be told" in done.out and said in done.out and "flagged cases" not in done.out
    data = (tmp_path / "audit" / "report.html").read_text()
    assert "cannot be told" in data and "How likely labels are wrong" not in data


def test_the_folder_says_what_is_wrong(audited: Audited) -> None:
    about = json.loads((audited.audit / "audit.json").read_text())
    given = classes_of(audited.data)
    wrong = {case for case in given if given[case] != audited.true[case]}
    low, high = about["summary"]["share_wrong_interval"]
    assert 0 < low <= len(wrong) / len(given) <= high
    rows = table_of(audited.audit / "cases.csv")
    assert [row["rank"] for row in rows] == [str(at) for at in range(1, 241)]
    flagged = {row["case"] for row in rows if row["flagged"] == "1"}
    assert len(flagged & wrong) > 0.4 * len(wrong) and len(flagged - wrong) <= 2
    assert all(row["proposed"] == audited.true[row["case"]] for row in rows if row["case"] in flagged & wrong)
    assert next(row for row in rows if row["case"] == "c5")["wrong"] == "0"
    pairs = table_of(audited.audit / "pairs.csv")
    assert len(pairs) == 6 and all(float(row["low"]) <= float(row["share"]) <= float(row["high"]) for row in pairs)
    assert table_of(audited.audit / "duplicates.csv") == [
        {"group": "1", "case": "c0", "class": "cat", "exact": "1"},
        {"group": "1", "case": "c1", "class": "dog", "exact": "1"},
    ]


def test_the_report_asks_for_nothing_and_shows_thumbnails(audited: Audited) -> None:
    page = (audited.audit / "report.html").read_text()
    assert "default-src 'none'" in page and "http" not in page.replace("http-equiv", "")
    assert page.count('<script type="text/plain" id="p') == 12
    data = json.loads(page.split('id="data" type="application/json">')[1].split("</script>")[0])
    assert {"dog → cat", "hen → dog", "cat → hen"} <= {finding["change"] for finding in data["findings"]}


def test_the_same_audit_gives_the_same_bytes(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ("--predictions", audited.data.parent / "p.csv", "--out", tmp_path / "again", "--jobs", 2, "--pictures", 12)
    assert debride("audit", audited.data, *words, "--fail-on", 0.01).code == 1
    first, second = contents(audited.audit), contents(tmp_path / "again")
    assert first == second


def test_a_rule_repairs_and_is_taken_back_byte_for_byte(audited: Audited, debride: Command, tmp_path: Path) -> None:
    answer = debride("repair", audited.data, audited.audit, "--out", tmp_path / "new", "--accept", "relabel", "--flagged")
    assert answer.code == 0 and "classes changed" in answer.out
    given, repaired = classes_of(audited.data), classes_of(tmp_path / "new")
    agree = lambda classes: sum(classes[case] == audited.true[case] for case in classes)  # noqa: E731
    assert agree(repaired) > agree(given) + 10
    lines = [json.loads(line) for line in (tmp_path / "new" / "repairs.jsonl").read_text().splitlines()]
    applied = {line["case"] for line in lines if line["status"] == "applied"}
    assert applied == {case for case in given if given[case] != repaired[case]}
    assert contents(audited.data) == audited.before
    assert debride("repair", tmp_path / "new", "--reverse", "--out", tmp_path / "old").code == 0
    old = contents(tmp_path / "old")
    assert {name: old[name] for name in audited.before} == audited.before
    (tmp_path / "new" / "labels.csv").write_text((tmp_path / "new" / "labels.csv").read_text().replace("c9,", "c9 ,"))
    refused = debride("repair", tmp_path / "new", "--reverse", "--out", tmp_path / "older")
    assert refused.code == 2 and "since the repair" in refused.err


def test_decisions_override_the_rule(audited: Audited, debride: Command, tmp_path: Path) -> None:
    rows = [row for row in table_of(audited.audit / "cases.csv") if row["flagged"] == "1"]
    decisions = tmp_path / "decisions.csv"
    decisions.write_text(f"case,number,decision\n{rows[0]['case']},1,accept\n{rows[1]['case']},1,reject\n")
    answer = debride("repair", audited.data, audited.audit, "--out", tmp_path / "new", "--decisions", decisions)
    assert answer.code == 0 and "1 class changed" in answer.out
    assert classes_of(tmp_path / "new")[rows[0]["case"]] == rows[0]["proposed"]
    words = ("--accept", "all", "--class", rows[0]["given"], "--confidence", 0.9, "--decisions", decisions)
    assert debride("repair", audited.data, audited.audit, "--out", tmp_path / "both", *words).code == 0
    lines = [json.loads(line) for line in (tmp_path / "both" / "repairs.jsonl").read_text().splitlines()]
    of_rule = {line["case"] for line in lines if line["status"] == "applied"} - {rows[0]["case"]}
    assert of_rule and all(line["given"] == rows[0]["given"] for line in lines if line["case"] in of_rule)
    assert rows[1]["case"] not in of_rule


def test_changed_labels_and_options_of_masks_are_refused(audited: Audited, debride: Command, tmp_path: Path) -> None:
    write_set(tmp_path / "data")
    case = next(row for row in table_of(audited.audit / "cases.csv") if row["flagged"] == "1")
    table = tmp_path / "data" / "labels.csv"
    other = next(name for name in CLASSES if name != case["given"])
    table.write_text(
        "\n".join(
            line.replace(f'"{case["given"]}"', f'"{other}"') if f",{case['case']}," in line else line
            for line in table.read_text().splitlines()
        )
        + "\n"
    )
    answer = debride("repair", tmp_path / "data", audited.audit, "--out", tmp_path / "new", "--accept", "relabel")
    assert answer.code == 2 and f"changed since the audit: {case['case']}" in answer.err
    for words in (["--accept", "missing"], ["--accept", "relabel", "--severity", 0.5], []):
        assert debride("repair", audited.data, audited.audit, "--out", tmp_path / "new", *words).code == 2
    predictions = ["--predictions", audited.data.parent / "p.csv", "--out", tmp_path / "a"]
    for words in (["--shard", "1/2"], ["--merge"], ["--identities"], ["--since", audited.audit]):
        answer = debride("audit", audited.data, *predictions, *words)
        assert answer.code == 2 and f"{words[0]}: is for masks" in answer.err


def test_networks_of_a_cross_validation_judge_what_they_have_not_seen(debride: Command, tmp_path: Path) -> None:
    file = build_npz(tmp_path / "data", n=36) / "small.npz"
    small = ["--epochs", 1, "--batch-size", 8, "--network", "cnn", "--width", 4, "--device", "cpu"]
    answer = debride("audit", file, "--folds", 2, "--out", tmp_path / "audit", *small)
    assert answer.code == 0, answer.err
    assert (tmp_path / "audit" / "predictions" / "predictions.csv").is_file()
    assert {row["seen"] for row in table_of(tmp_path / "audit" / "cases.csv")} == {"0"}
    folds = tmp_path / "audit" / "cross-validation"
    assert debride("audit", file, "--run", folds, "--out", tmp_path / "again", "--device", "cpu").code == 0
    assert (tmp_path / "again" / "cases.csv").read_bytes() == (tmp_path / "audit" / "cases.csv").read_bytes()
    accept = ("--accept", "relabel", "--allow-removal")
    assert debride("repair", file, tmp_path / "audit", "--out", tmp_path / "new", *accept).code == 0
    assert debride("repair", tmp_path / "new", "--reverse", "--out", tmp_path / "old").code == 0
    with np.load(file) as given, np.load(tmp_path / "old" / "small.npz") as old:
        assert all(given[name].tobytes() == old[name].tobytes() for name in given.files)
