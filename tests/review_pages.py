"""Pages of reviews in Chromium, and audits to look at there. Their policy lets no text be evaluated: waiting is polling."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Browser, Page, sync_playwright
from scipy.ndimage import binary_dilation, binary_erosion

from debride.data.open import open_dataset
from debride.review.opened import Reader, open_review
from debride.review.server import serving
from debride.types import Dataset
from tests.class_sets import table
from tests.datasets import build_folder, build_nnunet_3d, save_json, save_rows
from tests.review_folders import CLASSES
from tests.written_audits import Change, given_label, write_audit

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

SOFTWARE = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL without a graphics card."""

PATIENCE = 60.0
"""Seconds until a page that does nothing is given up."""

READY = "() => document.body.dataset.ready === 'yes'"
SEEN = """() => {
  const { place } = document.body.dataset, { shown } = document.getElementById("stage").dataset;
  return place && shown?.split(" ")[0] === place;
}"""
PICTURED = "() => document.getElementById('thumb').complete"
SAVED = "() => document.body.dataset.waiting === '0'"


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*SOFTWARE, *options])
        try:
            yield browser
        finally:
            browser.close()


class Shown:
    """A page of a review that is open, all that it complained of or asked of other places, and the pictures asked."""

    def __init__(self, browser: Browser, address: str, *, width: int = 1400, height: int = 900, scheme: Any = "light") -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.asked: list[str] = []
        own = address.split("/", 3)[2]
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self._asked(asked.url, own))
        self.page.goto(address)
        self.until(READY)
        self.masks = self.page.evaluate("() => !document.body.classList.contains('classified')")
        self.until(SEEN if self.masks else PICTURED)

    def _asked(self, url: str, own: str) -> None:
        if url.endswith("picture.png"):
            self.asked.append(url)
        if own not in url and not url.startswith("data:"):
            self.foreign.append(url)

    def until(self, true: str) -> None:
        """Waits until a function of the page says so."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(true):
            assert time.monotonic() < end, (true, self.text("saved"), self.text("warning"), self.complaints)
            time.sleep(0.02)

    def text(self, id: str) -> str:
        return str(self.page.locator(f"#{id}").text_content())

    @property
    def place(self) -> int:
        """The item that is shown."""
        return int(self.page.evaluate("() => document.body.dataset.place"))

    def decide(self, key: str) -> None:
        """One key, after which the next undecided item is in view."""
        before = self.place
        self.page.keyboard.press(key)
        self.until(f"() => document.body.dataset.place !== '{before}'")
        self.until(SEEN if self.masks else PICTURED)

    def saved(self) -> None:
        """Waits until the server acknowledged all."""
        self.until(SAVED)

    def choose(self, name: str, value: str) -> None:
        """Sets a filter."""
        self.page.select_option(f"#filters [name={name}]", value)

    def paint(self) -> None:
        """A stroke across the middle of the plane under the left upper corner of the viewer, while editing."""
        box = self.page.locator("#over").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.25
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + 40, y + 30, steps=4)
        self.page.mouse.up()

    def states(self) -> list[str]:
        """What the lines of the worklist say of their decisions."""
        return [line.strip() for line in self.page.locator("#items .state").all_text_contents()]


@contextmanager
def review_page(browser: Browser, audit: Path, dataset: Dataset, reader: Reader | None = None, **how: Any) -> Iterator[Shown]:
    """The page of a review by a server that ends with the block."""
    with serving(open_review(audit, dataset, reader or Reader("Ada"))) as address:
        shown = Shown(browser, address, **how)
        try:
            yield shown
        finally:
            shown.page.close()


def grown_and_shrunk(label: npt.NDArray[np.uint8], kinds: tuple[str, ...]) -> list[Change]:
    """Changes of a label (*S), one for each kind, that do not overlap: halves of shells around and in its first class."""
    inside = label == 1
    outer, inner = binary_dilation(inside, iterations=2) & (label == 0), inside & ~binary_erosion(inside, iterations=1)
    half = np.arange(label.shape[-1]) < label.shape[-1] // 2
    changes = zip((outer & half, outer & ~half, inner & half), (1, 1, 0), kinds, strict=False)
    return [
        (where, value, {"kind": kind, "confidence": 0.9 - 0.1 * at})
        for at, (where, value, kind) in enumerate(changes)
        if where.any()
    ]


def audit_of(folder: Path, dataset: Dataset, kinds: tuple[str, ...] = ("missing", "boundary", "extra")) -> Path:
    """An audit with some findings in every case that has a label."""
    found = {case.id: grown_and_shrunk(given_label(dataset, case.id), kinds) for case in dataset.cases if case.label}
    return write_audit(folder, dataset, found)


def real_volumes(tmp_path: Path, many: int = 14) -> tuple[Dataset, Path] | None:
    """Some volumes of the left atrium, or None where DEBRIDE_DATA does not have them."""
    source = Path(os.environ.get("DEBRIDE_DATA", "")) / "nnUNet_raw" / "Dataset101_LeftAtrium"
    if not os.environ.get("DEBRIDE_DATA") or not source.is_dir():
        return None
    root = tmp_path / "atrium"
    about = open_dataset(source)
    for case in [case for case in about.cases if case.label][:many]:
        for part, files in (("imagesTr", case.image), ("labelsTr", [case.label])):
            (root / part).mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copy(str(file), root / part)
    shutil.copy(source / "dataset.json", root)
    dataset = open_dataset(root)
    return dataset, audit_of(tmp_path / "audit", dataset)


def volumes(tmp_path: Path) -> tuple[Dataset, Path]:
    """Volumes of two channels, as they are generated."""
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data", n=12, shape=(12, 32, 36)))
    return dataset, audit_of(tmp_path / "audit", dataset)


def pictures(tmp_path: Path) -> tuple[Dataset, Path]:
    """RGB pictures."""
    dataset = open_dataset(build_folder(tmp_path / "data", n=12, size=48))
    return dataset, audit_of(tmp_path / "audit", dataset)


def classes(tmp_path: Path, many: int = 40) -> tuple[Dataset, Path]:
    """Images with one class each, a cat, a dog or a hen; of each another class is proposed, of the last it is unlikely."""
    given = [CLASSES[at % 3] for at in range(many)]
    lines = ["image,class", *(f"images/i{at}.png,{name}" for at, name in enumerate(given))]
    dataset = open_dataset(table(tmp_path / "data", *lines, images=many))
    ids = [case.id for case in dataset.cases]
    about = {
        "task": "classification",
        "dataset": {"root": str(dataset.root), "classes": list(dataset.classes)},
        "settings": {"least": 0.1},
        "labels": dict(zip(ids, given, strict=True)),
    }
    save_json(tmp_path / "audit" / "audit.json", about)
    rows = [
        {"case": id, "patient": id, "given": given[at], "proposed": CLASSES[(at + 1) % 3], "flagged": "1", "duplicates": ""}
        for at, id in enumerate(ids)
    ]
    wrong = [0.9] * (many - 1) + [0.01]
    save_rows(tmp_path / "audit" / "cases.csv", [{**row, "wrong": str(odds)} for row, odds in zip(rows, wrong, strict=True)])
    return dataset, tmp_path / "audit"
