"""The pictures of docs/noise-and-remedies.md: what label noise looks like, what a network makes of it, and what helps.

    python -m benchmarks.noise_pictures --out docs/pictures --page docs/noise-and-remedies.md

The charts, and the page's tables, are made of the rows of the grid core; ``--charts`` makes these alone, in half a minute.
The other two show generated images: a network is trained on each kind of wrong label, which takes ten to twenty minutes.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.audit.table import put_tables
from benchmarks.evidence.grids import BENCHMARKS
from benchmarks.evidence.remedies import costs, remedies, tables
from benchmarks.evidence.report import gather
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import label as components

import debride
from debride.bench.grid import read_grid
from debride.files import read_json, write_text
from debride.noise import make_noise
from debride.noise.strength import calibrate, label_dice
from debride.rng import generator

GIVEN, PREDICTED = "#d55e00", "#0072b2"
CLASSES = 2
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Kind:
    """A kind of wrong label: its noise with parameters, the mean label Dice that sets its strength, the share of labels."""

    title: str
    noise: str
    parameters: dict[str, Any] = field(default_factory=dict)
    dice: float | None = None
    share: float = 1.0

    @property
    def said(self) -> str:
        """The words of ``debride corrupt``, the noise above its parameters."""
        return f"{self.noise}\n" + " ".join(f"{name}={value:g}" for name, value in self.parameters.items())


SMALL = Kind("all too small", "markov", {"preference": 0.2}, 0.7)
LARGE = Kind("all too large", "markov", {"preference": 0.8}, 0.7)
RAGGED = Kind("ragged, both ways", "markov", {"preference": 0.5, "variance": 0.2}, 0.7)
EITHER = Kind("each too small or too large", "dilate-erode", {"nearest": 3.0, "farthest": 4.0}, 0.7)
LOST = Kind("three of ten lost", "missing", {"part": "class"}, share=0.3)

SHOWN = (
    SMALL,
    LARGE,
    RAGGED,
    EITHER,
    Kind("drawn in haste", "coarse", dice=0.7),
    Kind("moved", "shift", {"smallest": 8, "largest": 12}),
    Kind("mirrored", "flip"),
    Kind("an object lost", "missing"),
    Kind("one too many", "extra"),
)
LEARNT = (SMALL, LARGE, RAGGED, EITHER, LOST)


def read_image(folder: Path, kind: str, case: str) -> Mask:
    return np.asarray(Image.open(folder / kind / f"{case}.png"))


def save(figure: Figure, path: Path) -> None:
    """A PNG of few colours, so that it is small."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    Image.open(drawn).convert("RGB").quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def outline(axes: Axes, image: Mask, wrong: Mask, right: Mask, colour: str) -> None:
    """An image with an outline, and the right one dotted."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    for mask, style in (
        (wrong, {"colors": colour, "linewidths": 2}),
        (right, {"colors": "white", "linewidths": 1, "linestyles": "dotted"}),
    ):
        if (mask > 0).any():
            axes.contour(mask > 0, [0.5], **style)
    axes.set_xticks([])
    axes.set_yticks([])


def draw_kinds(scans: Path, out: Path) -> str:
    """One image with its right label, and with each kind of wrong one. Strengths are those for the labels of all images."""
    cases = sorted(path.stem for path in (scans / "masks").glob("*.png"))
    labels = [read_image(scans, "masks", case) for case in cases]
    case = next((case for case, label in zip(cases, labels, strict=True) if components(label)[1] > 1), cases[0])
    image, right = read_image(scans, "images", case), read_image(scans, "masks", case)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    panels = figure.subplots(2, 5)
    outline(panels[0, 0], image, np.zeros_like(right), right, GIVEN)
    panels[0, 0].set_title("the right label", fontsize=9)
    for axes, kind in zip(panels.flat[1:], SHOWN, strict=True):
        noise = make_noise(kind.noise, **kind.parameters)
        if kind.dice:
            noise, _ = calibrate(noise, labels, CLASSES, kind.dice, 0)
        wrong = noise(right, CLASSES, generator(0, kind.title))
        outline(axes, image, wrong, right, GIVEN)
        axes.set_title(f"{kind.title}\nDice {label_dice(right, wrong, CLASSES):.2f}", fontsize=9)
        axes.set_xlabel(kind.said, fontsize=7)
    save(figure, out)
    return f"{out}: {case}"


@dataclass(frozen=True)
class Learnt:
    """What a network did that was trained on the labels of ``folder``; its masks of test images are in ``masks``."""

    title: str
    folder: Path
    masks: Path
    label_dice: float
    dice: float
    area: float


def learn(root: Path, kind: Kind | None, size: int, epochs: int) -> Learnt:
    """Trains on labels of a kind, None being right ones, and measures on right labels of other images."""
    data = debride.open_dataset(root / "right", test_fraction=0.25)
    title = kind.title if kind else "right labels"
    folder, given, agreement = root / "right", data, 1.0
    if kind:
        folder = root / title.replace(" ", "-")
        debride.corrupt_dataset(data, folder, kind.noise, set=kind.parameters, dice=kind.dice, share=kind.share)
        given, agreement = debride.open_dataset(folder), read_json(folder / "noise.json")["overall_dice"]
    small = {"image_size": (size, size), "network": "unet-small", "width": 8, "epochs": epochs, "batch_size": 8}
    small |= {"optimiser": "adamw", "learning_rate": 0.003, "device": "cpu", "log_to": ()}
    run = debride.train("ce", given, root / f"run-{folder.name}", **small)
    masks = root / f"masks-{folder.name}"
    debride.predict(run, data, masks, splits=("test",), checkpoint="last")
    found = debride.evaluate(masks, data, root / f"evaluation-{folder.name}").summary["classes"][0]["metrics"]
    return Learnt(title, folder, masks, agreement, found["dice"]["mean"], found["area_ratio"]["mean"])


def draw_learnt(right: Path, found: Sequence[Learnt], out: Path) -> None:
    """Above a label that was learnt, below what is predicted of two other images."""
    tested = sorted(path.stem for path in found[0].masks.glob("*.png"))[:2]
    figure = Figure(figsize=(1.75 * len(found), 6.2), layout="constrained")
    for column, each in zip(figure.subplots(3, len(found), squeeze=False).T, found, strict=True):
        cases = sorted(path.stem for path in (each.folder / "masks").glob("*.png"))
        labels = {case: (read_image(each.folder, "masks", case), read_image(right, "masks", case)) for case in cases}
        first = next((case for case, (wrong, true) in labels.items() if (wrong != true).any()), cases[0])
        outline(column[0], read_image(right, "images", first), *labels[first], GIVEN)
        column[0].set_title(f"{each.title}\nlabel Dice {each.label_dice:.2f}", fontsize=8)
        for axes, case in zip(column[1:], tested, strict=False):
            predicted = read_image(each.masks, "", case)
            outline(axes, read_image(right, "images", case), predicted, read_image(right, "masks", case), PREDICTED)
        column[2].set_xlabel(f"test Dice {each.dice:.2f}\narea ratio {each.area:.2f}", fontsize=8)
        if each is found[0]:
            column[0].set_ylabel("a label", fontsize=9, color=GIVEN)
            for axes in column[1:]:
                axes.set_ylabel("predicted", fontsize=9, color=PREDICTED)
    save(figure, out)


def draw_generated(out: Path, cases: int, size: int, epochs: int) -> None:
    """Both pictures of generated images."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        debride.convert_dataset("generated", (), root / "large", set={"cases": 20, "size": 96, "wrong": 0})
        print(draw_kinds(root / "large", out / "noise_kinds.png"))
        debride.convert_dataset("generated", (), root / "right", set={"cases": cases, "size": size, "wrong": 0})
        found = [learn(root, kind, size, epochs) for kind in (None, *LEARNT)]
        draw_learnt(root / "right", found, out / "noise_learnt.png")
    for each in found:
        print(f"{each.title}: label Dice {each.label_dice:.2f}, test Dice {each.dice:.2f}, area ratio {each.area:.2f}")


def draw_charts(results: Path, out: Path, page: Path | None) -> None:
    """The charts of the rows, and the page's tables."""
    file = BENCHMARKS / "core.yaml"
    core, entries = gather(file, results), read_grid(file).methods
    (out / "noise_costs.svg").write_bytes(costs(core))
    for dataset in core.datasets:
        (out / f"remedies_{dataset.lower().replace('-', '_')}.svg").write_bytes(remedies(core, dataset, entries))
    made = tables(core)
    if page:
        write_text(page, put_tables(page.read_text(encoding="utf-8"), made))
    for name, lines in made.items():
        print(f"{name}\n" + "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the pictures")
    parser.add_argument("--page", type=Path, help="the page whose tables are put in")
    parser.add_argument("--charts", action="store_true", help="only what is made of rows")
    parser.add_argument("--results", type=Path, default=BENCHMARKS / "results", help="the folder of the rows")
    parser.add_argument("--cases", type=int, default=160, help="generated images to train, validate and test on")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    draw_charts(arguments.results, arguments.out, arguments.page)
    if not arguments.charts:
        draw_generated(arguments.out, arguments.cases, arguments.size, arguments.epochs)


if __name__ == "__main__":
    main()
