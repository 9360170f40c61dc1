"""Pages on parts of one's own: their modules lie where the page says, and commands name them. Their tests run elsewhere too."""

from __future__ import annotations

from tests.datasets import build_folder
from tests.pages.blocks import blocks_of
from tests.pages.owners import Elsewhere, File, Page
from tests.pages.page_sets import SMALL
from tests.pages.stage import Stage
from tests.unit.test_format_how_to import pairs

PARTS, FORMAT = "tests/unit/test_part_how_tos.py", "tests/unit/test_format_how_to.py"
METRIC = "tests/unit/test_metric_how_to.py"


def first_block(page: str, stage: Stage, file: str) -> None:
    """The page's first block of Python in a file."""
    (stage.root / file).write_text(next(block for block in blocks_of(page) if block.language == "python").text)


def a_layout(stage: Stage) -> None:
    """A data set in the layout of the page, which is read by a module."""
    first_block("docs/how-to/format.md", stage, "my_layout.py")
    pairs(stage.root / "scans")


def a_kind_of_file(stage: Stage) -> None:
    """Images and masks as files that a module reads."""
    first_block("docs/how-to/pixels.md", stage, "my_files.py")
    pairs(stage.root / "made", ".arr")
    for folder in (stage.root / "made").glob("case*"):
        for name, place in (("image", "images"), ("label", "masks")):
            (stage.root / "scans" / place).mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.arr").rename(stage.root / "scans" / place / f"{folder.name}.arr")


def scans(stage: Stage) -> None:
    """Pictures."""
    build_folder(stage.root / "scans")


PAGES = (
    Page("docs/how-to/format.md", a_layout, others={"python": Elsewhere(f"{FORMAT}::test_the_test_of_a_page_passes")}),
    Page("docs/how-to/pixels.md", a_kind_of_file, others={"python": Elsewhere(f"{FORMAT}::test_the_test_of_a_page_passes")}),
    Page("docs/how-to/metric.md", others={"python": Elsewhere(f"{METRIC}::test_its_own_test_passes")}),
    Page(
        "docs/how-to/method.md",
        scans,
        quick={"--out run": f"--out run {SMALL}"},
        others={
            "from dataclasses": File("my_module.py"),
            "from my_module": Elsewhere(f"{PARTS}::test_the_method_keeps_the_contract"),
        },
    ),
    Page(
        "docs/how-to/noise.md",
        scans,
        others={"from dataclasses": File("my_module.py"), "import numpy": Elsewhere(f"{PARTS}::test_the_noise_corrupts")},
    ),
    Page("docs/how-to/verb.md", others={"python": Elsewhere(f"{PARTS}::test_the_verb_answers")}),
)
