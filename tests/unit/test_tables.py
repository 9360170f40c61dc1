import math
import random
import re
import statistics

import pytest

from debride.bench.tables import Summary, Table, collect, markdown, tables


def row(dataset="d", noise="S_R", method="ce", seed=0, dice=0.8, failed=None, per_rater=None, **changes):
    """A row with the given last-ten Dice, in all and by rater; the best is 0.01 above it, the last 0.02 below."""

    def score(value):
        return {
            "epoch": 3,
            "dice": value,
            "per_class": {"lesion": value},
            "per_rater": {},
            "hd95": 10 * value,
            "counts": {"both-empty": 0, "missed": 1, "false-positive": 2},
        }

    cell = {
        "dataset": dataset,
        "noise": noise,
        "method": method,
        "seed": seed,
        "label_dice": 0.9,
        "validation_labels": "given",
        "best": None if failed else score(dice + 0.01),
        "last": None if failed else score(dice - 0.02),
        "last_ten": None if failed else {"dice": dice, "deviation": 0.004, "per_rater": per_rater or {}},
        "minutes": 1.5,
        "device": "cpu",
        "train_cases": 20,
        "trusted_cases": 0,
        "epochs": 12,
        "curve": [] if failed else [{"epoch": 1, "train_loss": 1.0, "val_dice": None, "test_dice": dice}],
        "failed": failed,
    }
    return {**cell, **changes}


def with_surfaces(iou, assd, **changes):
    """A row that has Jaccard and surface distance too."""
    found = row(**changes)
    return {**found, "last": {**found["last"], "iou": iou, "assd": assd}}


def titled(rows, start: str) -> Table:
    """The one table whose title starts so."""
    (table,) = (table for table in tables(rows) if table.title.startswith(start))
    return table


def lines(table: Table) -> dict[str, tuple[str, ...]]:
    return dict(table.lines)


def test_means_and_deviations_are_over_seeds_by_rule():
    (group,) = collect([row(seed=seed, dice=dice) for seed, dice in enumerate([0.80, 0.84, 0.82])])
    assert group.dice["last_ten"] == Summary(pytest.approx(0.82), pytest.approx(0.02), 3)
    assert group.dice["best"].mean == pytest.approx(0.83)
    assert group.dice["last"].mean == pytest.approx(0.80)
    assert group.hd95 == Summary(pytest.approx(8.0), pytest.approx(0.2), 3)


def test_one_seed_has_no_deviation():
    (group,) = collect([row()])
    assert group.dice["last_ten"] == Summary(0.8, None, 1)
    assert lines(tables([row()])[0])["ce"] == ("80.0 (1)",)


def test_differences_are_paired_by_seed():
    base = {0: 0.80, 1: 0.70, 2: 0.60}
    method = {1: 0.74, 2: 0.70, 3: 0.99}
    rows = [row(seed=s, dice=d) for s, d in base.items()] + [row(method="gce", seed=s, dice=d) for s, d in method.items()]
    ce, gce = collect(rows)
    expected = [method[s] - base[s] for s in (1, 2)]
    assert ce.difference == {}
    for rule in ("last_ten", "best", "last"):
        assert gce.difference[rule].n == 2
        assert gce.difference[rule].mean == pytest.approx(statistics.fmean(expected))
        assert gce.difference[rule].deviation == pytest.approx(statistics.stdev(expected))


def test_differences_stay_within_their_data_set_and_noise():
    rows = [
        row(dice=0.5),
        row(noise="S_E", dice=0.7),
        row(method="gce", noise="S_E", dice=0.8),
        row("e", method="gce", dice=0.9),
    ]
    groups = {(g.dataset, g.noise, g.method): g for g in collect(rows)}
    assert groups["d", "S_E", "gce"].difference["last_ten"].mean == pytest.approx(0.1)
    assert groups["e", "S_R", "gce"].difference == {}


def test_cross_entropy_comes_first_and_the_order_is_else_that_of_the_rows():
    rows = [row(method=method, noise=noise) for method in ("t-loss", "gce", "ce") for noise in ("S_R", "S_E")]
    table = tables(rows)[0]
    assert table.columns == ("S_R", "S_E")
    assert [method for method, _ in table.lines] == ["training labels", "ce", "t-loss", "gce"]


def test_failed_cells_are_shown_and_count_in_no_mean():
    rows = [row(), row(seed=1, dice=0.82), row(method="gce", dice=0.9), row(method="gce", seed=1, failed="out of memory")]
    rows += [row(method="sce", seed=seed, failed="loss is not finite") for seed in (0, 1)]
    shown = tables(rows)
    assert lines(shown[0])["gce"] == ("90.0 (1, 1 failed)",)
    *by_noise, by_method_and_noise = shown
    assert all(lines(table)["sce"] == ("failed (2)",) for table in by_noise)
    assert lines(by_method_and_noise)["sce, S_R"] == ("failed (2)",) * 3
    text = markdown(rows)
    assert "- d, S_R, gce, seed 1: out of memory" in text and text.count("loss is not finite") == 2


def test_a_grid_that_failed_altogether_still_gives_tables():
    assert lines(tables([row(failed="no disk")])[0])["ce"] == ("failed (1)",)


def test_unknown_distances_leave_the_mean_but_lower_its_number():
    rows = [row(seed=0), row(seed=1)]
    rows[1]["last"]["hd95"] = None
    (group,) = collect(rows)
    assert group.hd95 == Summary(pytest.approx(7.8), None, 1)
    rows[0]["last"]["hd95"] = math.nan
    assert collect(rows)[0].hd95 is None
    assert lines(titled(rows, "Test HD95"))["ce"] == ("–",)


MEASURES = "Dice, Jaccard, HD95 and ASSD, last epoch"


def test_measures_of_the_last_epoch_have_a_line_per_method_and_noise():
    rows = [
        with_surfaces(0.50, 1.234, method="gce", dice=0.52),
        with_surfaces(0.60, 1.5, dice=0.82, minutes=2.0),
        with_surfaces(0.70, 1.0, dice=0.86, seed=1, minutes=5.0),
        row(method="gce", seed=1, failed="no disk", minutes=0.0),
        with_surfaces(0.9, 0.046, noise="clean"),
        row("other"),
    ]
    table = titled(rows, MEASURES)
    assert (table.dataset, table.columns) == ("d", ("Dice", "Jaccard", "HD95", "ASSD", "minutes"))
    # Two values that differ by d have the deviation d / sqrt(2).
    sqrt = math.sqrt(2)
    assert list(lines(table).items()) == [
        (
            "ce, S_R",
            (
                f"82.0 ± {4 / sqrt:.1f} (2)",
                f"65.0 ± {10 / sqrt:.1f} (2)",
                f"8.2 ± {0.4 / sqrt:.1f} (2)",
                f"1.25 ± {0.5 / sqrt:.2f} (2)",
                f"3.5 ± {3 / sqrt:.1f} (2)",
            ),
        ),
        ("ce, clean", ("78.0 (1)", "90.0 (1)", "7.8 (1)", "0.05 (1)", "1.5 (1)")),
        ("gce, S_R", tuple(f"{each} (1, 1 failed)" for each in ("50.0", "50.0", "5.0", "1.23", "1.5"))),
    ]
    assert "| ce, clean | 78.0 (1) | 90.0 (1) | 7.8 (1) | 0.05 (1) | 1.5 (1) |" in markdown(rows)


def test_hd95_stands_once_beside_the_other_measures_or_alone():
    old, new = [row(), row("e")], [with_surfaces(0.6, 1.0), row("e")]
    assert [(t.dataset, t.title) for t in tables(old) if "HD95" in t.title or t.title == MEASURES] == [
        ("d", "Test HD95, last epoch"),
        ("e", "Test HD95, last epoch"),
    ]
    assert [(t.dataset, t.title) for t in tables(new) if "HD95" in t.title or t.title == MEASURES] == [
        ("d", MEASURES),
        ("e", "Test HD95, last epoch"),
    ]
    assert len(tables(old)) == len(tables(new))


def test_rows_of_earlier_versions_stand_beside_others_with_what_they_have():
    rows = [row(dice=0.8), with_surfaces(0.6, 1.0, seed=1, dice=0.8), row(method="gce", dice=0.7)]
    assert lines(titled(rows, MEASURES)) == {
        "ce, S_R": ("78.0 ± 0.0 (2)", "60.0 (1)", "7.8 ± 0.0 (2)", "1.00 (1)", "1.5 ± 0.0 (2)"),
        "gce, S_R": ("68.0 (1)", "–", "6.8 (1)", "–", "1.5 (1)"),
    }


def test_undefined_measures_are_left_out():
    rows = [with_surfaces(None, None), with_surfaces(math.nan, 2.0, seed=1)]
    assert lines(titled(rows, MEASURES))["ce, S_R"][1::2] == ("–", "2.00 (1)")


def test_rows_from_before_raters_still_give_tables():
    old = row()
    del old["last_ten"]["per_rater"]
    assert [table.title for table in tables([old])] == [table.title for table in tables([row()])]


def test_training_labels_missing_cells_and_rules_are_said():
    rows = [row(dice=0.8), row(noise="clean", label_dice=None, dice=0.9), row(method="gce", dice=0.75)]
    first, difference, best, *_ = tables(rows)
    assert lines(first) == {"training labels": ("90.0", "–"), "ce": ("80.0 (1)", "90.0 (1)"), "gce": ("75.0 (1)", "–")}
    assert lines(difference) == {"gce": ("-5.0 (1)", "–")}
    assert "last ten epochs" in first.note
    assert "validation set with given labels" in best.note


def test_the_labels_that_the_best_epoch_was_chosen_on_are_said():
    given, clean = row(), row(noise="S_E", validation_labels="clean")
    uncorrupted, failed = row(noise="clean", label_dice=1.0), row(noise="S_F", label_dice=None, failed="no disk")
    for rows, said in (
        ([given], "given"),
        ([clean], "clean"),
        ([given, clean], "clean and given"),
        ([uncorrupted], "given"),
        ([uncorrupted, given], "given"),
        ([uncorrupted, clean], "clean"),
        ([clean, failed], "clean"),
        ([failed], "given"),
    ):
        notes = [table.note for table in tables(rows) if "best" in table.title]
        assert notes and all(f"on the validation set with {said} labels" in note for note in notes)


def test_a_grid_without_the_last_ten_epochs_has_no_tables_of_them():
    measured, without = row(), {**row(), "last_ten": None}
    assert any("last ten" in table.title for table in tables([measured]))
    titles = [table.title for table in tables([without])]
    assert titles and not any("last ten" in title for title in titles)


def test_recovery_is_the_part_of_the_gap_to_clean_labels_that_a_method_closes():
    rows = [
        *(row(noise="clean", seed=seed, dice=dice, label_dice=1.0) for seed, dice in enumerate([0.80, 0.82])),
        *(row(seed=seed, dice=dice) for seed, dice in enumerate([0.60, 0.64, 0.10])),
        *(row(method="good", seed=seed, dice=dice) for seed, dice in enumerate([0.71, 0.72, 0.90])),
        *(row(noise="weak", seed=seed, dice=dice) for seed, dice in enumerate([0.78, 0.79])),
        row(noise="weak", method="good", seed=1, dice=0.9),
        row(noise="weak", method="other", seed=7, dice=0.9),
    ]
    table = titled(rows, "Recovery")
    assert table.columns == ("S_R", "weak")
    # Seed 2 has no training on clean labels: (0.11 + 0.08) / (0.20 + 0.18).
    assert lines(table) == {"good": ("50 (2)", "gap 3.0"), "other": ("–", "–")}


def test_without_clean_labels_there_is_no_recovery():
    assert not [table for table in tables([row(), row(method="good")]) if table.title.startswith("Recovery")]


def by_class(best, last, **changes):
    """A row with the given Dice of the best and the last epoch by class; None for an epoch that was not there."""
    found = row(**changes)
    for name, score in (("best", best), ("last", last)):
        known = [value for value in (score or {}).values() if value is not None]
        found[name] = score and {**found[name], "per_class": score, "dice": statistics.fmean(known)}
    return found


def test_dice_by_class_stands_for_the_best_and_the_last_epoch_side_by_side():
    rows = [
        by_class({"RV": 0.7, "LV": 0.9}, {"RV": 0.5, "LV": 0.9}, method="gce", noise="clean"),
        by_class({"RV": 0.60, "LV": 0.80}, {"RV": 0.40, "LV": 0.70}),
        by_class({"RV": 0.64, "LV": 0.90}, {"RV": 0.48, "LV": 0.94}, seed=1),
        row(method="gce", seed=0, failed="no disk"),
        by_class({"RV": 0.5, "LV": 0.6}, {"RV": 0.6, "LV": 0.7}, method="gce", seed=1),
        row("other"),
    ]
    table = next(table for table in tables(rows) if "by class" in table.title)
    assert (table.dataset, table.title) == ("d", "Test Dice by class, best and last epoch")
    assert table.columns == ("RV best", "RV last", "LV best", "LV last", "mean best", "mean last", "last - best")
    # Two values that differ by d have the mean between them and the deviation d / sqrt(2): of the means 0.70 and 0.77 at the
    # best epoch and 0.55 and 0.71 at the last one, which differ by -0.15 and -0.06.
    sqrt = math.sqrt(2)
    ce = [(62, 4), (44, 8), (85, 10), (82, 24), (73.5, 7), (63, 16)]
    assert list(lines(table).items()) == [
        ("ce, S_R", (*(f"{mean:.1f} ± {d / sqrt:.1f} (2)" for mean, d in ce), "-10.5 ± 6.4 (2)")),
        ("gce, clean", tuple(f"{each} (1)" for each in ("70.0", "50.0", "90.0", "90.0", "80.0", "70.0", "-10.0"))),
        ("gce, S_R", tuple(f"{each} (1, 1 failed)" for each in ("50.0", "60.0", "60.0", "70.0", "55.0", "65.0", "+10.0"))),
    ]
    assert "| gce, clean | 70.0 (1) | 50.0 (1) | 90.0 (1) | 90.0 (1) | 80.0 (1) | 70.0 (1) | -10.0 (1) |" in markdown(rows)
    assert titled([each for each in rows if each["dataset"] == "other"], "Test Dice, best and last").dataset == "other"


def test_of_one_class_the_best_and_the_last_epoch_stand_alone():
    table = titled([row(dice=0.8), row(seed=1, dice=0.9)], "Test Dice, best and last epoch")
    assert table.columns == ("best", "last", "last - best")
    assert lines(table) == {"ce, S_R": ("86.0 ± 7.1 (2)", "83.0 ± 7.1 (2)", "-3.0 ± 0.0 (2)")}


def test_the_last_epoch_is_compared_with_the_best_of_the_same_seeds_only():
    rows = [by_class(None, {"a": 0.9, "b": 0.9}), by_class({"a": 0.6, "b": 0.8}, {"a": 0.5, "b": 0.7}, seed=1)]
    (line,) = lines(titled(rows, "Test Dice by class")).values()
    assert line[-3:] == ("70.0 (1)", "75.0 ± 21.2 (2)", "-10.0 (1)")
    (line,) = lines(titled(rows[:1], "Test Dice by class")).values()
    assert line == ("–", "90.0 (1)", "–", "90.0 (1)", "–", "90.0 (1)", "–")


def test_a_class_without_any_test_case_has_a_column_and_no_number():
    rows = [by_class({"a": 0.6, "b": None}, {"a": 0.5, "b": None})]
    (line,) = lines(titled(rows, "Test Dice by class")).values()
    assert line == ("60.0 (1)", "50.0 (1)", "–", "–", "60.0 (1)", "50.0 (1)", "-10.0 (1)")


def test_where_nothing_was_tested_there_are_no_classes_to_show():
    assert not [table for table in tables([row(failed="no disk")]) if "best and last" in table.title]


def test_dice_by_rater_has_a_line_per_method_and_noise_and_the_mean_over_raters():
    rows = [
        row(noise="sample", method="gce", per_rater={"b": 0.5, "a": 0.7}),
        row(noise="A1", per_rater={"b": 0.8, "a": 0.9}),
        row(noise="sample", per_rater={"b": 0.6, "a": 0.7}),
        row(noise="sample", seed=1, per_rater={"b": 0.7, "a": 0.9}),
        row(noise="sample", method="gce", seed=1, failed="no disk"),
        row("other"),
    ]
    *_, table = [table for table in tables(rows) if table.dataset == "d"]
    assert table.title == "Test Dice by rater, last ten epochs"
    assert table.columns == ("a", "b", "mean")
    deviations = [100 * statistics.stdev(each) for each in ([0.7, 0.9], [0.6, 0.7], [0.65, 0.8])]
    sample = tuple(f"{mean} ± {each:.1f} (2)" for mean, each in zip(("80.0", "65.0", "72.5"), deviations, strict=True))
    failed = tuple(f"{mean} (1, 1 failed)" for mean in ("70.0", "50.0", "60.0"))
    assert list(lines(table).items()) == [
        ("ce, sample", sample),
        ("ce, A1", ("90.0 (1)", "80.0 (1)", "85.0 (1)")),
        ("gce, sample", failed),
    ]
    assert "| ce, A1 | 90.0 (1) | 80.0 (1) | 85.0 (1) |" in markdown(rows)
    assert sum("by rater" in each.title for each in tables(rows)) == 1


def test_a_dice_that_is_undefined_for_a_rater_leaves_the_mean_undefined():
    (line,) = lines(tables([row(per_rater={"a": 0.7, "b": math.nan})])[-1]).values()
    assert line == ("70.0 (1)", "–", "–")


def test_markdown_has_a_heading_per_data_set_and_well_formed_tables():
    rows = [
        row(dataset, noise, method, seed)
        for dataset in "ab"
        for noise in ("x|y", "z")
        for method in ("ce", "gce")
        for seed in (0, 1)
    ]
    text = markdown(rows)
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## a", "## b"]
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    widths = [{line.replace("\\|", "").count("|") for line in block.splitlines()} for block in blocks]
    by_noise = [{4}] * 7
    assert widths == [*by_noise, {5}] * 2, "a line per method and noise has three columns, the others one per noise"
    assert "| ce | 80.0 ± 0.0 (2) | 80.0 ± 0.0 (2) |" in text


def test_the_order_of_rows_changes_no_number():
    rows = [row(noise=noise, method=method, seed=seed, dice=random.Random(f"{noise}{method}{seed}").random())
            for noise in ("S_R", "S_E") for method in ("ce", "gce") for seed in range(3)]  # fmt: skip
    shuffled = random.Random(0).sample(rows, len(rows))
    for ours, theirs in zip(
        *(sorted(collect(each), key=lambda g: (g.noise, g.method)) for each in (rows, shuffled)), strict=True
    ):
        for rule, summary in ours.dice.items():
            assert theirs.dice[rule] == Summary(pytest.approx(summary.mean), pytest.approx(summary.deviation), 3)
        for rule, summary in ours.difference.items():
            assert theirs.difference[rule] == Summary(pytest.approx(summary.mean), pytest.approx(summary.deviation), 3)
