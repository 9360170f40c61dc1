import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from tests.unit.test_tables import MEASURES, row, with_surfaces

from debride.bench import plots
from debride.bench.report import render

CONTEXT = {"date": "2025-01-31", "command": "debride bench grid.yaml", "versions": {"debride": "0.1", "torch": "2.9"}}
EVIL = '<script>alert("x")</script>'


def curve(epochs, offset=0.0):
    return [
        {"epoch": e, "train_loss": 1 / e, "val_dice": 0.5, "test_dice": offset + 0.8 * e / epochs} for e in range(1, epochs + 1)
    ]


def grid(methods=("ce", "gce"), noises=("clean", "S_R"), seeds=(0, 1)):
    return [
        row("lesions", noise, method, seed, 0.7 + 0.01 * seed, curve=curve(12, 0.01 * seed))
        for noise in noises
        for method in methods
        for seed in seeds
    ]


def picture(**changes):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 8:20] = 1
    png = plots.outlines(np.zeros((1, 32, 32)), {"clean": mask})
    base = {"dataset": "lesions", "noise": "S_R", "method": "ce", "seed": 0, "case": "p001", "png": png, "caption": "train"}
    return {**base, **changes}


class Page(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def values(self, attribute):
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]


def test_nothing_is_requested_from_outside():
    html = render("demo", grid(), [picture()], CONTEXT)
    page = Page(html)
    assert all(uri.startswith("data:image/") for uri in page.values("src")) and len(page.values("src")) == 4
    assert all(link.startswith("#") and link[1:] in page.values("id") for link in page.values("href"))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import|https?:", re.sub(r"data:[^\"]*", "", html))


def test_names_are_escaped_everywhere():
    rows = [row(EVIL, EVIL, EVIL, failed=EVIL), row(EVIL, EVIL, "ce", curve=curve(3))]
    html = render(EVIL, rows, [picture(dataset=EVIL, noise=EVIL, case=EVIL, caption=EVIL)], {**CONTEXT, "command": EVIL})
    page = Page(html)
    assert "<script" not in html and "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(EVIL) >= 8


def test_every_cell_is_listed_and_failures_say_why():
    rows = [
        *grid(),
        row("lesions", "S_R", "sce", 0, failed="loss is not finite"),
        row("lungs", "S_E", "ce", 7, failed="no disk"),
    ]
    page = Page(render("demo", rows, [], CONTEXT))
    listed = page.text[page.text.index("chosen on") :]
    for each in rows:
        assert re.search(rf"{each['dataset']}\s*{each['noise']}\s*{each['method']}\s*{each['seed']}", listed)
    assert "lungs, S_E, ce, seed 7: no disk" in page.text
    assert page.text.count("loss is not finite") == 2
    assert "10, 2 failed" in page.text


def test_header_tables_and_rules_are_there():
    text = Page(render("demo", grid(), [], CONTEXT)).text
    for part in ("2025-01-31", "debride bench grid.yaml", "torch 2.9", "Difference to ce, last ten epochs", "70.5 ± 0.7 (2)"):
        assert part in text
    for rule in (
        "Empty masks.",
        "both empty, Dice is undefined",
        "first epoch of the highest Dice on the validation set",
        "Seeds.",
    ):
        assert rule in text


def test_pictures_stand_under_their_noise_and_method():
    gallery = [picture(case="first"), picture(method="gce", case="second"), picture(noise="clean", case="third")]
    text = Page(render("demo", grid(), gallery, CONTEXT)).text
    places = [text.index(part) for part in ("lesions: clean", "third, seed", "lesions: S_R", "first, seed", "second, seed")]
    assert places == sorted(places)


def test_equal_results_give_equal_reports():
    assert render("demo", grid(), [picture()], CONTEXT) == render("demo", grid(), [picture()], CONTEXT)


def test_undefined_dice_and_a_grid_without_any_result_still_give_a_report():
    nan = float("nan")
    undefined = row(dice=nan, curve=[{"epoch": 1, "train_loss": 1.0, "val_dice": None, "test_dice": nan}])
    for rows in ([undefined, row(method="gce")], [undefined], [row(failed="no disk")], []):
        assert "nan" not in Page(render("demo", rows, [], CONTEXT)).text


def test_a_training_without_validation_cases_has_no_best_epoch():
    text = Page(render("demo", [row(best=None)], [], CONTEXT)).text
    assert re.search(r"training labels.*90\.0–80\.0 ± 0\.4", text, re.DOTALL)


def test_dice_by_rater_is_shown():
    text = Page(render("demo", [row(per_rater={"A1": 0.61, "A2": 0.73})], [], CONTEXT)).text
    assert re.search(
        r"Test Dice by rater, last ten epochs.*A1A2mean\s*ce, S_R61\.0 \(1\)73\.0 \(1\)67\.0 \(1\)", text, re.DOTALL
    )


def test_dice_by_class_of_the_best_and_the_last_epoch_is_shown():
    several = row("heart", validation_labels="clean")
    several["best"]["per_class"], several["last"]["per_class"] = {"RV": 0.72, "Myo": 0.9}, {"RV": 0.66, "Myo": None}
    text = Page(render("demo", [several, row("lesions")], [], CONTEXT)).text
    columns, numbers = (
        "RV bestRV lastMyo bestMyo lastmean bestmean lastlast - best",
        "72.0 (1)66.0 (1)90.0 (1)–81.0 (1)78.0 (1)-3.0 (1)",
    )
    said = "validation set with clean labels; last: at the last epoch; last - best: of the mean Dice, in points"
    shown = [re.escape(part) for part in ("Test Dice by class, best and last epoch", said, columns, f"ce, S_R{numbers}")]
    shown += [re.escape(part) for part in ("Test Dice, best and last epoch", "bestlastlast - best", "81.0 (1)78.0 (1)-3.0 (1)")]
    assert re.search(".*".join(shown), text, re.DOTALL)


def test_measures_of_the_last_epoch_are_shown_and_explained():
    text = Page(render("demo", [with_surfaces(0.6, 1.26), row("old")], [], CONTEXT)).text
    shown = [MEASURES, "DiceJaccardHD95ASSDminutes", "ce, S_R78.0 (1)60.0 (1)7.8 (1)1.26 (1)1.5 (1)", "Test HD95, last epoch"]
    assert re.search(".*".join(re.escape(part) for part in shown), text, re.DOTALL)
    assert text.count(MEASURES) == text.count("Test HD95, last epoch") == 1
    assert "Jaccard (intersection over union) is averaged as Dice is" in text and "average symmetric surface distance" in text


def test_rows_of_earlier_versions_still_give_a_report():
    old = row("old")
    del old["trusted_cases"], old["last_ten"]["per_rater"]
    text = Page(render("demo", [old], [], CONTEXT)).text
    assert "Test HD95, last epoch" in text and MEASURES not in text


def polylines(svg):
    """The y coordinates of every drawn line of an SVG."""
    paths = [path.get("d") for path in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}path") if path.get("d")]
    return [[float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", path)] for path in paths]


def test_curves_show_methods_and_leave_out_failed_cells_and_unmeasured_epochs():
    rows = grid(("ce", "gce"), ("S_R",))
    rows.append(row("lesions", "S_R", "sce", 0, failed="killed", curve=curve(12)))
    rows[0]["curve"][5]["test_dice"] = None
    svg = plots.curves(rows, "lesions", "S_R")
    text = "".join(ET.fromstring(svg).itertext())
    assert "ce" in text and "gce" in text and "sce" not in text
    lengths = [len(path) for path in polylines(svg)]
    assert 11 in lengths and 12 in lengths


def test_dots_have_a_panel_per_noise_and_a_line_per_method():
    text = "".join(ET.fromstring(plots.dots(grid(), "lesions")).itertext())
    assert all(part in text for part in ("clean", "S_R", "ce", "gce"))


def coloured(png, name):
    """Where a PNG has the colour of an outline, as (rows, columns) in 0..1."""
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    colour = [int(plots.OUTLINES[name][0][i : i + 2], 16) for i in (1, 3, 5)]
    near = np.abs(picture - colour).max(axis=2) < 40
    return np.argwhere(near) / picture.shape[:2]


def square(low, high, size=40, class_id=1):
    mask = np.zeros((size, size), np.uint8)
    mask[low:high, low:high] = class_id
    return mask


def test_an_outline_runs_along_the_border_of_its_mask():
    points = coloured(plots.outlines(np.zeros((1, 40, 40)), {"clean": square(10, 30)}), "clean")
    assert points.min(axis=0) == pytest.approx(0.25, abs=0.02) and points.max(axis=0) == pytest.approx(0.75, abs=0.02)
    assert (np.abs(points - 0.5).max(axis=1) > 0.22).all()


@pytest.mark.parametrize("last", ["predicted", "cleansed"])
def test_outlines_that_coincide_are_all_seen(last):
    names = ("given", "clean", last)
    png = plots.outlines(np.zeros((3, 40, 40)), {name: square(10, 30) for name in names})
    assert all(len(coloured(png, name)) > 100 for name in names)


def test_classes_have_lines_of_their_own_and_a_mask_may_touch_the_border():
    solid = plots.outlines(np.zeros((1, 40, 40)), {"clean": square(10, 30)})
    dashed = plots.outlines(np.zeros((1, 40, 40)), {"clean": square(10, 30, class_id=2)})
    assert 0.4 < len(coloured(dashed, "clean")) / len(coloured(solid, "clean")) < 0.8
    assert len(coloured(plots.outlines(np.zeros((1, 40, 40)), {"clean": square(0, 40)}), "clean")) > 100


def test_pixels_without_a_label_have_no_outline():
    png = plots.outlines(np.zeros((1, 40, 40)), {"clean": square(10, 30, class_id=255), "predicted": square(0, 0)})
    assert len(coloured(png, "clean")) == 0 and len(coloured(png, "predicted")) == 0


def test_of_a_volume_the_slice_with_most_foreground_is_shown():
    volume, mask = np.zeros((1, 3, 40, 40)), np.stack([square(18, 22), square(10, 30), square(16, 24)])
    assert plots.outlines(volume, {"clean": mask}) == plots.outlines(volume[:, 1], {"clean": mask[1]})


def test_images_are_shown_by_percentiles():
    image = np.linspace(0, 100, 1600).reshape(1, 40, 40)
    assert plots.outlines(image, {}) == plots.outlines(5 * image + 1000, {})
    image[0, 0, 0] = 1e6
    shown = np.asarray(Image.open(io.BytesIO(plots.outlines(image, {}))).convert("L"))
    assert int(shown[160, 160]) == pytest.approx(127, abs=8)


def heat_pixels(values, masks=None):
    """A heat map's pixels (H, W, 4), without the colour bar below."""
    picture = np.asarray(Image.open(io.BytesIO(plots.heat(values, masks or {}))))
    return picture[: picture.shape[1] * values.shape[-2] // values.shape[-1]]


def test_a_heat_map_is_a_png_with_the_shape_of_the_map_and_a_bar_below():
    width, height = Image.open(io.BytesIO(plots.heat(np.ones((40, 80)), {}))).size
    assert width == 320 and height == 160 + 35


def test_heat_goes_from_black_at_0_over_the_middle_of_inferno_at_the_mean_to_yellow_at_twice_it():
    values = np.ones((40, 40))
    values[:, :10], values[:, 30:] = 0, 2
    row = heat_pixels(7.5 * values)[160]
    assert row[40] == pytest.approx([0, 0, 4, 255], abs=1)
    assert row[160] == pytest.approx([188, 55, 84, 255], abs=3)
    assert row[280] == pytest.approx([252, 255, 164, 255], abs=1)


def test_colours_depend_on_the_map_relative_to_its_mean():
    values = np.random.default_rng(0).uniform(size=(40, 40))
    assert np.array_equal(heat_pixels(values), heat_pixels(8 * values))
    assert plots.heat(values, {}) != plots.heat(8 * values, {}), "the numbers at the bar differ"
    assert not np.array_equal(heat_pixels(values), heat_pixels(values.T))


def test_a_map_without_a_mean_above_0_is_shown_from_0_to_1():
    assert heat_pixels(np.zeros((40, 40)))[160, 160] == pytest.approx([0, 0, 4, 255], abs=1)
    assert np.array_equal(heat_pixels(np.full((40, 40), -3.0)), heat_pixels(np.zeros((40, 40))))


def test_outlines_on_a_heat_map_run_along_the_border_of_their_mask():
    picture = heat_pixels(np.zeros((40, 40)), {"clean": square(10, 30)})[..., :3].astype(int)
    points = np.argwhere(np.abs(picture - (255, 176, 0)).max(axis=2) < 40) / 320
    assert points.min(axis=0) == pytest.approx(0.25, abs=0.02) and points.max(axis=0) == pytest.approx(0.75, abs=0.02)


def test_of_a_volume_the_slice_with_most_foreground_is_shown_in_the_heat_of_the_whole():
    values, mask = np.ones((3, 40, 40)), np.stack([square(18, 22), square(10, 30), square(16, 24)])
    values[0], values[1, :, 20:] = 0.5, 2
    shown = heat_pixels(values, {"given": mask})
    assert shown[5, 5] == pytest.approx([188, 55, 84, 255], abs=3)
    assert shown[5, 315] == pytest.approx([252, 255, 164, 255], abs=1)


def test_trusted_cases_are_counted_beside_the_training_cases_and_explained():
    text = Page(render("demo", [row(trusted_cases=3), row(method="gce")], [], CONTEXT)).text
    assert text.count("20 (3 trusted)") == 1 and text.count("trusted)") == 1
    assert "Trusted cases are training cases that keep their clean label, the same for all methods of a seed." in text


def titles(svg):
    return "".join(ET.fromstring(svg).itertext())


def test_noises_whose_cells_all_failed_have_no_panel_and_no_section():
    rows = [*grid(), row("lesions", "S_E", "ce", 0, failed="no disk"), row("lesions", "S_E", "gce", 0, failed="no disk")]
    assert plots.dotted(rows, "lesions") == ["clean", "S_R"]
    shown = titles(plots.dots(rows, "lesions"))
    assert "S_R" in shown and "S_E" not in shown
    page = Page(render("demo", rows, [], CONTEXT))
    assert "lesions: S_R" in page.text and "lesions: S_E" not in page.text
    assert "lesions, S_E, ce, seed 0" in page.text, "their failure is told"


def test_a_noise_of_which_one_cell_failed_keeps_its_panel():
    rows = [*grid(), row("lesions", "S_R", "sce", 0, failed="no disk")]
    assert plots.dotted(rows, "lesions") == ["clean", "S_R"] and "S_R" in titles(plots.dots(rows, "lesions"))
