"""The tutorials of who trains with nnU-Net or MONAI: all runs but what needs nnU-Net."""

from __future__ import annotations

from tests.pages.blocks import ROOT
from tests.pages.owners import Page, Parsed, Printed
from tests.pages.stage import Stage

NNUNET = Parsed("needs nnU-Net; `make test-nnunet` trains and predicts so")


def a_clone(stage: Stage) -> None:
    """The folder of examples is here."""
    (stage.root / "examples").symlink_to(ROOT / "examples")


def undone(stage: Stage) -> None:
    """The labels that came back are the given ones."""
    given = stage.root / "practice/nnUNet_raw/Dataset501_Lesions/labelsTr"
    for label in given.iterdir():
        assert (stage.root / "undone/labelsTr" / label.name).read_bytes() == label.read_bytes()
    assert (stage.root / "signed/changes.html").is_file()


PAGES = (
    Page(
        "docs/tutorials/nnunet-labels.md",
        stage=a_clone,
        others={"text": Printed(), "for fold": NNUNET, "nnUNetv2_plan": NNUNET, "nnUNetv2_predict": NNUNET},
        after=undone,
    ),
)
