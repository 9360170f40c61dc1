"""How well an audit finds errors that are known, beside cleanlab and plain Dice, from the same predictions.

    python benchmarks/audit.py DATASET PREDICTIONS --out AUDIT [--clean SOURCE]

DATASET is a copy with errors by `audit_data.py`, SOURCE what it was copied from (to see which findings are right), PREDICTIONS
what `debride audit DATASET --out ...` left in its folder `predictions`, or any other. For each kind of error: the average
precision of the ranking of cases, over labels with this error and labels without any, and the difference to the others with
its 95 % interval (2,000 bootstrap resamples of the patients, paired); and that of the findings, where an error counts as found
by the first finding of which at least half the pixels are really wrong.
"""

import argparse
import csv
import json
import warnings
from itertools import pairwise
from pathlib import Path

import cc3d
import numpy as np

from debride.audit import AuditConfig
from debride.audit.evidence import predicted_classes
from debride.audit.findings import read_proposals, read_record
from debride.audit.passes import audit_dataset
from debride.audit.predictions import open_predictions
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.evaluation.detection import average_precision
from debride.progress import track
from debride.rng import generator

RESAMPLES = 2000
RIVALS = ("cleanlab", "dice")


def rivals_of(label, probability):
    """What cleanlab and Dice say of one case: a score each (larger: more doubtful), and pieces as (mask, score)."""
    from cleanlab.segmentation.filter import find_label_issues
    from cleanlab.segmentation.rank import get_label_quality_scores

    predicted = predicted_classes(probability)
    slices = np.moveaxis(probability, 1, 0) if label.ndim == 3 else probability[None]
    labels = label if label.ndim == 3 else label[None]
    flat = probability.reshape(1, len(probability), -1, label.shape[-1])
    quality, _ = get_label_quality_scores(label.reshape(1, -1, label.shape[-1]).astype(int), flat, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        issues = find_label_issues(labels.astype(int), slices, n_jobs=1, verbose=False).reshape(label.shape)
    own = np.take_along_axis(probability, label[None].astype(int), 0)[0]
    dice = [
        2 * ((label == c) & (predicted == c)).sum() / n
        for c in range(1, len(probability))
        if (n := (label == c).sum() + (predicted == c).sum())
    ]
    objects = max(1, np.count_nonzero((label > 0) | (predicted > 0)))
    return (
        {"cleanlab": 1 - float(quality[0]), "dice": 1 - float(np.mean(dice)) if dice else 0.0},
        {
            "cleanlab": [(mask, float((1 - own[mask]).mean())) for mask in components(issues)],
            "dice": [(mask, mask.sum() / objects) for mask in components(label != predicted)],
        },
    )


def components(wrong):
    """The connected components of a mask, as masks."""
    pieces = cc3d.connected_components(wrong, connectivity=8 if wrong.ndim == 2 else 26)
    return [pieces == number for number in range(1, int(pieces.max()) + 1)]


def right(masks, truth):
    """Whether each finding is right: at least half its pixels are really wrong."""
    return [(score, bool(truth[mask].mean() >= 0.5)) for mask, score in masks]


def findings_precision(found, wrong):
    """Average precision of findings [(score, is right, case)], where each of the ``wrong`` cases is to be found once."""
    hits, seen, total, at = 0, set(), 0.0, 0
    for _, is_right, case in sorted(found, key=lambda each: -each[0]):
        at += 1
        if is_right and case in seen:
            at -= 1  # a second right finding of an error is neither right nor wrong
        elif is_right:
            seen.add(case)
            hits += 1
            total += hits / at
    return total / max(1, len(wrong))


def difference(score, rival, wrong, patient, seed):
    """The difference in average precision and its 95 % interval over patients; NaN where none is wrong."""
    rng, people = generator(seed, "audit"), np.unique(patient)
    rows = [np.flatnonzero(patient == each) for each in people]
    drawn = []
    for _ in range(RESAMPLES):
        some = np.concatenate([rows[at] for at in rng.integers(len(people), size=len(people))])
        if wrong[some].any():
            drawn.append(average_precision(score[some], wrong[some]) - average_precision(rival[some], wrong[some]))
    limits = np.quantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    return average_precision(score, wrong) - average_precision(rival, wrong), *limits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for the audit; one that is there is looked at again")
    parser.add_argument("--clean", type=Path, help="the data set without errors; without it findings are not measured")
    parser.add_argument("--patient-pattern")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--planted", type=int, default=300)
    arguments = parser.parse_args()
    options = {"patient_pattern": arguments.patient_pattern}
    dataset = open_dataset(arguments.dataset, **options)
    errors = arguments.dataset / "errors.json"
    kind_of = (
        {id: row["kind"] for id, row in json.loads(errors.read_text()).items() if row["changed"]} if errors.exists() else {}
    )
    cases = dataset.of("train", "val")
    predictions = open_predictions(arguments.predictions, dataset, cases)
    if not (arguments.out / "report.html").exists():
        config = AuditConfig(planted=arguments.planted, pictures=0, seed=arguments.seed)
        audit_dataset(dataset, cases, predictions, arguments.out, config)
    ranked = {row["case"]: row for row in csv.DictReader((arguments.out / "cases.csv").open())}
    score = {"ours": np.array([float(ranked[case.id]["score"]) for case in cases])}
    rival = {name: np.zeros(len(cases)) for name in RIVALS}
    found = {name: [] for name in ("ours", *RIVALS)}
    clean = {case.id: case for case in open_dataset(arguments.clean, **options).cases} if arguments.clean else {}
    record = read_record(arguments.out)
    by_case = record.by_case()
    with track("rivals", len(cases)) as show:
        for at, case in enumerate(cases):
            label, geometry = read_label(case.label, dataset)
            probability = predictions.of(case, label.shape, geometry).probability.astype(np.float32)
            scores, pieces = rivals_of(label, probability)
            for name in RIVALS:
                rival[name][at] = scores[name]
            if case.id in clean:
                truth = label != read_label(clean[case.id].label, dataset)[0]
                for name in RIVALS:
                    found[name] += [(value, is_right, case.id) for value, is_right in right(pieces[name], truth)]
                if case.id in by_case:
                    numbers, _ = read_proposals(arguments.out, case.id, by_case[case.id], label.shape, len(dataset.classes))
                    masks = [(numbers == finding.number, finding.confidence) for finding in by_case[case.id]]
                    found["ours"] += [(value, is_right, case.id) for value, is_right in right(masks, truth)]
            show(at + 1)
    score |= rival
    kind = np.array([kind_of.get(case.id, "") for case in cases])
    patient = np.array([case.patient for case in cases])
    summary = json.loads((arguments.out / "audit.json").read_text())["summary"]
    flagged = np.array([ranked[case.id]["flagged"] == "1" for case in cases])
    wrong = np.array([float(ranked[case.id]["wrong"]) for case in cases])
    low, high = summary["share_wrong_interval"]
    print(
        f"\n{len(cases)} cases, {100 * (kind != '').mean():.1f} % wrong; estimated {100 * summary['share_wrong']:.1f} %",
        end=" ",
    )
    print(f"({100 * low:.1f} to {100 * high:.1f}); flagged {100 * flagged.mean():.1f} %", end=", ")
    print(f"of the right labels {100 * flagged[kind == ''].mean():.1f} %\n")
    if not kind_of:
        return
    print("| kind | labels | flagged | AP ours | cleanlab | Dice | ours - cleanlab | ours - Dice", end=" ")
    print("| findings ours | cleanlab | Dice |")
    print("| --- " * 11 + "|")
    for name in sorted(set(kind) - {""}):
        own = (kind == name) | (kind == "")
        is_wrong = (kind == name)[own]
        precision = [average_precision(score[each][own], is_wrong) for each in ("ours", *RIVALS)]
        gains = [difference(score["ours"][own], score[each][own], is_wrong, patient[own], arguments.seed) for each in RIVALS]
        ids = {case.id for case, k in zip(cases, kind, strict=True) if k == name}
        others = {case.id for case, k in zip(cases, kind, strict=True) if k not in ("", name)}
        findings = [findings_precision([f for f in found[each] if f[2] not in others], ids) for each in ("ours", *RIVALS)]
        cells = [name, str(is_wrong.sum()), f"{100 * flagged[kind == name].mean():.0f} %", *(f"{p:.3f}" for p in precision)]
        cells += [f"{gain:+.3f} ({low:+.3f} to {high:+.3f})" for gain, low, high in gains]
        cells += [f"{p:.3f}" for p in findings] if clean else ["–"] * 3
        print("| " + " | ".join(cells) + " |")
    print("\n| said to be wrong | labels | mean of what is said | really wrong |\n| --- | --- | --- | --- |")
    edges = [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.01]
    for low, high in pairwise(edges):
        inside = (wrong >= low) & (wrong < high)
        if inside.any():
            shares = f"{100 * wrong[inside].mean():.0f} % | {100 * (kind[inside] != '').mean():.0f} %"
            print(f"| {low:.1f} to {min(high, 1):.1f} | {inside.sum()} | {shares} |")


if __name__ == "__main__":
    main()
