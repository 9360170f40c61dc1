"""The first screen, and the pages that it leads to first."""

from __future__ import annotations

import tomllib

from tests.datasets import build_folder
from tests.pages.owners import Elsewhere, Page, Parsed, Read
from tests.pages.stage import Stage

from debride.methods import METHODS, find_method

SMALL = "--image-size 16 16 --network unet-small --width 2 --epochs 1 --batch-size 4 --device cpu"


def scans(stage: Stage) -> None:
    """A folder of scans, some of them verified."""
    build_folder(stage.root / "scans", n=24)
    (stage.root / "verified.txt").write_text("case000\ncase001\ncase002\ncase003\n")


def repaired(stage: Stage) -> None:
    """What the reader accepted is in the copy, and the network trained on it is measured."""
    assert (stage.root / "repaired" / "repairs.jsonl").is_file()
    assert (stage.root / "evaluation" / "summary.md").is_file()


def a_method(stage: Stage) -> None:
    """A method in a package of the user's own."""
    build_folder(stage.root / "scans")
    (stage.root / "my_package").mkdir()
    code = "from debride.methods.ce import CrossEntropy as MyMethod"
    (stage.root / "my_package" / "my_module.py").write_text(code)


def entry_points(text: str, stage: Stage) -> None:
    """The group is one that the program looks for, and what is named is there."""
    ((group, names),) = tomllib.loads(text)["project"]["entry-points"].items()
    assert group == METHODS.group
    for path in names.values():
        find_method(path)


PAGES = (
    Page(
        "README.md",
        scans,
        quick={"--image-size 256 256": SMALL},
        others={"python": Elsewhere("tests/e2e/test_examples.py::test_the_readme_trains")},
        after=repaired,
    ),
    Page(
        "docs/which-method.md",
        scans,
        quick={
            "--image-size 256 256": SMALL,
            "atria/": "scans/",
            "--network vnet --patch-size 80 112 112 --steps-per-epoch 250": f"{SMALL} --steps-per-epoch 2",
        },
    ),
    Page(
        "docs/noise-and-remedies.md",
        scans,
        quick={
            "--out audit/ --image-size 256 256": f"--out audit/ --folds 2 {SMALL}",
            "--count 10 ": "--count 4 ",
            "--out run --image-size 256 256": f"--out run {SMALL}",
        },
        others={"python -m benchmarks": Parsed("minutes; tests/e2e/test_benchmarks_run.py runs the script small")},
    ),
    Page(
        "docs/how-to/README.md",
        a_method,
        quick={"scans/ --out run": f"scans/ --out run {SMALL}"},
        others={"toml": Read(entry_points)},
    ),
)
