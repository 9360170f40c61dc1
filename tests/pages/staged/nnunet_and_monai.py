"""The tutorials of who trains with nnU-Net or MONAI: all runs but what needs nnU-Net."""

from __future__ import annotations

from tests.pages.blocks import ROOT
from tests.pages.owners import Page, Parsed, Printed, Text
from tests.pages.stage import Stage

NNUNET = Parsed("needs nnU-Net; `make test-nnunet` trains and predicts so")
TRAINED = Text("what networks find that have trained for as long as the page says")


def a_clone(stage: Stage) -> None:
    """The folder of examples is here."""
    (stage.root / "examples").symlink_to(ROOT / "examples")


def undone(stage: Stage) -> None:
    """The labels that came back are the given ones."""
    given = stage.root / "practice/nnUNet_raw/Dataset501_Lesions/labelsTr"
    for label in given.iterdir():
        assert (stage.root / "undone/labelsTr" / label.name).read_bytes() == label.read_bytes()
    assert (stage.root / "signed/changes.html").is_file()


def repaired_and_predicted(stage: Stage) -> None:
    """Each loss was measured on the given labels, and the first on the repaired ones; the own network has predicted."""
    lines = [line.split()[:2] for said in stage.said for line in said.splitlines() if "±" in line]
    assert lines == [["practice/scans", name] for name in ("stock", "robust", "selecting")] + [["repaired", "stock"]]
    assert len(list((stage.root / "masks").glob("*.png"))) == 4


PAGES = (
    Page(
        "docs/tutorials/nnunet-labels.md",
        stage=a_clone,
        others={"text": Printed(), "for fold": NNUNET, "nnUNetv2_plan": NNUNET, "nnUNetv2_predict": NNUNET},
        after=undone,
    ),
    Page(
        "docs/tutorials/monai-loop.md",
        stage=a_clone,
        quick={
            "epochs=40": "epochs=1",
            "--epochs 40": "--epochs 1",
            "range(3)": "range(2)",
            "made(Path('practice')); made(Path('verified'), 40, 0, seed=1)": (
                "made(Path('practice'), 20, 4); made(Path('verified'), 4, 0, seed=1)"
            ),
        },
        others={
            "80 labels": TRAINED,
            "practice/scans stock": TRAINED,
        },
        after=repaired_and_predicted,
    ),
)
